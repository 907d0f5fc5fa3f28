"""Scales, ticks and axes of a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import short

TEXT = 11  # pixels


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Values to pixels.

    Attributes:
        low, high: values at the ends.
        start, end: their pixels.
        log: whether equal factors, rather than differences, take equal space.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log10(max(v, 1e-300)) for v in (value, low, high))
        return self.start + (self.end - self.start) * (value - low) / ((high - low) or 1.0)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values, at most so many."""
        return _log_ticks(self.low, self.high, most) if self.log else _ticks(self.low, self.high, most)


def around(values: Sequence[float], *, log: bool = False, margin: float = 0.06) -> tuple[float, float]:
    """Ends of a scale that holds all values, with some room."""
    low, high = min(values), max(values)
    if log:
        low, high = max(low, 1e-12), max(high, 1e-12)
        room = max((high / low) ** margin, 1.08)
        return low / room, high * room
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def _ticks(low: float, high: float, most: int) -> list[float]:
    if not high > low:
        return [low]
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [
            factor * 10.0**power
            for power in range(first, last + 1)
            for factor in factors
            if low <= factor * 10.0**power <= high
        ]
        if len(found) <= most:
            break
    else:
        found = found[:: math.ceil(len(found) / most)]
    return found if len(found) >= 2 else _ticks(low, high, 4)


def label(x: float, y: float, text: object, *, anchor: str = "middle", class_: str = "") -> Html:
    """Text in a chart."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_ or None)


def x_axis(scale: Scale, y: float, *, title: str = "", top: float | None = None, most: int = 6) -> Html:
    """Axis below a plot; with ``top``, grid lines up to there."""
    parts = [tag("line", x1=scale.start, x2=scale.end, y1=y, y2=y, class_="axis")]
    ticks = scale.ticks(most)
    for value, text in zip(ticks, tick_texts(ticks), strict=True):
        x = scale(value)
        if top is not None:
            parts.append(tag("line", x1=x, x2=x, y1=y, y2=top, class_="grid"))
        parts += [tag("line", x1=x, x2=x, y1=y, y2=y + 4, class_="axis"), label(x, y + 16, text)]
    if title:
        parts.append(label((scale.start + scale.end) / 2, y + 34, title, class_="title"))
    return joined(parts)


def y_axis(scale: Scale, x: float, *, title: str = "", right: float | None = None, most: int = 5) -> Html:
    """Axis left of a plot; with ``right``, grid lines up to there."""
    parts = []
    ticks = scale.ticks(most)
    for value, text in zip(ticks, tick_texts(ticks), strict=True):
        y = scale(value)
        if right is not None:
            parts.append(tag("line", x1=x, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(label(x - 6, y + 4, text, anchor="end"))
    if title:
        parts.append(label(x - 40, min(scale.start, scale.end) - 10, title, anchor="start", class_="title"))
    return joined(parts)


def tick_texts(values: Sequence[float]) -> list[str]:
    """Numbers of an axis' ticks, with as many figures as tell them apart."""
    texts: list[str] = []
    for figures in range(3, 9):
        texts = [short(value, figures) if abs(value) >= 1000 else tick_text(value) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return [text.replace("-", "−") for text in texts]


def tick_text(value: float) -> str:
    """A number at an axis."""
    if value and (abs(value) >= 1000 or abs(value) < 0.001):
        text = short(value) if abs(value) >= 1000 else f"{value:.0e}".replace("e-0", "e-")
    else:
        text = f"{value:.6g}"
    return text.replace("-", "−")


def chart(width: float, height: float, description: str, *children: object, class_: str = "chart") -> Html:
    """A picture with a description for those who do not see it."""
    return tag(
        "svg",
        tag("title", description),
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        class_=class_,
        role="img",
    )
