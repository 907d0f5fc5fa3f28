"""Ranges of activations against the bits of their formats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hgqify.report.charts.axes import Scale, chart, label
from hgqify.report.markup import Html, tag
from hgqify.report.numbers import significant, span

_NAMES, _ROW, _TOP = 250, 22, 34  # pixels
_LETTERS = 36  # of a name


def format_ruler(sites: Sequence[Mapping[str, Any]], *, width: int = 1080) -> Html:
    """One row for each quantizer: its bits by their weight 2**n, and how far the data reaches.

    Args:
        sites: of the calibration: layer, slot, low, high, ints, fracs.
        width: pixels.
    """
    reaches = [_reach(site) for site in sites]
    lows = [-site["fracs"][1] for site in sites]
    highs = [site["ints"][1] for site in sites]
    low = min([*lows, *(r for r in reaches if r is not None)])
    high = max([*highs, *(r for r in reaches if r is not None)])
    low, high = math.floor(max(low, -40)) - 1, math.ceil(min(high, 40)) + 1
    x = Scale(low=low, high=high, start=_NAMES, end=width - 130)
    height = _TOP + _ROW * len(sites) + 8
    step = 1 if high - low <= 30 else 2 if high - low <= 50 else 4
    parts = []
    for power in range(low, high + 1):
        at = x(power)
        parts.append(tag("line", x1=at, x2=at, y1=_TOP - 6, y2=height - 6, class_="grid"))
        if power % step == 0:
            power_text = f"2{_raised(power)}"
            parts.append(label(at, _TOP - 12, power_text))
    for row, (site, reach) in enumerate(zip(sites, reaches, strict=True)):
        parts += _row(site, reach, _TOP + row * _ROW, x, width)
    return chart(
        width, height, "Formats of activations and the range of the data", parts, class_="chart wide"
    )


def _row(site: Mapping[str, Any], reach: float | None, y: float, x: Scale, width: float) -> list[Html]:
    where = "output" if site["slot"] == "oq" else f"input {site['slot']}"
    name = str(site["layer"]) if site["slot"] == 0 else f"{site['layer']} · {where}"
    shown = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    (i_low, i_high), (f_low, f_high) = site["ints"], site["fracs"]
    note = (
        f"{name} ({where}): {span(site['widths'])} bits, integer bits {span(site['ints'])}, "
        f"fractional bits {span(site['fracs'])}; "
        f"data from {significant(site['low'])} to {significant(site['high'])}"
    )
    parts = [label(_NAMES - 12, y + 14, shown, anchor="end")]
    outer = (max(-f_high, x.low), min(i_high, x.high))
    inner = (max(-f_low, x.low), min(i_low, x.high))
    if outer[1] > outer[0]:
        parts.append(_bar(outer, x, y, "bits some", note))
    if inner[1] > inner[0]:
        parts.append(_bar(inner, x, y, "bits", note))
    if reach is not None:
        at = x(min(max(reach, x.low), x.high))
        kind = "reach beyond" if reach > i_high + 1e-6 else "reach"
        parts.append(tag("line", tag("title", note), x1=at, x2=at, y1=y + 1, y2=y + _ROW - 3, class_=kind))
    parts.append(label(width - 122, y + 14, f"{span(site['widths'])} bits", anchor="start"))
    parts.append(
        label(width - 4, y + 14, "signed" if site["low"] < 0 else "unsigned", anchor="end", class_="muted")
    )
    return parts


def _bar(ends: tuple[float, float], x: Scale, y: float, class_: str, note: str) -> Html:
    return tag(
        "rect",
        tag("title", note),
        x=x(ends[0]),
        y=y + 4,
        width=x(ends[1]) - x(ends[0]),
        height=_ROW - 9,
        class_=class_,
    )


def _reach(site: Mapping[str, Any]) -> float | None:
    """Logarithm to base two of the largest magnitude seen."""
    ends = [abs(end) for end in (site["low"], site["high"]) if end is not None]
    largest = max(ends, default=0.0)
    return math.log2(largest) if largest > 0 else None


def _raised(power: int) -> str:
    return "".join("⁻" if sign == "-" else "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(sign)] for sign in str(power))
