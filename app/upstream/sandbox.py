"""A stand-in for the platform: behaves as ``state.php`` does, strictly, so that nobody needs an account to try.

Used in process (``UPSTREAM_URL=sandbox:``) or alone: ``python -m app.upstream.sandbox --port 9100``, where it can
also post a webhook (``--webhook URL``), refuse everybody with a wording of one's own (``--refuse``), or write its
replies as the platform was seen to (``--mode``).
What a message answers follows from its number by the tables below.
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from app.upstream.sandbox_webhook import Webhook, WithWebhook

PATH = "/json/state.php"
URL = f"http://sandbox{PATH}"
TOKEN, LOGIN, PASSWORD = "sandbox-token", "sandbox", "sandbox"
DOCUMENTED_TIME = "2021-04-26 15:15:03"
DELIVERED_AFTER, READ_AFTER = 10.0, 30.0
REMEMBERED = 100_000

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Failure(NamedTuple):
    """How a request that holds a certain id is answered as a whole."""

    status: int
    body: str
    meaning: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def _refused(text: str) -> str:
    return json.dumps({"error": text}, ensure_ascii=False)


def _said(id_: int, text: str) -> str:
    entry = {"id_sms": id_, "time_change_state": "", "state": text, "num_parts": 0, "price": 0}
    return json.dumps(entry, ensure_ascii=False)


BAD_FORMAT = "Incorrect JSON document format"
NO_DATA = "POST data is missing"
BAD_LOGIN = "Incorrect login or password"
SAME_REQUEST = "Попытка отправки более одного одинакового запроса в течение минуты"
NOT_TAKEN = "Сообщение с таким ID не принималось"

# The state of a message by its last digit; None = left out of the reply.
BY_LAST_DIGIT: list[tuple[str | None, str]] = [
    ("send", "`send`, for ever"),
    ("partly_deliver", "`partly_deliver`, for ever"),
    ("read", "`read`"),
    ("not_deliver", "`not_deliver`"),
    ("expired", "`expired`"),
    ("delayed", "`delayed`, a state that the documentation does not have"),
    ("deliver", "`deliver` (82216 is the documented example)"),
    ("send", "`send`, after 10 s `deliver`, after 30 s `read`, counted from the first question"),
    (None, "unknown: left out of the reply"),
    ("deliver", "`deliver` in odd types: numbers as strings, a comma in the price, no time"),
]

LOCKOUT_SECONDS = 3.0
"""How long the service sends nothing after the sandbox rejects its credentials: long enough to see, and no longer."""
_PAUSES = f"; nothing else is asked for {LOCKOUT_SECONDS:g} s after it"

# Below a thousand a number fails like the status that it looks like. The whole request fails, as the platform would.
FAILURES: dict[int, Failure] = {
    204: Failure(200, "", "empties the reply to the whole request, with status 200"),
    302: Failure(302, "", "redirects elsewhere", ((b"location", b"http://127.0.0.1:9/"),)),
    400: Failure(400, _refused(BAD_FORMAT), f'"{BAD_FORMAT}"'),
    401: Failure(400, _refused(BAD_LOGIN), f'"{BAD_LOGIN}"{_PAUSES}'),
    403: Failure(400, _refused("Your account is locked"), f'"Your account is locked"{_PAUSES}'),
    418: Failure(400, _refused("The archive is being rebuilt"), "an error text that is not documented"),
    425: Failure(400, _refused(SAME_REQUEST), f'"{SAME_REQUEST}": not asked again for 60 s'),
    429: Failure(429, "", f"429 with `Retry-After: 3`{_PAUSES}", ((b"retry-after", b"3"),)),
    500: Failure(500, "<h1>Internal Server Error</h1>", "500 with an HTML page"),
    502: Failure(200, "<html>maintenance</html>", "200 with an HTML page instead of JSON"),
    504: Failure(504, "", "does not answer for 60 s"),
}
ENTRY_FAILURES: dict[int, tuple[str, str]] = {
    404: (_said(404, NOT_TAKEN), f'"{NOT_TAKEN}" in place of its state; its neighbours are answered'),
    409: ('{"id_sms":409,"error":"The message is archived"}', "an error in its own entry; its neighbours are answered"),
    423: (
        _said(423, "Абонент заблокирован"),
        '"Абонент заблокирован" in place of its state, which is about this message alone',
    ),
    422: ('{"id_sms":422,"state":["deliver"]}', "an entry that cannot be read; its neighbours are answered"),
}
SMPP = {"send": "ENROUTE", "deliver": "DELIVRD", "not_deliver": "UNDELIV", "expired": "EXPIRED"}
MODES = {
    "documented": "as documented",
    "smpp": "states in SMPP's words",
    "php": "arrays as PHP writes them: a gap makes an object, one entry stands bare, none are {}; `time` for the time",
    "encoding": "with `Content-Encoding: utf-8`",
}
HANG_SECONDS = 60.0
COUNTERS_PATH = "/counters"


class Sandbox:
    """The ASGI application. ``latency`` in seconds is spent in one of ``workers`` places; the rest queue.

    ``mode`` is one of ``MODES``; ``refuse``: a text with which every request is refused, and the status.
    """

    def __init__(
        self,
        *,
        token: str = TOKEN,
        login: str = LOGIN,
        password: str = PASSWORD,
        latency: float = 0.0,
        workers: int = 16,
        mode: str = "documented",
        refuse: tuple[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accepted = ({"token": token}, {"login": login, "password": password})
        self._latency = latency
        self._mode = mode
        self._refuses = Failure(refuse[1], _refused(refuse[0]), "") if refuse else None
        self._workers = asyncio.Semaphore(workers)
        self._clock = clock
        self._first_asked: OrderedDict[int, float] = OrderedDict()
        self.requests = 0
        self.entries = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] == COUNTERS_PATH:
            await _answer(send, 200, json.dumps({"requests": self.requests, "entries": self.entries}))
            return
        if scope["path"] != PATH:
            await _answer(send, 404, "<h1>Not Found</h1>")
            return
        self.requests += 1
        body = b"".join([chunk async for chunk in _chunks(receive)])
        async with self._workers:
            if self._latency:
                await asyncio.sleep(self._latency)
            failure = self._refuse(scope, body)
            if failure is None:
                entries = json.loads(body)
                self.entries += len(entries)
                failure = next((FAILURES[each["id_sms"]] for each in entries if each["id_sms"] in FAILURES), None)
        if failure is None:
            answers = [self._entry(each["id_sms"], each["detail"] == 1) for each in entries]
            headers = ((b"content-encoding", b"utf-8"),) if self._mode == "encoding" else ()
            await _answer(send, 200, self._array(answers), headers)
            return
        if failure.status == 504:
            await asyncio.sleep(HANG_SECONDS)
        await _answer(send, failure.status, failure.body, failure.headers)

    def _array(self, answers: list[str | None]) -> str:
        """The reply's body: an entry for each answer that there is, by its place in the request."""
        entries = {place: answer for place, answer in enumerate(answers) if answer}
        if self._mode != "php":
            return "[" + ",".join(entries.values()) + "]"
        if len(entries) == 1:
            return next(iter(entries.values()))
        if entries and len(entries) == len(answers):
            return "[" + ",".join(entries.values()) + "]"
        return "{" + ",".join(f'"{place}":{entry}' for place, entry in entries.items()) + "}"

    def _refuse(self, scope: Message, body: bytes) -> Failure | None:
        """What the platform's own checks find, in its order: data, format, credentials."""
        if scope["method"] != "POST" or not body:
            return Failure(400, _refused(NO_DATA), "")
        if self._refuses is not None:
            return self._refuses
        bad_format = Failure(400, _refused(BAD_FORMAT), "")
        if dict(scope["headers"]).get(b"content-type") != b"text/json; charset=utf-8":
            return bad_format
        try:
            entries = json.loads(body)
        except ValueError:
            return bad_format
        if not isinstance(entries, list) or not entries:
            return bad_format
        for entry in entries:
            if not isinstance(entry, dict) or type(entry.get("id_sms")) is not int:
                return bad_format
            if type(entry.get("detail")) is not int or entry["detail"] not in (0, 1):
                return bad_format
            if {name: value for name, value in entry.items() if name not in ("id_sms", "detail")} not in self._accepted:
                return Failure(400, _refused(BAD_LOGIN), "")
        return None

    def _entry(self, id_: int, detail: bool) -> str | None:
        if id_ in ENTRY_FAILURES:
            return ENTRY_FAILURES[id_][0]
        digit = id_ % 10
        state = BY_LAST_DIGIT[digit][0]
        when = "" if state == "send" else DOCUMENTED_TIME
        if state is None:
            return None
        if digit == 9:
            extra = ',"num_parts":"1","price":"10,60"' if detail else ""
            return f'{{"id_sms":"{id_}","{self._time}":"0000-00-00 00:00:00","state":"{self._word(state)}"{extra}}}'
        if digit == 7:
            state, when = self._progress(id_)
        extra = ',"num_parts":1,"price":10.6000000' if detail else ""
        return f'{{"id_sms":{id_},"{self._time}":"{when}","state":"{self._word(state)}"{extra}}}'

    @property
    def _time(self) -> str:
        return "time" if self._mode == "php" else "time_change_state"

    def _word(self, state: str) -> str:
        return SMPP.get(state, state) if self._mode == "smpp" else state

    def progress(self) -> dict[int, tuple[str, str]]:
        """The messages that change with time and were asked for: state, and time of the change."""
        return {id_: self._progress(id_) for id_ in self._first_asked}

    def _progress(self, id_: int) -> tuple[str, str]:
        now = self._clock()
        first = self._first_asked.setdefault(id_, now)
        if len(self._first_asked) > REMEMBERED:
            self._first_asked.popitem(last=False)
        age = now - first
        if age < DELIVERED_AFTER:
            return "send", ""
        state, since = ("deliver", DELIVERED_AFTER) if age < READ_AFTER else ("read", READ_AFTER)
        changed = datetime.now(ZoneInfo("Europe/Moscow")) - timedelta(seconds=age - since)
        return state, changed.strftime("%Y-%m-%d %H:%M:%S")


