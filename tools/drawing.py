"""``docs/images/request.svg``: the way of one request, drawn from the two tables below."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 226, 62
"""Of a box."""
ACROSS, DOWN = 300, 104
"""From one box to the next."""
MARGIN = 24


@dataclass(frozen=True)
class Box:
    """A part of the way: its place in columns and rows, what it is called, and what it does."""

    column: int
    row: int
    name: str
    job: str
    outside: bool = False


BOXES = {
    "caller": Box(0, 0, "caller", "GET or POST over HTTP", outside=True),
    "api": Box(1, 0, "api", "key and quota; writes JSON"),
    "engine": Box(1, 1, "lookup/engine", "one lookup of one or many ids"),
    "cache": Box(2, 1, "lookup/cache", "memory, and a shared Redis"),
    "queue": Box(1, 2, "lookup/queue", "one entry for each id"),
    "dispatcher": Box(1, 3, "lookup/dispatcher", "batches of ids, four in flight"),
    "policy": Box(0, 3, "lookup/policy", "may it be sent? breaker, lockout"),
    "resolution": Box(2, 3, "lookup/resolution", "answers; splits refused batches"),
    "client": Box(1, 4, "upstream/client", "posts, and reads the reply"),
    "platform": Box(2, 4, "state.php", "the SMS platform", outside=True),
}
ARROWS = [
    ("caller", "api", "request"),
    ("api", "engine", ""),
    ("engine", "cache", "hit: back"),
    ("engine", "queue", "miss"),
    ("queue", "dispatcher", "batch"),
    ("dispatcher", "policy", "permit"),
    ("dispatcher", "resolution", "reply"),
    ("dispatcher", "client", ""),
    ("client", "platform", "POST"),
]

_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title">
<title id="title">The way of one request: {words}</title>
<style>
text {{ font: 13px system-ui, sans-serif; fill: #16242e; text-anchor: middle; }}
.name {{ font: 600 14px ui-monospace, Consolas, monospace; }}
.label {{ font-size: 12px; fill: #4c5d6a; }}
.box {{ fill: #fff; stroke: #0b6e6e; stroke-width: 1.5; }}
.outside {{ fill: #e6edf1; stroke: #4c5d6a; }}
.arrow {{ stroke: #4c5d6a; stroke-width: 1.5; marker-end: url(#head); }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#4c5d6a"/></marker></defs>
<rect width="100%" height="100%" rx="10" fill="#f1f5f7"/>
"""


def svg(current: str = "") -> str:
    """The drawing."""
    del current
    width = 2 * MARGIN + WIDTH + ACROSS * max(box.column for box in BOXES.values())
    height = 2 * MARGIN + HEIGHT + DOWN * max(box.row for box in BOXES.values())
    words = "; ".join(f"{BOXES[begin].name} to {BOXES[end].name}" for begin, end, _ in ARROWS)
    parts = [_HEAD.format(width=width, height=height, words=words)]
    parts += [_arrow(BOXES[begin], BOXES[end], label) for begin, end, label in ARROWS]
    parts += [_box(box) for box in BOXES.values()]
    return "".join(parts) + "</svg>\n"


def _middle(box: Box) -> tuple[int, int]:
    return MARGIN + box.column * ACROSS + WIDTH // 2, MARGIN + box.row * DOWN + HEIGHT // 2


def _box(box: Box) -> str:
    x, y = _middle(box)
    kind = "box outside" if box.outside else "box"
    corner = f'x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}"'
    return (
        f'<rect class="{kind}" {corner} width="{WIDTH}" height="{HEIGHT}" rx="8"/>\n'
        f'<text class="name" x="{x}" y="{y - 6}">{escape(box.name)}</text>\n'
        f'<text x="{x}" y="{y + 16}">{escape(box.job)}</text>\n'
    )


def _arrow(begin: Box, end: Box, label: str) -> str:
    (x1, y1), (x2, y2) = _middle(begin), _middle(end)
    right, down = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    x1, x2 = x1 + right * WIDTH // 2, x2 - right * WIDTH // 2
    y1, y2 = y1 + down * HEIGHT // 2, y2 - down * HEIGHT // 2
    place = f'x="{(x1 + x2) // 2}" y="{y1 - 7}"' if right else f'x="{x1 + 28}" y="{(y1 + y2) // 2 + 4}"'
    text = f'<text class="label" {place}>{escape(label)}</text>\n' if label else ""
    return f'<path class="arrow" d="M{x1} {y1} {x2} {y2}"/>\n{text}'
