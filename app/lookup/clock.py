"""Time as everything here is given it: a test lets minutes pass in no time."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds, in most places monotonic ones (``time.monotonic``)."""
