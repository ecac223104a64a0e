"""Line charts as SVG, written by hand: nothing to install, and a diff shows what changed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 72, 150, 44, 52
COLOURS = ("#1f6feb", "#d1242f", "#57606a", "#1a7f37")
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """One direction: its label, whether it is logarithmic, and the pixels from its low to its high end."""

    label: str
    log: bool
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, label: str, values: list[float], start: float, end: float, log: bool) -> "Axis":
        """An axis on which all values find room; a linear one begins at 0."""
        if log:
            return cls(label, log, _round_down(min(values)), _round_up(max(values)), start, end)
        return cls(label, log, 0.0, _round_up(max(values)), start, end)

    def place(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / (math.log(self.high / self.low) or 1)
        else:
            share = (value - self.low) / ((self.high - self.low) or 1)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Where it is labelled: 1, 2 and 5 of each decade, or five even steps."""
        if not self.log:
            return [self.high * step / 5 for step in range(6)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 4 else (1,)
        return [tick for power in decades for step in steps if self.low <= (tick := step * 10.0**power) <= self.high]


def chart(title: str, x: str, y: str, series: Mapping[str, list[Point]], *, log_x: bool, log_y: bool) -> str:
    """A chart with a line for each of the series, labelled at its right end. Values on a logarithmic axis are > 0."""
    series = {name: line for name, line in series.items() if line}
    points = [point for line in series.values() for point in line]
    across = Axis.over(x, [point[0] for point in points], LEFT, WIDTH - RIGHT, log_x)
    upright = Axis.over(y, [point[1] for point in points], HEIGHT - BOTTOM, TOP, log_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="#24292f">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x)}</text>',
        f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y)}</text>',
    ]
    for tick in upright.ticks():
        at = upright.place(tick)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in across.ticks():
        at = across.place(tick)
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eaeef2"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(tick)}</text>')
    labels = _apart({name: upright.place(line[-1][1]) for name, line in series.items()})
    for (name, line), colour in zip(series.items(), COLOURS, strict=False):
        pixels = [(across.place(left), upright.place(up)) for left, up in line]
        path = " ".join(f"{left:.1f},{up:.1f}" for left, up in pixels)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{left:.1f}" cy="{up:.1f}" r="3" fill="{colour}"/>' for left, up in pixels]
        at = labels[name] + 4
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{at:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _apart(labels: dict[str, float], gap: float = 15) -> dict[str, float]:
    """The labels' heights, moved down where two would cover each other."""
    placed: dict[str, float] = {}
    last = -math.inf
    for name, at in sorted(labels.items(), key=lambda item: item[1]):
        last = placed[name] = max(at, last + gap)
    return placed


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (5, 2, 1) if step * power <= value * (1 + 1e-9))


def _number(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
