"""Clients that generators make of the published document."""
