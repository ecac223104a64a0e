"""What ``app/server`` relies on of uvicorn and httptools: fails when they change it."""

import hashlib
import inspect

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import flow_control, httptools_impl

# A changed digest is no defect: read what has changed, compare it with the docstring of ``app/server/protocol.py``, and
# with what ``Server`` in ``app/server/serving.py`` overrides; run ``tests/door`` and ``tests/process``, and write the
# new one here.
READ = {
    httptools_impl.HttpToolsProtocol: "18fdf324b11bf160",
    httptools_impl.RequestResponseCycle: "e67d470d435dcc1c",
    flow_control.FlowControl: "126debcdaa894c83",
    uvicorn.Server.shutdown: "9b33c50562992b1e",
    uvicorn.Server.startup: "2aa1d70a244bfcf2",
    uvicorn.Server.main_loop: "afccb353a119333f",
    uvicorn.Server.capture_signals: "e1bbcd4770d1c887",
    uvicorn.Server.handle_exit: "553276efa26e09ea",
    uvicorn.Server._serve: "4575b7a50adfede8",
}


@pytest.mark.parametrize(("code", "digest"), READ.items(), ids=lambda each: getattr(each, "__qualname__", ""))
def test_the_code_that_the_protocol_relies_on_is_the_one_that_was_read(code: type, digest: str) -> None:
    assert hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:16] == digest


class _Heard:
    """Notes what the parser calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_headers_complete(self) -> None:
        self.calls.append("head")

    def on_body(self, body: bytes) -> None:
        self.calls.append(body.decode())

    def on_message_complete(self) -> None:
        self.calls.append("complete")


def test_httptools_stops_behind_the_head_of_an_offered_upgrade_and_has_told_its_end_by_then() -> None:
    heard = _Heard()
    head = b"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n"
    parser = httptools.HttpRequestParser(heard)
    with pytest.raises(httptools.HttpParserUpgrade) as stopped:
        parser.feed_data(head + b"body")
    assert stopped.value.args == (len(head),)
    assert heard.calls == ["head", "complete"]
    assert parser.should_upgrade()


def test_httptools_tells_the_exception_of_a_callback() -> None:
    class Refusing(_Heard):
        def on_headers_complete(self) -> None:
            raise LookupError

    with pytest.raises(httptools.HttpParserCallbackError) as failed:
        httptools.HttpRequestParser(Refusing()).feed_data(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(failed.value.__context__, LookupError)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 1\r\nContent-Length: 1",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1",
        b"Content-Length: 1x",
        b"Content-Length: +1",
        b"Content-Length: 18446744073709551616",
        b"A: b\nC: d",
        b"A: b\r\n c",
        b"A : b",
    ],
)
def test_httptools_refuses_what_the_protocol_does_not_look_at_itself(head: bytes) -> None:
    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(_Heard()).feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n")
