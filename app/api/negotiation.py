"""What a caller accepts: lists with weights (RFC 9110, section 12.4.2)."""

from collections.abc import Iterator


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether ``Accept-Encoding`` allows gzip: by its name, or else by ``*``, with a weight above 0."""
    weights = dict(_weighted(accept_encoding))
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def prefers_html(accept: str) -> bool:
    """Whether ``Accept`` names HTML, with at least the weight of JSON.

    A client that takes anything (``*/*``, or no header at all) is a program more often than a browser.
    """
    weights = dict(_weighted(accept))
    html = weights.get("text/html", 0.0)
    json = weights.get("application/json", weights.get("application/*", weights.get("*/*", 0.0)))
    return html > 0 and html >= json


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    for part in header.lower().split(","):
        name, *parameters = ("".join(each.split()) for each in part.split(";"))
        if name:
            weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
            yield name, _number(weight)


def _number(weight: str) -> float:
    """A weight from 0 to 1; 0 for what is none, so that a caller never gets what it may not have wanted."""
    try:
        number = float(weight)
    except ValueError:
        return 0.0
    return number if 0 <= number <= 1 else 0.0
