"""From records to the public JSON."""

import json
from typing import Any

from app.lookup.record import STATES, MessageRecord, State

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def state_body(record: MessageRecord, detail: bool) -> bytes:
    """A record as the public JSON in UTF-8: always seven keys, parts and price only where detail is wanted.

    Written by hand: a dictionary first and the library's encoder after it cost five times as much.
    """
    state = _STATES.get(record.state) or _state(record.state, record.meaning)
    changed_at = f'"{record.changed_at.isoformat("T", "seconds")}"' if record.changed_at else "null"
    parts = "null" if record.parts is None or not detail else str(record.parts)
    price = "null" if record.price_per_part is None or not detail else f'"{record.price_per_part}"'
    return (f'{{"id":{record.id},{state},"changed_at":{changed_at},"parts":{parts},"price_per_part":{price}}}').encode()


def _state(word: str, meaning: State) -> str:
    shown, final = json.dumps(word, ensure_ascii=False), "true" if meaning.final else "false"
    return f'"state":{shown},"outcome":"{meaning.outcome.value}","final":{final}'


_STATES = {word: _state(word, meaning) for word, meaning in STATES.items()}


def dump(document: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return _ENCODER.encode(document).encode()