def rules() -> list[tuple[str, str]]:
    """The tables in words, for ``docs/sandbox.md`` and the OpenAPI description: which ids, and what they answer."""
    digits = [(f"ends in {digit}", meaning) for digit, (_, meaning) in enumerate(BY_LAST_DIGIT)]
    failures = {id_: failure.meaning for id_, failure in FAILURES.items()}
    failures |= {id_: meaning for id_, (_, meaning) in ENTRY_FAILURES.items()}
    return digits + [(f"is {id_}", failures[id_]) for id_ in sorted(failures)]


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _answer(send: Send, status: int, body: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    content = body.encode()
    # PHP's default type, whatever the content is.
    own = [(b"content-type", b"text/html; charset=UTF-8"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": content})


def _help(modes: dict[str, str]) -> str:
    return "how replies are written: " + "; ".join(f"{name}: {meaning}" for name, meaning in modes.items())


def main() -> None:
    """Serve the sandbox alone, for tests and benchmarks."""
    import uvicorn  # noqa: PLC0415 - only the stand-alone sandbox is a server

    parser = argparse.ArgumentParser(prog="python -m app.upstream.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each request takes")
    parser.add_argument("--workers", type=int, default=16, help="requests that are worked on at a time")
    parser.add_argument("--token", default=TOKEN, help="the token that is accepted (default: %(default)s)")
    parser.add_argument("--login", default=LOGIN, help="the login that is accepted (default: %(default)s)")
    parser.add_argument("--password", default=PASSWORD, help="the password that is accepted (default: %(default)s)")
    parser.add_argument("--mode", choices=MODES, default="documented", help=_help(MODES))
    parser.add_argument("--refuse", metavar="TEXT", help="refuse every request with this error text")
    parser.add_argument("--refuse-status", type=int, default=400, help="the status of that (default: %(default)s)")
    parser.add_argument("--webhook", help="address to which changes of progressing messages are posted")
    options = parser.parse_args()
    sandbox = Sandbox(
        token=options.token,
        login=options.login,
        password=options.password,
        latency=options.latency,
        workers=options.workers,
        mode=options.mode,
        refuse=(options.refuse, options.refuse_status) if options.refuse else None,
    )
    served = WithWebhook(sandbox, Webhook(options.webhook, sandbox.progress)) if options.webhook else sandbox
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(
            served,
            host=options.host,
            port=options.port,
            access_log=False,
            log_level="info",
            lifespan="on" if options.webhook else "off",
        )


if __name__ == "__main__":
    main()
