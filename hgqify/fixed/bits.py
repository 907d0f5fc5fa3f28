"""Bits of integer codes: length, trailing zeros, span; and the smallest format that holds a range."""

import numpy as np
import numpy.typing as npt

from hgqify.errors import PrecisionError
from hgqify.fixed.bounds import MAX_BITS, IntArray, integers
from hgqify.fixed.format import Format

_HALF = 31


def _magnitudes(codes: npt.ArrayLike) -> IntArray:
    array = np.abs(integers(codes, "codes"))
    # abs(-2**63) stays negative in int64: the second test catches it.
    if np.any((array >= 1 << MAX_BITS) | (array < 0)):
        raise PrecisionError(
            f"codes must be below 2**{MAX_BITS} in magnitude", remedy="use fewer bits or a coarser LSB"
        )
    return array


def bit_length(codes: npt.ArrayLike) -> IntArray:
    """Position of the most significant set bit of |code|, counted from 1; 0 for 0.

    Raises:
        PrecisionError: no integers, or 2**62 and more.
    """
    value = _magnitudes(codes)
    upper, lower = value >> _HALF, value & ((1 << _HALF) - 1)
    # Halves of 31 bits are exact in float64, where frexp's exponent is the bit length.
    return np.where(upper > 0, _HALF + np.frexp(upper)[1], np.frexp(lower)[1]).astype(np.int64)


def trailing_zeros(codes: npt.ArrayLike) -> IntArray:
    """Zero bits below the least significant set bit of |code|; 0 for 0.

    Raises:
        PrecisionError: as :func:`bit_length`.
    """
    value = _magnitudes(codes)
    return np.maximum(bit_length(value & -value) - 1, 0)


def span(codes: npt.ArrayLike) -> IntArray:
    """Bits from the most to the least significant set bit of |code|, both counted; 0 for 0.

    What a constant costs in EBOPs: a power of two spans 1 bit, 5 = 101b spans 3.

    Raises:
        PrecisionError: as :func:`bit_length`.
    """
    return bit_length(codes) - trailing_zeros(codes)


def minimal_bits(low: npt.ArrayLike, high: npt.ArrayLike, frac: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    """Smallest k and i, element by element, with which (k, i, frac) holds every code in [low, high].

    k = 1 where low < 0; i = b - frac with the smallest b >= 0 for which -2**b <= low, high <= 2**b - 1.

    Raises:
        PrecisionError: no integers, an empty interval, or 2**62 and more.
    """
    low_, high_, frac_ = integers(low, "low"), integers(high, "high"), integers(frac, "frac")
    if np.any(low_ > high_):
        raise PrecisionError("an interval is empty: low exceeds high in some element")
    # ~v = -v - 1 for negative v: -2**b needs b bits beside the sign, as 2**b - 1 does.
    b = np.maximum(
        bit_length(np.where(low_ < 0, ~low_, low_)), bit_length(np.where(high_ < 0, ~high_, high_))
    )
    return (low_ < 0).astype(np.int64), b - frac_


def minimal_format(low: npt.ArrayLike, high: npt.ArrayLike, frac: int) -> Format:
    """Smallest format with f = ``frac`` that holds every code between all ``low`` and all ``high``.

    Args:
        low, high: integers or integer arrays, not empty.
        frac: fractional bits of the codes.

    Returns:
        One format for all elements; ``Format(0, -frac, frac)``, the constant 0, if all bounds are 0.

    Raises:
        PrecisionError: as :func:`minimal_bits`, or empty arrays.
    """
    low_, high_ = integers(low, "low"), integers(high, "high")
    if not low_.size or not high_.size:
        raise PrecisionError("no format follows from an empty array", received=f"shape {low_.shape}")
    k, i = minimal_bits(low_.min(), high_.max(), frac)
    return Format(int(k), int(i), frac)
