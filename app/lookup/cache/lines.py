"""What the log says of Redis: one line for each change of its condition."""

import logging

log = logging.getLogger(__name__)


def say_used(good: bool, why: str) -> None:
    """Whether it can be used at all."""
    if good:
        log.info("Redis is used again")
    else:
        log.warning("Redis cannot be used: lookups go on with memory and the platform (%s)", why)


def say_written(good: bool, why: str) -> None:
    """Whether it takes answers."""
    if good:
        log.info("Redis takes writes again")
    else:
        log.warning("Redis takes no writes: replicas stop to share what is new (%s)", why)


def say_told(good: bool, why: str) -> None:
    """Whether it takes news."""
    if good:
        log.info("Redis takes news again")
    else:
        log.warning("Redis takes no news: who waits on other replicas hears from the platform (%s)", why)


def say_heard(good: bool, why: str) -> None:
    """Whether it passes on news."""
    if good:
        log.info("Redis passes on news again")
    else:
        log.warning("Redis passes on no news: who waits hears from the platform (%s)", why)
