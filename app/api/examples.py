"""Example values for the OpenAPI document: what the sandbox answers, and the documented message."""

from typing import Any

from app.api.schemas import EXAMPLE_ID
from app.lookup.record import MAX_MESSAGE_ID

DELIVERED: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "state": "deliver",
    "outcome": "delivered",
    "final": False,
    "changed_at": "2021-04-26T15:15:03+03:00",
    "parts": 1,
    "price_per_part": "10.6000000",
}
_WITHOUT_DETAIL: dict[str, Any] = {"parts": None, "price_per_part": None}
PENDING = DELIVERED | _WITHOUT_DETAIL | {"id": 82217, "state": "send", "outcome": "pending", "changed_at": None}
FAILED = DELIVERED | _WITHOUT_DETAIL | {"id": 82213, "state": "not_deliver", "outcome": "failed", "final": True}
UNKNOWN = DELIVERED | _WITHOUT_DETAIL | {"id": 82215, "state": "delayed", "outcome": "unknown"}
NOT_FOUND: dict[str, Any] = {
    "id": 82218,
    "type": "/problems/message-not-found",
    "title": "Message not found",
    "status": 404,
    "detail": "The platform does not know message 82218.",
}

Named = dict[str, tuple[str, Any]]
"""Examples by name: a summary and the value."""

ANSWERS: dict[str, Named] = {
    "getMessageState": {
        "delivered": ("Delivered, with detail", DELIVERED),
        "pending": ("Pending", PENDING),
        "failed": ("Failed for good", FAILED),
        "unknown": ("A word that the platform's documentation does not have", UNKNOWN),
    },
    "lookUpMessages": {
        "mixed": (
            "Two states, one unknown message",
            {"states": [DELIVERED | _WITHOUT_DETAIL, PENDING], "problems": [NOT_FOUND]},
        ),
    },
    "streamMessageStates": {
        "state": ("A `state` event's data", DELIVERED | _WITHOUT_DETAIL),
        "problem": ("A `problem` event's data", NOT_FOUND),
    },
    "getLiveness": {"alive": ("Alive", {"status": "alive"})},
    "getReadiness": {"ready": ("Ready", {"status": "ready"})},
}

# What "Try it out" offers; the first one is filled in.
_DOCUMENTED: Named = {"delivered": (f"{EXAMPLE_ID}: delivered, the documented example", EXAMPLE_ID)}
PARAMETERS: dict[tuple[str, str], Named] = {
    ("getMessageState", "id"): _DOCUMENTED,
    ("streamMessageStates", "id"): {"one": ("One message", [EXAMPLE_ID])},
    ("getProblem", "slug"): {"missing": ("Message not found", "message-not-found")},
}
# The same where the sandbox answers.
SANDBOX_PARAMETERS: dict[tuple[str, str], Named] = {
    ("getMessageState", "id"): {
        **_DOCUMENTED,
        "progress": ("82217: pending, delivered after 10 s, read after 30 s (sandbox)", 82217),
        "failed": ("82213: failed for good (sandbox)", 82213),
        "missing": ("82218: not known (sandbox)", 82218),
        "sentence": ("404: not known, said in a sentence (sandbox)", 404),
        "emptied": ("204: empties the platform's reply (sandbox)", 204),
    },
    ("streamMessageStates", "id"): {
        "final": (
            "82212, 82213, 82218: final or not known, so the stream ends by itself (sandbox)",
            [82212, 82213, 82218],
        ),
        "pending": ("82210: pending for ever (sandbox)", [82210]),
    },
}

# What an example of these problems says beyond the catalogue's text, where it holds for every operation.
PROBLEMS: dict[str, dict[str, Any]] = {
    "message-not-found": {
        "detail": f"The platform does not know message {EXAMPLE_ID}.",
        "upstream_message": "Сообщение с таким ID не принималось",
    },
    "upstream-credentials-rejected": {"upstream_message": "Неверный логин или пароль"},
    "upstream-account-locked": {"upstream_message": "Your account is locked"},
    "upstream-rejected-request": {"upstream_message": "Incorrect JSON document format"},
    "upstream-rejected": {"upstream_message": "The archive is being rebuilt"},
}
# The same for one operation; ``instance`` is the path of a request that has this answer.
_NO_ID = f"must be a whole number from 1 to {MAX_MESSAGE_ID} in ASCII digits, without leading zero"
PROBLEMS_OF: dict[tuple[str, str], dict[str, Any]] = {
    ("getMessageState", "invalid-request"): {
        "instance": "/messages/082216/state",
        "errors": [{"parameter": "id", "detail": _NO_ID}],
    },
    ("lookUpMessages", "invalid-request"): {
        "errors": [{"pointer": "/ids/3", "detail": "Input should be a valid integer"}],
    },
    ("streamMessageStates", "invalid-request"): {"errors": [{"parameter": "id", "detail": _NO_ID}]},
    ("receiveMessageStates", "invalid-request"): {
        "errors": [{"pointer": "", "detail": "The body must be a JSON array."}],
    },
    ("getReadiness", "overloaded"): {"detail": "This replica is starting or stopping."},
}
