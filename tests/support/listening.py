"""Servers of tests on real sockets, which leave no connection behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(converse: Converse, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Lets ``converse`` have each connection, closes it when that returns, and all of them at the end; yields the port.

    A server that is closed leaves its connections open, and a connection accepted in that very moment would stay so
    until the collector finds it, in the middle of another test.
    """
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations[task] = writer
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await converse(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(accepted, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await a_few_turns()
        for task, writer in conversations.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*conversations, return_exceptions=True)
        await a_few_turns()


async def a_few_turns() -> None:
    """Let what runs in this event loop do what it can do now."""
    for _ in range(10):
        await asyncio.sleep(0)
