"""What writes the files that come from the code. Not part of the service."""
