"""A confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

from hgqify.report.charts.axes import chart, label
from hgqify.report.markup import Html, tag
from hgqify.report.numbers import whole

_MARGIN = 56
_WRITTEN = 16  # most classes whose cells have room for numbers


def confusion(counts: Sequence[Sequence[int]], *, rows: str, columns: str, side: int = 430) -> Html:
    """Counts [row][column] as a square; shades are shares of the row.

    Args:
        counts: square.
        rows, columns: what they are.
        side: pixels.
    """
    classes = len(counts)
    cell = min((side - _MARGIN) / classes, 56)
    extent = cell * classes
    every = 1 if classes <= 20 else 5
    parts = []
    for row, numbers in enumerate(counts):
        total = sum(numbers)
        for column, number in enumerate(numbers):
            share = number / total if total else 0.0
            # Errors are few: their shades grow with the root, or none would be seen.
            depth = share if row == column else share**0.5
            kind = "right" if row == column else "wrong"
            note = tag("title", f"{rows} {row}, {columns} {column}: {whole(number)} of {whole(total)}")
            place = {"x": _MARGIN + column * cell, "y": _MARGIN + row * cell, "width": cell, "height": cell}
            parts.append(tag("rect", note, **place, class_="cell"))
            if number:
                parts.append(
                    tag("rect", **place, class_=f"cell {kind}", fill_opacity=f"{0.08 + 0.62 * depth:.2f}")
                )
            if number and classes <= _WRITTEN:
                x, y = place["x"] + cell / 2, place["y"] + cell / 2 + 4
                parts.append(label(x, y, whole(number) if cell > 30 else number))
    for n in range(0, classes, every):
        parts.append(label(_MARGIN - 6, _MARGIN + (n + 0.5) * cell + 4, n, anchor="end"))
        parts.append(label(_MARGIN + (n + 0.5) * cell, _MARGIN - 6, n))
    middle = _MARGIN + extent / 2
    parts.append(label(middle, 16, columns, class_="title"))
    turned = tag(
        "text",
        rows,
        x=0,
        y=0,
        text_anchor="middle",
        class_="title",
        transform=f"translate(14 {middle:.1f}) rotate(-90)",
    )
    parts.append(turned)
    size = _MARGIN + extent + 2
    return chart(size, size, f"Confusion matrix of {classes} classes", parts)
