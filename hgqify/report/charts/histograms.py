"""Histograms of widths and of values."""

from __future__ import annotations

from collections.abc import Sequence

from hgqify.report.charts.axes import Scale, chart, label, tick_text
from hgqify.report.markup import Html, joined, tag
from hgqify.report.numbers import significant, whole


def width_histogram(
    counts: Sequence[Sequence[int]],
    *,
    what: str,
    size: tuple[int, int] = (250, 120),
    colour: str = "quantized",
) -> Html:
    """How many elements have how many bits.

    Args:
        counts: pairs (bits, number).
        what: the elements, for the description.
        size: pixels.
        colour: class of the bars.
    """
    width, height = size
    low, high = min(0, counts[0][0]), max(counts[-1][0], 8)
    total = sum(number for _, number in counts)
    x = Scale(low=low - 0.6, high=high + 0.6, start=6, end=width - 6)
    y = Scale(low=0, high=max(number for _, number in counts), start=height - 20, end=16)
    bar = max(min((width - 12) / (high - low + 1.2) - 2, 26), 2)
    parts = [tag("line", x1=6, x2=width - 6, y1=y(0), y2=y(0), class_="axis")]
    every = 1 if high - low <= 12 else 2 if high - low <= 24 else 8
    parts += [label(x(bits), height - 6, bits) for bits in range(low, high + 1) if bits % every == 0]
    for bits, number in counts:
        top = min(y(number), y(0) - 1.0)
        parts.append(
            tag(
                "rect",
                tag("title", f"{bits} bits: {whole(number)} of {whole(total)}"),
                x=x(bits) - bar / 2,
                y=top,
                width=bar,
                height=y(0) - top,
                class_=colour,
            )
        )
        share = 100 * number / total
        if share >= 5 and bar >= 20:
            parts.append(label(x(bits), top - 4, f"{share:.0f}%", class_="small"))
    return chart(width, height, f"Widths of {what}: {_told(counts)}", parts)


def _told(counts: Sequence[Sequence[int]]) -> str:
    if len(counts) > 12:
        return f"{counts[0][0]} to {counts[-1][0]} bits"
    return ", ".join(f"{bits} bits {whole(number)}" for bits, number in counts)


def value_histogram(
    high: float,
    counts: Sequence[int],
    float_counts: Sequence[int] | None,
    *,
    what: str,
    size: tuple[int, int] = (250, 120),
) -> Html:
    """Values before (line) and after (bars) quantization, on a square-root scale: zeros would hide the rest.

    Args:
        high: the bins divide [-high, high] evenly.
        counts, float_counts: numbers in each bin.
        what: the values, for the description.
        size: pixels.
    """
    width, height = size
    bins = len(counts)
    most = max([*counts, *(float_counts or ())]) or 1
    x = Scale(low=0, high=bins, start=6, end=width - 6)
    y = Scale(low=0, high=most**0.5, start=height - 20, end=8)
    parts = [tag("line", x1=6, x2=width - 6, y1=y(0), y2=y(0), class_="axis")]
    for place, number in enumerate(counts):
        if number:
            middle = high * (2 * (place + 0.5) / bins - 1)
            parts.append(
                tag(
                    "rect",
                    tag("title", f"about {significant(middle, 2)}: {whole(number)}"),
                    x=x(place) + 0.5,
                    y=y(number**0.5),
                    width=x(1) - x(0) - 1,
                    height=y(0) - y(number**0.5),
                    class_="quantized",
                )
            )
    if float_counts is not None:
        corners = " ".join(
            f"{x(place + side):.1f},{y(number**0.5):.1f}"
            for place, number in enumerate(float_counts)
            for side in (0, 1)
        )
        parts.append(tag("polyline", points=corners, class_="float line"))
    ends = ((x(0), -high, "start"), (x(bins / 2), 0.0, "middle"), (x(bins), high, "end"))
    parts += [
        label(place, height - 6, tick_text(float(f"{value:.2g}")), anchor=anchor)
        for place, value, anchor in ends
    ]
    return chart(width, height, f"Histogram of {what} between {-high:.3g} and {high:.3g}", joined(parts))
