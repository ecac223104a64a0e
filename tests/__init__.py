"""The tests: unit mirrors app, api speaks HTTP in process, process starts real ones; support holds the fakes."""
