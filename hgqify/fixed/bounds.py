"""Integer arguments checked, and the range of codes of a format."""

import numpy as np
import numpy.typing as npt

from hgqify.errors import PrecisionError
from hgqify.fixed.modes import Overflow, as_overflow

MAX_BITS = 62
"""Widest format; codes stay below 2**62 in magnitude, so that a sum of two fits in int64."""

_EXPONENT_LIMIT = 1 << 16  # keeps sums of exponents far from int64's ends

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
IntLike = int | np.integer | npt.NDArray[np.integer] | npt.NDArray[np.bool_]


def integers(value: object, name: str) -> IntArray:
    """``value`` as an int64 array, itself if it is one; floats are refused, whole or not."""
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        raise PrecisionError(
            f"{name} must hold integers",
            received=f"dtype {array.dtype}",
            remedy="round and cast it to int64 first",
        )
    return array.astype(np.int64, copy=False)


def format_parts(
    k: IntLike, i: IntLike, f: IntLike, digits: IntLike | None = None
) -> tuple[IntArray, IntArray, IntArray]:
    """k, f and b = i + f as int64, checked; k + b <= 0, or no digits, is normalised to k = b = 0."""
    k_, i_, f_ = integers(k, "k"), integers(i, "i"), integers(f, "f")
    for name, part in (("i", i_), ("f", f_)):
        if np.any(np.abs(part) > _EXPONENT_LIMIT):
            raise PrecisionError(
                f"{name} lies beyond any float64 exponent", received=f"{part.min()} to {part.max()}"
            )
    if not np.all((k_ == 0) | (k_ == 1)):
        raise PrecisionError(
            "k must be 0 or 1",
            received=f"k from {k_.min()} to {k_.max()}",
            remedy="use 1 for signed, 0 for unsigned",
        )
    b = i_ + f_
    width = k_ + b
    if np.any(width > MAX_BITS):
        raise PrecisionError(
            f"formats wider than {MAX_BITS} bits are not computed",
            received=f"k+i+f = {width.max()}",
            remedy="use fewer integer or fractional bits",
        )
    alive = width > 0
    if digits is not None:
        alive = alive & (integers(digits, "digits") > 0)
    return np.where(alive, k_, 0), f_, np.where(alive, b, 0)


def bounds_of(
    k: IntArray, b: IntArray, overflow: Overflow, digits: IntLike | None = None
) -> tuple[IntArray, IntArray]:
    """Bounds of checked formats (see :func:`format_parts`), each at the shape its own parts have.

    Raises:
        PrecisionError: significant bits under a mode that wraps.
    """
    span = np.left_shift(np.int64(1), b)
    if digits is not None:
        if not overflow.saturates:
            raise PrecisionError(
                "a number of so many significant bits saturates",
                received=f"overflow mode {overflow}",
                remedy="use SAT_SYM",
            )
        # The largest number of so many bits below 2**b.
        high = span - np.left_shift(np.int64(1), np.maximum(b - integers(digits, "digits"), 0))
        high = np.where(b > 0, high, 0)
        return np.asarray(-k * high, np.int64), np.asarray(high, np.int64)
    low = -k * span
    if overflow is Overflow.SAT_SYM:
        low = low + (k * (b > 0))
    return np.asarray(low, np.int64), np.asarray(span - 1, np.int64)


def code_bounds(
    k: IntLike, i: IntLike, f: IntLike, overflow: Overflow = Overflow.SAT, digits: IntLike | None = None
) -> tuple[IntArray, IntArray]:
    """Smallest and largest code of each format: [-k 2**b, 2**b - 1] with b = i + f.

    Args:
        k, i, f: integers or arrays that broadcast together.
        overflow: SAT_SYM raises the lower bound by one LSB (not where W = 1).
        digits: significant bits of a code, at most; then both bounds are the farthest codes of so many.

    Returns:
        ``(low, high)``, int64 of the broadcast shape; (0, 0) where k + i + f <= 0.

    Raises:
        PrecisionError: k is not 0/1, a width exceeds 62 bits, or a component is no integer.
    """
    k_, _, b = format_parts(k, i, f, digits)
    low, high = bounds_of(k_, b, as_overflow(overflow), digits)
    shape = np.broadcast_shapes(k_.shape, b.shape)
    return np.broadcast_to(low, shape).copy(), np.broadcast_to(high, shape).copy()
