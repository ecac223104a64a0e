"""A real Redis or Valkey on a free port, and one that only pretends."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.listening import listening
from tests.support.running import free_port

PROGRAM = os.environ.get("REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
START_SECONDS = 20


class RedisServer:
    """A server process that keeps nothing on disk, and its port. It can be stopped and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Its URL, without credentials."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        assert PROGRAM is not None
        quiet = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--logfile", "redis.log")
        self._process = subprocess.Popen(
            [PROGRAM, "--port", str(self.port), "--dir", str(self._folder), *quiet, *self._options]
        )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            try:
                # A server with a password refuses, but it answers.
                if self.ask("PING"):
                    return
            except OSError:
                time.sleep(0.01)
        raise AssertionError((self._folder / "redis.log").read_text())

    def stop(self) -> None:
        """End it; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Connections are still taken, by the system, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str | bytes) -> bytes:
        """One command on a connection of its own; the raw reply."""
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        request = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in encoded)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def all_keys(self) -> list[str]:
        """Every key."""
        return [line for line in self.ask("KEYS", "*").decode().split("\r\n") if line and line[0] not in "*$"]


@asynccontextmanager
async def pretender(reply: bytes, *, endless: bool = False) -> AsyncIterator[str]:
    """A server that answers whatever it is asked with these bytes; yields its URL."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(reply)
            await writer.drain()
            while endless:
                writer.write(reply * 1000)
                await writer.drain()

    async with listening(converse) as port:
        yield f"redis://127.0.0.1:{port}/0"
