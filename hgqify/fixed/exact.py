"""Rounding and overflow of M * 2**E with integer M: the arithmetic under :mod:`hgqify.fixed.quantize`."""

from dataclasses import dataclass

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed.bounds import MAX_BITS, BoolArray, IntArray, IntLike, bounds_of, format_parts
from hgqify.fixed.modes import Overflow, Rounding, as_overflow, require_deterministic
from hgqify.fixed.significant import own_frac


def _shift_right_floor(m: IntArray, n: IntArray) -> tuple[IntArray, BoolArray, BoolArray]:
    """m * 2**-n for n >= 0, |m| < 2**62: floor, the bit below it (1/2), whether any bit below that is set."""
    if np.any(n > MAX_BITS):
        # Less than half an LSB: only the sign is left, so +-1/4 stands for it and rounds alike.
        tiny = n > MAX_BITS
        m, n = np.where(tiny, np.sign(m), m), np.where(tiny, 2, n)
    floor = m >> n
    rest = m - (floor << n)
    half = np.left_shift(np.int64(1), np.maximum(n - 1, 0))
    # n = 0 leaves rest = 0: neither bit is set.
    return floor, rest >= half, (rest & (half - 1)) != 0


def _increment(
    floor: IntArray, half: BoolArray, sticky: BoolArray, negative: BoolArray, rounding: Rounding
) -> BoolArray:
    """Whether to go one code up from the floor."""
    match rounding:
        case Rounding.RND:
            return half
        case Rounding.RND_CONV:
            return half & (sticky | ((floor & 1) == 1))
        case Rounding.TRN_ZERO:
            return negative & (half | sticky)
        case Rounding.RND_ZERO:
            return half & (sticky | negative)
        case Rounding.RND_MIN_INF:
            return half & sticky
        case Rounding.RND_INF:
            return half & (sticky | ~negative)
        case _:
            return np.zeros((), bool)


def _wrap(code: IntArray, k: IntArray, b: IntArray) -> IntArray:
    """The k + b lowest bits of ``code``, two's complement where k = 1. Modulo 2**64 is harmless below it."""
    mask = np.left_shift(np.int64(1), k + b) - 1
    sign = np.left_shift(k, b)
    return ((code & mask) ^ sign) - sign


def _wrap_sm(code: IntArray, floor: IntArray, k: IntArray, b: IntArray) -> IntArray:
    """Sign-magnitude wrapping of codes outside the range; see the module's page."""
    low_bits = code & (np.left_shift(np.int64(1), b) - 1)
    top = (code >> b) & 1
    deleted = (floor >> (k + b)) & 1
    span = np.left_shift(np.int64(1), b)
    magnitude = np.where(deleted != top, span - 1 - low_bits, low_bits)
    return magnitude - deleted * span


@dataclass(frozen=True, eq=False)
class Rounded:
    """Values rounded to a format's LSB, not yet brought into its range.

    Attributes:
        k, b: sign flag and bits without sign of the format, 0 both where it is the constant 0.
        code: the rounded code modulo 2**64.
        floor: the code rounded down, modulo 2**64.
        under, over: whether the true rounded code lies below or above the range.
        low, high: the range.
        overflow: the mode the range belongs to.
    """

    k: IntArray
    b: IntArray
    code: IntArray
    floor: IntArray
    under: BoolArray
    over: BoolArray
    low: IntArray
    high: IntArray
    overflow: Overflow

    def into_range(self) -> IntArray:
        """The codes after overflow handling."""
        shape = np.broadcast_shapes(self.code.shape, self.k.shape, self.b.shape)
        if self.overflow.saturates:
            result = np.where(self.under, self.low, np.where(self.over, self.high, self.code))
        elif self.overflow is Overflow.WRAP:
            result = _wrap(self.code, self.k, self.b)
        else:
            mirrored = _wrap_sm(self.code, self.floor, self.k, self.b)
            result = np.where(self.under | self.over, mirrored, self.code)
            # Without bits there is nothing to mirror: _wrap_sm would still see the bit that is cut off.
            result = np.where(self.k + self.b == 0, 0, result)
        return np.broadcast_to(result, shape).astype(np.int64)


def round_exact(
    m: IntArray,
    e: IntArray,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding,
    overflow: Overflow,
    digits: IntLike | None = None,
) -> Rounded:
    """m * 2**e, |m| < 2**62, rounded to the LSB 2**-f of the formats (k, i, f), or to ``digits`` significant
    bits where these end above it.

    Raises:
        PrecisionError: a format wider than 62 bits, a stochastic mode, WRAP_SM without sign, or significant
            bits under a mode that wraps.
    """
    rounding, overflow = require_deterministic(rounding), as_overflow(overflow)
    k_, f_, b = format_parts(k, i, f, digits)
    if overflow is Overflow.WRAP_SM and np.any((k_ == 0) & (b > 0)):
        raise PrecisionError(
            "WRAP_SM needs a sign: ap_ufixed does not support it",
            received=f"{overflow} with k = 0",
            remedy="use a signed format, or WRAP",
        )
    # Zeros that the code ends in whatever the value, since the significant bits end above them.
    zeros = np.int64(0) if digits is None else f_ - own_frac(m, e, b - f_, f_, digits)
    shift = e + f_ - zeros
    right, left = np.maximum(-shift, 0), np.maximum(shift, 0) + zeros
    floor, half, sticky = _shift_right_floor(m, right)
    code = floor + _increment(floor, half, sticky, m < 0, rounding)
    low, high = bounds_of(k_, b, overflow, digits)
    if not np.any(left):
        return Rounded(k_, b, code, floor, code < low, code > high, low, high, overflow)
    # code * 2**left against the bounds without computing it: it may exceed int64.
    step = np.minimum(left, 63)
    under, over = code < -(-low >> step), code > high >> step
    # Modulo 2**64 the low W <= 62 bits and the one above them survive, which is all that wrapping needs;
    # a shift by 63 leaves zeros there, as any longer one.
    return Rounded(k_, b, code << step, floor << step, under, over, low, high, overflow)
