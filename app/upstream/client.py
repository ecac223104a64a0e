"""One request to the platform: credentials, time limits, size limit."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import httpx

from app import __version__
from app.lookup.clock import Clock
from app.lookup.failures import InvalidReply, LookupFailure, ServerError, UnexpectedStatus
from app.lookup.record import Answer
from app.telemetry.tracing import caller_spans, client_span
from app.upstream.body import LONG_BODY, load, read_body, read_error, text_of
from app.upstream.credentials import Account, Credentials
from app.upstream.errors import clean_message
from app.upstream.transport import ConnectionPool, Transport, failure_of, network
from app.upstream.wire import decode, encode

MAX_THROTTLE_SECONDS = 60.0
"""The longest ``Retry-After`` that is believed: a mistake there must not silence the service for a day."""
MAX_KNOWN_WORDS = 100
"""Undocumented states that are remembered as already logged."""

_ERROR_SIGNS = (b'"error"', b"login", b"password", b"locked", b"blocked", b"\\u")

_HEADERS = {
    "Content-Type": "text/json; charset=utf-8",
    "Accept": "application/json, */*",
    "Accept-Encoding": "identity",
    "User-Agent": f"message-state-proxy/{__version__}",
}

_UNTRACED = nullcontext[Mapping[str, str]]({})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnreadReply:
    """A whole reply, with the credentials that were sent for it, which no text of it may repeat.

    ``retry_after``: seconds that a 429 asks for. ``answers``: where the status made it necessary to read at once.
    """

    status: int
    body: bytearray
    retry_after: float | None
    credentials: Credentials
    answers: dict[int, Answer] | None = None

    @property
    def may_be_error(self) -> bool:
        """Whether it may say that the credentials are wrong: then it is read before its worker sends anything else."""
        return self.status != 200 or _may_speak_of_an_error(self.body)


class UpstreamClient:
    """Asks ``state.php``. One for the life of the service; the connections of its pool are kept alive.

    ``undocumented_states``, ``raw_words`` (documented states in other words, by word) and ``unreadable`` (by field)
    count what the documentation did not promise. ``account`` has the credentials in force. ``transport`` takes the
    place of the network in tests and for the sandbox; ``clock`` says when connections are renewed.
    """

    def __init__(
        self,
        url: str,
        account: Account,
        zone: ZoneInfo,
        *,
        connect_timeout: float,
        attempt_timeout: float,
        transport: Transport | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._address = url
        self._account = account
        self._zone = zone
        self._attempt_timeout = attempt_timeout
        self._logged_words: set[str] = set()
        self.undocumented_states = 0
        self.raw_words: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()
        self._connections = ConnectionPool(network(), clock) if transport is None else ConnectionPool.fixed(transport)
        # "pool" is what aiohttp has for connecting as a whole: name, socket and TLS.
        timeout = httpx.Timeout(attempt_timeout, connect=connect_timeout, pool=connect_timeout)
        self._extensions = {"timeout": timeout.as_dict()}

    @cached_property
    def _url(self) -> httpx.URL:
        # Parsed once: a twentieth of a request's CPU. One that cannot be parsed fails each request.
        return httpx.URL(self._address)

    async def aclose(self) -> None:
        """Close the connections that are kept alive."""
        await self._connections.aclose()

    async def send(self, asked: Mapping[int, bool]) -> UnreadReply | LookupFailure:
        """Ask for several ids (each with whether detail is wanted) in one request. Returns the reply, still unread."""
        try:
            span = client_span(len(asked)) if caller_spans.get() else _UNTRACED
            with span as headers, self._connections.lease() as transport:
                # httpx has no limit for a whole request, only for each wait on the socket.
                async with asyncio.timeout(self._attempt_timeout):
                    return await self._post(transport, asked, headers)
        except Exception as error:
            # It travels on as a value: its traceback would keep the whole reply, 8 MiB perhaps, in memory with it.
            failure = error.as_value() if isinstance(error, LookupFailure) else failure_of(error)
            if failure is None:
                raise
            log.debug("upstream request failed: %s", type(error).__name__)
            return self._failed(failure)

    async def read(self, asked: Mapping[int, bool], reply: UnreadReply) -> dict[int, Answer] | LookupFailure:
        """An answer for every id that a reply speaks of; an id that it leaves out is not in the result.

        A failure where the reply cannot be read, or refuses the request as a whole.
        """
        if reply.answers is not None:
            return reply.answers
        try:
            text = text_of(reply.body)
            if len(reply.body) > LONG_BODY:
                await asyncio.sleep(0)  # each half of this work may take long
            return self._decode(asked, reply, load(text))
        except LookupFailure as failure:
            return self._failed(failure.as_value())

    def _decode(self, asked: Mapping[int, bool], reply: UnreadReply, document: object) -> dict[int, Answer]:
        hidden = reply.credentials.secrets
        read = decode(
            reply.status,
            document,
            asked,
            self._zone,
            lambda message: clean_message(message, hidden),
            retry_after=reply.retry_after,
        )
        if read.raw_words:
            self.raw_words.update(read.raw_words)
        if read.undocumented:
            self.undocumented_states += len(read.undocumented)
            self._log_new_words(read.undocumented)
        if read.unreadable:
            self.unreadable.update(read.unreadable)
            log.info("the platform's reply has unreadable fields: %s", ", ".join(sorted(set(read.unreadable))))
        return read.answers

    def _failed(self, failure: LookupFailure) -> LookupFailure:
        if isinstance(failure, ServerError | InvalidReply | UnexpectedStatus):
            # A load balancer has moved, perhaps, and the connection leads to a dead node for ever.
            self._connections.renew()
        return failure

    async def _post(self, transport: Transport, asked: Mapping[int, bool], headers: Mapping[str, str]) -> UnreadReply:
        credentials = self._account.credentials
        # Not through httpx.AsyncClient: what it adds is redirects, cookies, proxies and authentication, none of which
        # the platform may have, for a third of a request's CPU.
        request = httpx.Request(
            "POST",
            self._url,
            headers={**_HEADERS, **headers},
            content=encode(asked, credentials.fields),
            extensions=self._extensions,
        )
        response = await transport.handle_async_request(request)
        try:
            status = response.status_code
            if status < 300 or status == 400:
                return UnreadReply(status, await read_body(response), None, credentials)
            # What such a status means is decided now: some are worth a retry, which only ``send`` can be given.
            retry_after = _retry_after(response.headers) if status == 429 else None
            reply = UnreadReply(status, await read_error(response), retry_after, credentials)
            return replace(reply, answers=self._decode(asked, reply, load(text_of(reply.body))))
        finally:
            await response.aclose()

    def _log_new_words(self, words: Iterable[str]) -> None:
        for word in words:
            if word not in self._logged_words and len(self._logged_words) < MAX_KNOWN_WORDS:
                self._logged_words.add(word)
                log.warning("the platform uses an undocumented state: %r (outcome: unknown)", word)


def _may_speak_of_an_error(body: bytearray) -> bool:
    """Whether a reply may hold an error text. What has none is ASCII and without the words of such texts, nor is it so
    long that nobody would look through it twice."""
    if len(body) > LONG_BODY or not body.isascii():
        return True
    lower = body.lower()
    return any(sign in lower for sign in _ERROR_SIGNS)


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds that the platform asks for: a number or a date, at least 1 and at most 60; 1 where it says nothing."""
    text = headers.get("retry-after", "").strip()
    seconds = 1.0
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    elif text:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            seconds = 1.0
    return min(max(seconds, 1.0), MAX_THROTTLE_SECONDS)
