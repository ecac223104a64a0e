"""A platform whose faults can be switched while it runs. Speaks as much HTTP as the service's client needs."""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

LATENCY_SECONDS = 0.03
SLOW_SECONDS = 0.7
PATH = "/json/state.php"
FIRST_ODD_ID = 1_000_000_000
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)

Entries = list[dict[str, Any]]
Reply = tuple[int, str, str]
"""Status, further header lines, body."""


def states(entries: Entries, state: str = "read") -> Reply:
    """Every message has this state."""
    when = "2021-04-26 15:15:03"
    known = [{"id_sms": each["id_sms"], "time_change_state": when, "state": state} for each in entries]
    return 200, "", json.dumps(known)


def refusal(text: str) -> Reply:
    """The documented way to refuse."""
    return 400, "", json.dumps({"error": text})


def _refused_where_odd(entries: Entries) -> Reply:
    """Refuses every array in which an id is that nobody should ask for."""
    odd = any(each["id_sms"] >= FIRST_ODD_ID for each in entries)
    return refusal("The archive has no such partition") if odd else states(entries)


async def _slow(entries: Entries) -> Reply:
    await asyncio.sleep(SLOW_SECONDS)
    return states(entries)


async def _hang(_: Entries) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


def _at_once(answer: Callable[[Entries], Reply]) -> Callable[[Entries], Awaitable[Reply]]:
    async def answered(entries: Entries) -> Reply:
        await asyncio.sleep(LATENCY_SECONDS)
        return answer(entries)

    return answered


FAULTS: dict[str, Callable[[Entries], Awaitable[Reply]]] = {
    "none": _at_once(states),
    "500s": _at_once(lambda _: (500, "", "<h1>Internal Server Error</h1>")),
    "slow": _slow,
    "hangs": _hang,
    "wrong password": _at_once(lambda _: refusal("Incorrect login or password")),
    "locked account": _at_once(lambda _: refusal("Your account is locked")),
    "throttled": _at_once(lambda _: (429, "Retry-After: 2\r\n", "")),
    "not JSON": _at_once(lambda _: (200, "", "<html>maintenance</html>")),
    "refuses": _at_once(lambda _: refusal("The archive is being rebuilt")),
    "repeats the token, cut": _at_once(lambda entries: refusal(f"no right for {str(entries[0]['token'])[:14]}…")),
    "refuses some ids": _at_once(_refused_where_odd),
    "answers only the first entry": _at_once(lambda entries: states(entries[:1])),
    "unknown state": _at_once(lambda entries: states(entries, "delayed")),
    "knows no message": _at_once(lambda _: (200, "", "[]")),
}
DOWN = "down"
"""The fault of a platform that does not listen at all."""


class Platform:
    """``async with``: listens on a free port of loopback. ``fault`` is one of ``FAULTS``."""

    def __init__(self) -> None:
        self.fault = "none"
        self._conversations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Platform":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{PATH}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the socket and every connection."""
        self._server.close()
        for task in list(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def switch(self, fault: str) -> None:
        """From now on the platform has this fault."""
        if fault == DOWN:
            await self.stop()
        else:
            self.fault = fault

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while True:
                    await self._converse(reader, writer)
        finally:
            self._conversations.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        entries = json.loads(await reader.readexactly(int(length[1]) if length else 0))
        status, more, body = await FAULTS[self.fault](entries)
        content = body.encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n{more}\r\n".encode() + content)
        await writer.drain()
