"""Every case, in the order of ``docs/faults.md``."""

from collections.abc import Mapping, Sequence

from tests.door.case import (
    CONTINUE,
    HEAD_TOO_LARGE,
    INVALID,
    JSON,
    MALFORMED,
    NO_METHOD,
    NOT_FOUND,
    OK,
    REDIRECT,
    SHORT,
    TOO_LARGE,
    TOO_SLOW,
    UNAUTHENTICATED,
    Case,
    batch,
    bytewise,
    chunked,
    get,
    request,
    split,
)

KIB = 1024
KEYS = {"api_keys": "shop:planted-key-4be1f0"}
KEY = "X-API-Key: planted-key-4be1f0"
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA")
WEBSOCKET = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
ODD = ("Connection: upgrade", "Upgrade: TLS/1.0, odd/7")
SMUGGLED = get("/messages/82213/state")


def filled(size: int, *fields: str) -> bytes:
    """A head of exactly this size."""
    without = get("/livez", *fields, "X-Fill: ")
    return get("/livez", *fields, "X-Fill: " + "x" * (size - len(without)))


UPGRADES = [
    Case("offers h2c with a batch, then asks again", [batch(*H2C) + get()], [OK, OK], True),
    Case("offers h2c, the body in a packet of its own", split(batch(*H2C), b"\r\n\r\n"), [OK], True),
    Case("offers h2c, each byte in a packet of its own", bytewise(batch(*H2C) + get()), [OK, OK], True),
    Case("offers h2c with a body in chunks", [chunked(*H2C) + get()], [OK, OK], True),
    Case(
        "offers h2c with a body in chunks, in several packets",
        split(chunked(*H2C) + get(), b"\r\n\r\n", b"\r\n", b"0\r\n"),
        [OK, OK],
        True,
    ),
    Case("offers websocket, without a body", [get("/livez", *WEBSOCKET) + get()], [OK, OK], True),
    Case("offers websocket with a batch", [batch(*WEBSOCKET) + get()], [OK, OK], True),
    Case("offers what nobody knows", [batch(*ODD), chunked(*ODD)], [OK, OK], True),
    Case("offers an upgrade, and the body looks like a request", [batch(*H2C, body=SMUGGLED)], [INVALID], True),
    Case(
        "offers an upgrade, and a body in a packet of its own looks like a request",
        [batch(*WEBSOCKET, body=SMUGGLED)[: -len(SMUGGLED)], SMUGGLED, get()],
        [INVALID, OK],
        True,
    ),
    Case("offers an upgrade in HTTP/1.0", [request("GET", "/livez", *H2C, version="1.0")], [OK]),
    Case("wants a tunnel (CONNECT)", [request("CONNECT", "service:443") + get()], [NO_METHOD, OK], True),
]
MALFORMED_REQUESTS = [
    Case("sends a TLS hello", [bytes.fromhex("16030100c8010000c40303")], [MALFORMED]),
    Case("sends the preface of HTTP/2", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], [MALFORMED]),
    Case("names HTTP/2.0", [get(version="2.0")], [MALFORMED]),
    Case("names HTTP/0.9", [b"GET /livez\r\n\r\n"], [MALFORMED]),
    Case("sends no Host", [get(host=None)], [MALFORMED]),
    Case("sends two Hosts", [get("/livez", "Host: service")], [MALFORMED]),
    Case("sends a Host that is none", [get(host="a/b")], [MALFORMED]),
    Case("sends two Hosts in HTTP/1.0", [get("/livez", "Host: other", version="1.0")], [MALFORMED]),
    Case(
        "tells two lengths: Content-Length and Transfer-Encoding",
        [batch("Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED)],
        [MALFORMED],
    ),
    Case(
        "tells two lengths: Transfer-Encoding and Content-Length",
        [chunked("Content-Length: 5", body=b"")],
        [MALFORMED],
    ),
    Case("tells its length twice", [batch("Content-Length: 15")], [MALFORMED]),
    Case("tells two lengths in one line", [request("POST", "/messages/states", "Content-Length: 5, 5")], [MALFORMED]),
    Case("tells a length with a sign", [request("POST", "/messages/states", "Content-Length: +5")], [MALFORMED]),
    Case("uses an unknown transfer coding", [chunked("Transfer-Encoding: gzip")], [MALFORMED]),
    Case(
        "uses an unknown transfer coding before chunked",
        [request("POST", "/messages/states", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n"],
        [MALFORMED],
    ),
    Case(
        "uses chunks in HTTP/1.0",
        [request("POST", "/messages/states", JSON, "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n"],
        [MALFORMED],
    ),
    Case("puts a space before a colon", [get("/livez", "Transfer-Encoding : chunked")], [MALFORMED]),
    Case("ends its lines with LF alone", [get().replace(b"\r\n", b"\n")], [MALFORMED]),
    Case("ends one line with LF alone", [get("/livez", "X: y").replace(b"y\r\n", b"y\n")], [MALFORMED]),
    Case("sends CR within a field", [get("/livez", "X: a\rb")], [MALFORMED]),
    Case("sends NUL in a field", [get("/livez", "X: a\0b")], [MALFORMED]),
    Case("sends NUL in the path", [get("/\0")], [MALFORMED]),
    Case("sends bytes beyond ASCII in the path", [get("/ä")], [MALFORMED]),
    Case("folds a field", [get("/livez", "X: a\r\n b")], [MALFORMED]),
    Case("sends an unknown method", [request("BREW", "/livez")], [MALFORMED]),
    Case("sends a chunk size that is none", [chunked().replace(b"5\r\n", b"0x5\r\n", 1)], [MALFORMED]),
    Case("ends a chunk with LF alone", [chunked().replace(b"5\r\n", b"5\n", 1)], [MALFORMED]),
    Case("sends something malformed after a good request", [get() + b"\0" * 20], [OK, MALFORMED]),
    Case(
        "sends something malformed while a request waits",
        [get("/messages/82216/state") + get(host=None)],
        [OK, MALFORMED],
    ),
]
VALID_REQUESTS = [
    Case("names the service in the request line", [get("http://service/livez")], [OK], True),
    Case(
        "names the service alone in the request line",
        [get("http://service")],
        [REDIRECT],
        True,
    ),
    Case("asks about the whole service (OPTIONS *)", [request("OPTIONS", "*")], [NOT_FOUND], True),
    Case("sends empty lines before a request", [b"\r\n\r\n" + get() + b"\r\n" + get()], [OK, OK], True),
    Case("sends empty lines in packets of their own", [b"\r\n\r", b"\n", b"\r\n\r\n", get()], [OK], True),
    Case("sends each byte in a packet of its own", bytewise(get() + batch() + chunked()), [OK, OK, OK], True),
    Case("pipelines different requests", [get() + batch() + chunked() + get("/no")], [OK, OK, OK, NOT_FOUND], True),
    Case("asks with HEAD", [request("HEAD", "/livez") + get()], [OK, OK], True, methods=["HEAD", "GET"]),
    Case("asks with HTTP/1.0", [get(version="1.0", host=None)], [OK]),
    Case("closes after its request", [get("/livez", "Connection: close")], [OK]),
    Case(
        "posts before it knows that it may, and waits for 100",
        split(batch("Expect: 100-continue"), b"\r\n\r\n")[:1],
        [CONTINUE, TOO_SLOW],
        limits=SHORT,
    ),
    Case("posts more than 1 MiB", [batch(body=b"[" * (KIB * KIB + 1))], [TOO_LARGE]),
    Case(
        "announces more than 1 MiB, and sends none of it",
        [request("POST", "/messages/states", JSON, f"Content-Length: {2 * KIB * KIB}", "Expect: 100-continue")],
        [TOO_LARGE],
    ),
    Case(
        "posts to a path that does not exist, and sends half",
        [request("POST", "/no", "Content-Length: 99", body=b"half")],
        [NOT_FOUND],
    ),
]
HEADS = [
    Case("sends a head of 64 KiB", [filled(64 * KIB)], [OK], True),
    Case("sends a head of one byte more", [filled(64 * KIB + 1)], [HEAD_TOO_LARGE]),
    Case("sends a head without end", [get()[:-2] + b"X: " + b"x" * (3 * KIB * KIB)], [HEAD_TOO_LARGE]),
    Case("sends a path without end", [b"GET /" + b"x" * (300 * KIB)], [HEAD_TOO_LARGE]),
    Case("sends empty lines without end", [b"\r\n" * (100 * KIB)], [HEAD_TOO_LARGE]),
    Case("sends 100 fields", [get("/livez", *(f"X-{n}: y" for n in range(99)))], [OK], True),
    Case("sends 101 fields", [get("/livez", *(f"X-{n}: y" for n in range(100)))], [HEAD_TOO_LARGE]),
    Case("sends fields without end", [get()[:-2] + b"X: y\r\n" * (100 * KIB)], [HEAD_TOO_LARGE]),
    Case("sends a large head behind a good request", [get() + filled(70 * KIB)], [OK, HEAD_TOO_LARGE]),
    Case("sends extensions and a trailer", [chunked(extension=b';a="b"', trailer=b"X: y\r\n") + get()], [OK, OK], True),
    Case(
        "sends a chunk extension without end", [chunked(extension=b";" + b"x" * (70 * KIB), size=99)], [HEAD_TOO_LARGE]
    ),
    Case(
        "sends a long extension with each small chunk",
        [chunked(extension=b";" + b"x" * (8 * KIB), size=1)],
        [HEAD_TOO_LARGE],
    ),
    Case("sends a trailer without end", [chunked(trailer=b"X: " + b"x" * (70 * KIB) + b"\r\n")], [HEAD_TOO_LARGE]),
    Case("sends a trailer of 101 fields", [chunked(trailer=b"X: y\r\n" * 101)], [HEAD_TOO_LARGE]),
    Case(
        "sends its key in the trailer alone",
        [chunked(trailer=KEY.encode() + b"\r\n")],
        [UNAUTHENTICATED],
        True,
        settings=KEYS,
    ),
    Case("sends a length in the trailer", [chunked(trailer=b"Content-Length: 500\r\n")], [MALFORMED]),
]
TIME = [
    Case("is silent", [], [], limits=SHORT),
    Case("is silent after a request", [get()], [OK], limits=SHORT),
    Case("is silent behind empty lines", [get(), b"\r\n\r\n"], [OK], limits=SHORT),
    Case("sends half a head", [get()[:20]], [TOO_SLOW], limits=SHORT),
    Case("sends half a head behind a request", [get() + get()[:20]], [OK, TOO_SLOW], limits=SHORT),
    Case("sends half a body", [batch()[:-5]], [TOO_SLOW], limits=SHORT),
    Case("sends half a chunked body", [chunked()[:-9]], [TOO_SLOW], limits=SHORT),
    Case(
        "sends half a body that nobody reads",
        [request("GET", "/livez", "Content-Length: 9", body=b"half")],
        [OK],
        limits=SHORT,
    ),
    Case(
        "sends half a body with a long poll",
        [request("GET", "/messages/82217/state?wait=50", "Content-Length: 9", body=b"half")],
        [TOO_SLOW],
        limits=SHORT,
    ),
]

CASES: Mapping[str, Sequence[Case]] = {
    "Valid, if unusual": VALID_REQUESTS,
    "Malformed": MALFORMED_REQUESTS,
    "Upgrades": UPGRADES,
    "Large": HEADS,
    "Slow": TIME,
}
"""Heading → cases."""
