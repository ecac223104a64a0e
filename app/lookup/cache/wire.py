"""What is said to a Redis over one connection, and what its failures are called."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from app.lookup.cache.values import Script

QUIET = 15.0
"""Seconds without news after which the server is asked whether it is still there, and which it has to answer in."""


def kind(error: Exception) -> str:
    """The kind of a failure."""
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "timeout"
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return "authentication"
    if isinstance(error, exceptions.ConnectionError | OSError):
        return "connection"
    return "refused" if isinstance(error, exceptions.ResponseError) else "protocol"


async def run(connection: AbstractConnection, script: Script, keys: list[str], arguments: list[bytes]) -> Any:
    """Run a script; a server that does not know it yet is given its text. Connects where there is no connection."""
    rest = (len(keys), *keys, *arguments)
    try:
        await connection.send_command("EVALSHA", script.sha, *rest)
        return await connection.read_response()
    except exceptions.NoScriptError:
        await connection.send_command("EVAL", script.text, *rest)
        return await connection.read_response()


async def subscribed(connection: AbstractConnection, channel: str, begun: Callable[[], None]) -> AsyncIterator[bytes]:
    """What is published on a channel, until the connection fails. ``begun`` is called once nothing more is missed."""
    await connection.send_command("SUBSCRIBE", channel)
    while True:
        try:
            async with asyncio.timeout(QUIET):
                reply = await connection.read_response(disconnect_on_error=False)
        except TimeoutError:
            # Nobody tells of a connection that a firewall has forgotten.
            await connection.send_command("PING")
            async with asyncio.timeout(QUIET):
                reply = await connection.read_response()
        match reply:
            case [b"message", _, bytes(news)]:
                yield news
            case [b"subscribe", *_]:
                begun()
            case [b"pong", *_]:
                pass
            case _:
                raise exceptions.InvalidResponse("not what a subscriber is told")


async def close(connection: AbstractConnection) -> None:
    """Let go of a connection, whatever its condition."""
    with contextlib.suppress(Exception):  # it is given up anyway
        await connection.disconnect(nowait=True)
