"""Curves and points in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hgqify.report.charts.axes import Scale, around, chart, label, x_axis, y_axis
from hgqify.report.markup import Html, joined, tag

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 30, 42


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind.

    Attributes:
        points: (x, y).
        name: for the legend; empty for none.
        colour: class of marks and line.
        line: whether the points are joined.
        radius: of the marks; 0 for none.
        notes: shown when pointing at each mark.
    """

    points: Sequence[tuple[float, float]]
    name: str = ""
    colour: str = "quantized"
    line: bool = False
    radius: float = 3.5
    notes: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A line across the plot.

    Attributes:
        at: its value.
        text: beside it.
        vertical: at an x rather than at a y.
    """

    at: float
    text: str
    vertical: bool = False


def plane(
    series: Sequence[Series],
    *,
    description: str,
    x_title: str,
    y_title: str,
    x_log: bool = False,
    y_log: bool = False,
    marks: Sequence[Mark] = (),
    size: tuple[int, int] = (540, 300),
) -> Html:
    """Series in one coordinate system.

    Args:
        series: the last lies on top; at least one point in all.
        description: of what is shown, for those who do not see it.
        x_title, y_title: of the axes.
        x_log, y_log: logarithmic axes.
        marks: lines across.
        size: pixels.
    """
    width, height = size
    xs = [x for one in series for x, _ in one.points] + [m.at for m in marks if m.vertical]
    ys = [y for one in series for _, y in one.points] + [m.at for m in marks if not m.vertical]
    x_low, x_high = around(xs, log=x_log, margin=0.04)
    y_low, y_high = around(ys, log=y_log)
    x = Scale(low=x_low, high=x_high, start=_LEFT, end=width - _RIGHT, log=x_log)
    y = Scale(low=y_low, high=y_high, start=height - _BOTTOM, end=_TOP, log=y_log)
    parts = [
        y_axis(y, _LEFT, title=y_title, right=width - _RIGHT),
        x_axis(x, height - _BOTTOM, title=x_title, top=_TOP),
        *(_mark(mark, x, y, row) for row, mark in enumerate(marks)),
        *(_series(one, x, y) for one in series),
        _legend(series, width),
    ]
    return chart(width, height, description, parts)


def _mark(mark: Mark, x: Scale, y: Scale, row: int) -> Html:
    if mark.vertical:
        at = x(mark.at)
        beside = at + 4 if at < (x.start + x.end) / 2 else at - 4
        return joined(
            tag("line", x1=at, x2=at, y1=y.start, y2=y.end, class_="mark"),
            label(beside, y.end + 12 + 14 * row, mark.text, anchor="start" if beside > at else "end"),
        )
    at = y(mark.at)
    above = at - 5 if at > y.end + 16 else at + 13
    return joined(
        tag("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="mark"),
        label(x.start + 6, above, mark.text, anchor="start"),
    )


def _series(one: Series, x: Scale, y: Scale) -> Html:
    parts = []
    if one.line and len(one.points) > 1:
        corners = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in one.points)
        parts.append(tag("polyline", points=corners, class_=f"{one.colour} line"))
    if one.radius:
        for n, (a, b) in enumerate(one.points):
            note = tag("title", one.notes[n]) if n < len(one.notes) else None
            parts.append(tag("circle", note, cx=x(a), cy=y(b), r=one.radius, class_=one.colour))
    return joined(parts)


def _legend(series: Sequence[Series], width: float) -> Html:
    named = [one for one in series if one.name]
    parts, right = [], width - _RIGHT
    for one in reversed(named):
        right -= 6.1 * len(one.name)
        parts.append(label(right, 13, one.name, anchor="start"))
        right -= 8
        parts.append(tag("circle", cx=right, cy=9, r=min(one.radius or 3.5, 4.5), class_=one.colour))
        right -= 16
    return joined(parts)
