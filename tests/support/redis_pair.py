"""A primary and its replica behind one address, as managed servers are, whose roles can be swapped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.listening import listening
from tests.support.redis_server import RedisServer


class Pair:
    """Two servers, of which the address leads to one. ``url`` is the address."""

    def __init__(self, primary: RedisServer, replica: RedisServer) -> None:
        self.primary = primary
        self.replica = replica
        self.url = ""
        self._leads_to = primary.port
        self._writers: set[asyncio.StreamWriter] = set()

    async def follow(self) -> None:
        """Make the replica one, and wait until it has what the primary has."""
        self.replica.ask("REPLICAOF", "127.0.0.1", str(self.primary.port))
        async with asyncio.timeout(20):
            while b"master_link_status:up" not in self.replica.ask("INFO", "replication"):
                await asyncio.sleep(0.01)

    def promote(self) -> None:
        """The replica is a primary from now on; the address still leads to the old one."""
        self.replica.ask("REPLICAOF", "NO", "ONE")

    def demote(self) -> None:
        """The old primary follows the new one."""
        self.primary.ask("REPLICAOF", "127.0.0.1", str(self.replica.port))

    def move_address(self) -> None:
        """New connections lead to the other server; those that are there stay."""
        self._leads_to = self.replica.port

    def cut_connections(self) -> None:
        """End all connections, as a proxy or a server that dies does."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one connection brings, both ways."""
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._leads_to)
            self._writers |= {writer, server_writer}
            try:
                await asyncio.gather(_pass_on(reader, server_writer), _pass_on(server_reader, writer))
            finally:
                self._writers -= {writer, server_writer}
                server_writer.close()


@asynccontextmanager
async def pair(start_redis: Callable[..., RedisServer]) -> AsyncIterator[Pair]:
    """A primary and a replica that has caught up, behind an address."""
    quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    both = Pair(start_redis(*quick), start_redis(*quick))
    await both.follow()
    async with listening(both.serve) as port:
        both.url = f"redis://127.0.0.1:{port}/0"
        try:
            yield both
        finally:
            both.cut_connections()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
