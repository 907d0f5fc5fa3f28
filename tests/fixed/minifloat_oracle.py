"""Minifloats as the list of their numbers, written from the definition and not from `hgqify.fixed`."""

import bisect
from fractions import Fraction

from rational_oracle import rounded

from hgqify.fixed import Rounding


def magnitudes(m: int, e: int, e0: int, codes: int) -> list[Fraction]:
    """The first ``codes`` magnitudes, in order; beyond 2**(e + m) as if exponents went on."""
    bias = 2 ** (e - 1) - e0
    found = []
    for code in range(codes):
        field, mantissa = divmod(code, 2**m)
        whole = Fraction(mantissa, 2**m) + (1 if field else 0)
        found.append(whole * Fraction(2) ** (max(field, 1) - bias))
    return found


def nearest(x: Fraction, m: int, e: int, e0: int, rounding: Rounding, reserved: int = 0) -> Fraction:
    """Rounded between the two neighbours in the list, then saturated."""
    count = 2 ** (e + m)
    numbers = magnitudes(m, e, e0, count + 2**m + 1)
    largest = numbers[count - 1 - reserved]
    if abs(x) >= numbers[-1]:
        return largest if x > 0 else -largest
    signed = [-number for number in numbers[:0:-1]] + numbers
    zero = len(numbers) - 1
    below = bisect.bisect_right(signed, x) - 1
    step = signed[below + 1] - signed[below]
    # The place in the list, counted from 0 at 0.0, rounds like a code.
    place = rounded(below - zero + (x - signed[below]) / step, rounding)
    return max(-largest, min(signed[place + zero], largest))
