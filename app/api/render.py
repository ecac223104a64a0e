"""From records to the public JSON."""

import json
from typing import Any

from app.lookup.states import MessageRecord


def public(record: MessageRecord, detail: bool) -> dict[str, Any]:
    """A record as the public JSON object: always seven keys, parts and price only where detail is wanted."""
    state = record.meaning
    return {
        "id": record.id,
        "state": record.state,
        "outcome": state.outcome,
        "final": state.final,
        "changed_at": record.changed_at.isoformat(timespec="seconds") if record.changed_at else None,
        "parts": record.parts if detail else None,
        "price_per_part": record.price_per_part if detail else None,
    }


def dump(document: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
