"""Faults of the network and of HTTP: no answer, half an answer, too much of an answer."""

from tests.faults.fault import (
    CREDENTIALS_REJECTED,
    ERROR,
    INVALID_REPLY,
    REJECTED,
    STATE,
    TIMEOUT,
    UNREACHABLE,
    Fault,
    Step,
    at_most,
    one,
)
from tests.support import misbehaviour as does
from tests.support.hostile import well

SHORT = {"upstream_connect_timeout": 0.2, "upstream_attempt_timeout": 0.3, "request_deadline": 1.0}
"""The default limits, scaled down so that a test of a time limit is soon over."""
AT_THE_DEADLINE = SHORT["request_deadline"] + 0.3
UNHURRIED = 4.0
LONG = {"upstream_attempt_timeout": UNHURRIED}
"""For bodies of many MiB: on a busy machine reading them may take long, and the limit is not what is tested."""
NOWHERE = "http://platform.invalid/json/state.php"

TIME = [
    Fault("does not answer", does.hang, one(TIMEOUT, within=AT_THE_DEADLINE), 2, settings=SHORT),
    Fault(
        "does not answer, and the deadline has no room for a second attempt",
        does.hang,
        one(TIMEOUT, within=AT_THE_DEADLINE),
        at_most(2),
        settings=SHORT | {"upstream_attempt_timeout": 1.0},
    ),
    Fault("sends the head byte by byte", does.drip_head, one(TIMEOUT, within=AT_THE_DEADLINE), 2, settings=SHORT),
    Fault("sends the body byte by byte", does.drip_body, one(TIMEOUT, within=AT_THE_DEADLINE), 2, settings=SHORT),
    Fault(
        "sends interim replies (102) without end",
        does.endless_interim_replies,
        one(TIMEOUT, within=AT_THE_DEADLINE),
        2,
        settings=SHORT,
    ),
    Fault(
        "does not answer the first request, then behaves",
        does.after(1, does.hang),
        one(STATE, within=AT_THE_DEADLINE),
        2,
        settings=SHORT,
    ),
]

CONNECTION = [
    Fault(
        "resets before the reply", does.reset_before_the_reply, one(UNREACHABLE), 2, why="(Connection reset by peer)"
    ),
    Fault(
        "resets in the middle of the body",
        does.reset_in_the_body,
        one(UNREACHABLE),
        2,
        why="in the middle of the platform's reply",
    ),
    Fault("closes before the reply", does.close_before_the_reply, one(UNREACHABLE), 2, why="before its reply"),
    Fault(
        "closes in the middle of the body",
        does.truncate,
        one(UNREACHABLE),
        2,
        why="in the middle of the platform's reply",
    ),
    Fault("closes in the middle of a chunked body", does.truncate_chunks, one(UNREACHABLE), 2),
    Fault("resets once, then behaves", does.after(1, does.reset_before_the_reply), one(STATE), 2),
    Fault(
        "closes a connection that idles",
        does.close_after_the_reply,
        [Step(range(1, 6), {STATE: 5})],
        requests=5,
        connections=5,
    ),
    Fault(
        "closes an idle connection at the moment when it is used again",
        does.close_when_used_again,
        [Step([1, 2], {STATE: 2})],
        requests=3,
        connections=2,
    ),
    Fault("speaks another protocol", does.speak_another_protocol, one(UNREACHABLE), 2, why="not HTTP"),
    Fault(
        "its name cannot be resolved", well, one(UNREACHABLE), 0, connections=0, url=NOWHERE, why="name is not resolved"
    ),
    Fault(
        "refuses the connection",
        well,
        one(UNREACHABLE),
        0,
        connections=0,
        url="http://127.0.0.1:{closed}/",
        why="(Connection refused)",
    ),
    Fault(
        "its certificate does not verify",
        well,
        one(UNREACHABLE),
        0,
        connections=1,
        tls="untrusted",
        why="self-signed certificate",
    ),
    Fault(
        "takes the connection, but not the TLS handshake",
        well,
        one(TIMEOUT, within=AT_THE_DEADLINE),
        0,
        connections=2,
        url="https://127.0.0.1:{port}/",
        settings=SHORT,
    ),
    Fault(
        "does not answer, over TLS", does.hang, one(TIMEOUT, within=AT_THE_DEADLINE), 2, settings=SHORT, tls="trusted"
    ),
    Fault("closes in the middle of the body, over TLS", does.truncate, one(UNREACHABLE), 2, tls="trusted"),
    Fault("resets once over TLS, then behaves", does.after(1, does.reset_in_the_body), one(STATE), 2, tls="trusted"),
]

STATUS = [
    Fault("answers 500", does.replies(b"<h1>Oops</h1>", 500), one(ERROR), 2),
    Fault("answers 503 once, then behaves", does.after(1, does.replies(b"", 503)), one(STATE), 2),
    Fault("redirects (302)", does.replies(b"", 302, location="/json/state.php?again"), one(ERROR), 1),
    Fault("redirects for good (308)", does.replies(b"", 308, location="/json/state.php?again"), one(ERROR), 1),
    Fault(
        "answers 401", does.replies(b"", 401, www_authenticate='Basic realm="platform"'), one(CREDENTIALS_REJECTED), 1
    ),
    Fault("answers 404", does.replies(b"<h1>Not found</h1>", 404), one(ERROR), 1),
]

BODY = [
    Fault("answers 200 with a page of HTML", does.replies(b"<html>maintenance</html>"), one(INVALID_REPLY), 1),
    Fault("answers 200 without a body", does.replies(b""), one(REJECTED), 1),
    Fault("sends headers without end", does.endless_headers, one(INVALID_REPLY), 1),
    Fault("sends a body without end", does.endless_body, one(INVALID_REPLY, within=UNHURRIED), 1, settings=LONG),
    Fault(
        "sends bytes without end behind a compressed body",
        does.endless_compressed_body,
        one(INVALID_REPLY, within=UNHURRIED),
        1,
        settings=LONG,
    ),
    Fault(
        "sends 256 MiB, compressed to 0.3 MiB", does.gzip_bomb, one(INVALID_REPLY, within=UNHURRIED), 1, settings=LONG
    ),
    Fault(
        "sends 8 MiB of `[[],[],…]`", does.fills_8_mib(b"[]"), one(INVALID_REPLY, within=UNHURRIED), 1, settings=LONG
    ),
    Fault("sends 8 MiB of `[0,0,…]`", does.fills_8_mib(b"0"), one(INVALID_REPLY, within=UNHURRIED), 1, settings=LONG),
    Fault(
        "sends what does not decompress",
        does.replies(b"not gzip at all", content_encoding="gzip"),
        one(INVALID_REPLY),
        1,
    ),
    Fault("names an encoding that there is not", does.well_but(content_encoding="utf-8"), one(STATE), 1),
]
