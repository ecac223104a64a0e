"""The range of message ids."""

MAX_MESSAGE_ID = 2**53 - 1
"""The largest integer that JavaScript holds exactly; callers are frontends."""
