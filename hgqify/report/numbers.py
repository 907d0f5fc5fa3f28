"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "–"
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def whole(number: float | None) -> str:
    """1,234,567."""
    return NOTHING if number is None else f"{number:,.0f}"


def short(number: float | None, figures: int = 3) -> str:
    """1.23M."""
    if number is None:
        return NOTHING
    for size, unit in _UNITS:
        if abs(number) >= size * (1 - 0.5 * 10.0**-figures):
            return f"{number / size:.{figures}g}{unit}"
    return f"{number:.{figures}g}"


def fixed(number: float | None, digits: int = 2) -> str:
    """With so many decimals."""
    return NOTHING if number is None else f"{number:,.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 2) -> str:
    """A share of 1 in per cent."""
    return NOTHING if share is None else f"{fixed(100 * share, digits)}\N{NO-BREAK SPACE}%"


def significant(number: float | None, digits: int = 3) -> str:
    """With so many significant figures."""
    return NOTHING if number is None else f"{number:.{digits}g}".replace("-", "−")


def decibel(number: float | None) -> str:
    """A ratio in dB."""
    return NOTHING if number is None else f"{fixed(number, 1)}\N{NO-BREAK SPACE}dB"


def seconds(number: float) -> str:
    """A duration."""
    if number < 60:
        return f"{number:.1f} s" if number < 10 else f"{number:.0f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def span(ends: Sequence[float] | None) -> str:
    """8, or 3–8."""
    if ends is None:
        return NOTHING
    low, high = (f"{end:g}".replace("-", "−") for end in (ends[0], ends[-1]))
    return low if low == high else f"{low}–{high}"


def shape(sizes: Sequence[int]) -> str:
    """32 × 32 × 3."""
    return " × ".join(map(str, sizes)) or "scalar"
