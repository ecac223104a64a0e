"""The platform's webhook: what it posts of its own accord (``docs/upstream.md``, "Webhook")."""

from collections import Counter
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from app.lookup.failures import InvalidReply
from app.lookup.record import MessageRecord, documented
from app.upstream.body import load, text_of
from app.upstream.errors import Redact
from app.upstream.wire import as_array, raw_word, read_id, read_time, read_word, time_field

PART = 200
"""Entries that are read at a time: a few milliseconds of work. 1 MiB holds 20,000 entries and more."""


class WebhookReader:
    """Reads deliveries. ``redact`` withholds a word that is a credential.

    ``entries`` counts them by ``taken`` and ``unreadable``, ``raw_words`` the words that are not the documented ones.
    """

    def __init__(self, zone: ZoneInfo, redact: Redact) -> None:
        self._zone = zone
        self._redact = redact
        self.entries: Counter[str] = Counter()
        self.raw_words: Counter[str] = Counter()

    def __call__(self, body: bytes) -> Iterator[list[MessageRecord]]:
        """The reports of a delivery in parts, so that others have their turn; what cannot be read is left out.

        Raises ValueError for what is no array, before the first part.
        """
        document = load(text_of(body))
        if document:  # "no entries" is nothing that is worth a delivery
            document = as_array(document)
        if not isinstance(document, list):
            raise ValueError(str(document) if isinstance(document, InvalidReply) else "not an array")
        return self._parts(document)

    def _parts(self, document: list[object]) -> Iterator[list[MessageRecord]]:
        for at in range(0, len(document), PART):
            records = [self._record(entry) for entry in document[at : at + PART]]
            reports = [record for record in records if record is not None]
            self.entries["taken"] += len(reports)
            self.entries["unreadable"] += len(records) - len(reports)
            yield reports

    def _record(self, entry: object) -> MessageRecord | None:
        if not isinstance(entry, dict):
            return None
        id_, word = read_id(entry.get("id_sms")), read_word(entry.get("state"))
        if id_ is None or word is None:
            return None
        known = documented(word)
        if known is None and self._redact(word) is None:
            return None
        if known is not None and known != entry.get("state"):
            self.raw_words[raw_word(word)] += 1
        try:
            changed_at = read_time(entry.get(time_field(entry)), self._zone)
        except ValueError:
            changed_at = None
        return MessageRecord(id_, known or word, changed_at)
