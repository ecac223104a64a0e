"""How much a connection may send, and how long it may take."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of every connection. Times are in seconds, sizes in bytes."""

    head_bytes: int = 64 * KIB
    """Of a request's head. The trailer and the chunk extensions of a body together may have as many."""
    head_fields: int = 100
    """Fields of a head, and of a trailer."""
    head_seconds: float = 10.0
    """From the first byte of a head to its end."""
    body_seconds: float = 30.0
    """From the end of a head to the end of its body."""
    idle_seconds: float = 75.0
    """Without a byte between two requests. Longer than the 60 s of common ingresses, so that they close first and no
    request crosses our closing."""
    reply_seconds: float = 30.0
    """In which a caller takes nothing of a reply that is there for it."""
    linger_seconds: float = 1.0
    """In which input is read on, and thrown away, after an answer that was given before all of its request was read: a
    connection that is closed with unread input is reset, and the reset may overtake the answer."""
    linger_bytes: int = MIB
    """How much of it."""
    input_bytes: int = 64 * MIB
    """Input that is read and not answered yet, of all connections together."""
    stuck_seconds: float = 2.0
    """How long a connection may keep input without progress while there is no room for other connections' input."""
    sweep_seconds: float = 1.0
    """Between two looks at all connections: a time limit may be exceeded by this much."""
