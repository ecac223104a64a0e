"""The platform's error texts: recognising them, and cleaning them for the caller.

The four English texts stand in ``docs/upstream.md``; the Russian ones in the Russian pages of the same documentation.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from urllib.parse import unquote_plus

from app.lookup.failures import AccountLocked, CredentialsRejected, Refusal, RequestRejected, UnknownRefusal
from app.upstream.values import JsonNumber

MAX_MESSAGE_LENGTH = 200

_TEXTS: list[tuple[str, type[Refusal]]] = [
    (r"incorrect json document format", RequestRejected),
    (r"неправильный формат (\w+ )?документа", RequestRejected),
    (r"неправильный формат документа \w+", RequestRejected),
    (r"post data is missing", RequestRejected),
    (r"post данные отсутствуют", RequestRejected),
    (r"incorrect login or password", CredentialsRejected),
    (r"неправильный логин или пароль", CredentialsRejected),
    (r"your account is locked", AccountLocked),
    (r"ваш аккаунт заблокирован", AccountLocked),
]
_REFUSALS = [(re.compile(pattern), kind) for pattern, kind in _TEXTS]

# How long the caller is told to wait at least; the credential latch starts with the same times.
RETRY_AFTER: dict[type[Refusal], float] = {CredentialsRejected: 60, AccountLocked: 300}


def error_text(document: object) -> str | None:
    """The text under ``error`` of an object, or of the first entry of an array; None where there is none."""
    if isinstance(document, list) and document:
        document = document[0]
    text = document.get("error") if isinstance(document, dict) else None
    # A number is no text: PHP code says 0 where there is no error.
    return text.strip() or None if isinstance(text, str) and not isinstance(text, JsonNumber) else None


def refusal(text: str | None, redact: Callable[[str], str | None]) -> Refusal:
    """The failure that an error text means, whatever its case, spacing and final punctuation."""
    if text is None:
        return UnknownRefusal("the platform answered 400 without a readable error")
    words = re.sub(r"\s+", " ", text).strip().rstrip(".!…;: ").casefold()
    kind = next((kind for pattern, kind in _REFUSALS if pattern.fullmatch(words)), UnknownRefusal)
    return kind("the platform refused the request", retry_after=RETRY_AFTER.get(kind), upstream_message=redact(text))


def clean_message(text: str, secrets: Iterable[str]) -> str | None:
    """An error text that may be shown: without control characters, at most 200 characters long.

    None where it holds one of the ``secrets``, however the platform may have escaped it.
    """
    printable = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )
    cleaned = re.sub(r" +", " ", printable).strip()
    seen = [text, printable, cleaned, html.unescape(cleaned), unquote_plus(cleaned), cleaned.replace("\\", "")]
    haystack = "\n".join(seen).casefold()
    if any(secret.casefold() in haystack for secret in secrets if secret):
        return None
    return cleaned[:MAX_MESSAGE_LENGTH] or None
