"""Quantization in exact rational arithmetic, written from the definitions and not from `hgqify.fixed`."""

import math
from fractions import Fraction

from hgqify.fixed import Format, Overflow, Rounding


def rounded(u: Fraction, rounding: Rounding) -> int:
    """The integer that ``rounding`` makes of ``u``."""
    if rounding is Rounding.TRN:
        return math.floor(u)
    if rounding is Rounding.TRN_ZERO:
        return math.trunc(u)
    below, above = math.floor(u), math.ceil(u)
    if u - below != above - u:
        return below if u - below < above - u else above
    if below == above:
        return below
    return {
        Rounding.RND: above,
        Rounding.RND_MIN_INF: below,
        Rounding.RND_ZERO: above if u < 0 else below,
        Rounding.RND_INF: below if u < 0 else above,
        Rounding.RND_CONV: below if below % 2 == 0 else above,
    }[rounding]


def bounds(fmt: Format, overflow: Overflow) -> tuple[int, int]:
    """Ends of the range from its values: [-k 2**i, 2**i - LSB], symmetric without the lowest code."""
    if fmt.k + fmt.i + fmt.f <= 0:
        return 0, 0
    lsb, power = Fraction(2) ** -fmt.f, Fraction(2) ** fmt.i
    low, high = -fmt.k * power / lsb, (power - lsb) / lsb
    if overflow is Overflow.SAT_SYM and fmt.k and fmt.k + fmt.i + fmt.f > 1:
        low = -high
    assert low.denominator == high.denominator == 1
    return int(low), int(high)


def quantized(value: Fraction, fmt: Format, rounding: Rounding, overflow: Overflow) -> int:
    """The code of ``value``."""
    low, high = bounds(fmt, overflow)
    if (low, high) == (0, 0):
        return 0
    u = value * Fraction(2) ** fmt.f
    code = rounded(u, rounding)
    if low <= code <= high:
        return code
    if overflow in (Overflow.SAT, Overflow.SAT_SYM):
        return low if code < low else high
    period = high - low + 1
    if overflow is Overflow.WRAP:
        return (code - low) % period + low
    # A triangle wave: up from 0 to high, down to 0, on to low, up again. The half of the wave is read
    # before rounding, the quarter after it.
    span = high + 1
    quarter, within = divmod(code, span)
    second_half = math.floor(u) // period % 2
    return {
        (0, 0): within,
        (0, 1): span - 1 - within,
        (1, 0): -1 - within,
        (1, 1): within - span,
    }[second_half, quarter % 2]
