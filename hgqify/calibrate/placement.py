"""Where the binary point goes: formats of a given width for a given range."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_SPAN = 24
"""An element whose range lies below 2**-24 of the largest of its tensor is rounded towards zero bits:
the float model itself could not tell it from rounding noise."""


EXPONENT_LIMIT = 60
"""Magnitudes below 2**-60 count as zero, those above 2**60 are refused: products of two then stay normal
float32 numbers."""


class Bits(NamedTuple):
    """k, i, f as int arrays of one shape; k + i + f <= 0 is the constant 0."""

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray


def ceil_log2(x: np.ndarray) -> np.ndarray:
    """Smallest integer e with x <= 2**e for x > 0, exactly (from the exponent bits); 0 for x = 0."""
    mantissa, exponent = np.frexp(np.asarray(x, np.float64))
    return np.where(x > 0, exponent - (mantissa == 0.5), 0).astype(np.int64)


def place_activation(
    low: np.ndarray,
    high: np.ndarray,
    width: np.ndarray | int,
    *,
    wraps: bool,
    margin: int = 0,
    frac: int | None = None,
    signed: bool = False,
) -> Bits:
    """Format of ``width`` bits for values in [low, high].

    k = 1 where low < 0, and everywhere if all are to be signed. i is minimal: with saturation
    -2**i <= low and high <= 2**i (a maximum of exactly 2**i is clipped by one LSB, cheaper than doubling
    the LSB for it); where overflow wraps, low and high must fit after rounding, and ``margin`` is added.
    f = width - k - i; where the data lies on a coarser grid that leaves bits unused, f = ``frac`` and the
    width shrinks.

    Args:
        low, high: arrays of one shape.
        width: k + i + f, broadcastable.
        wraps: whether values outside the format wrap around.
        margin: additional integer bits.
        frac: all values are multiples of 2**-frac, if known.
        signed: give a sign to what is never negative, too.

    Returns:
        Bits of the shape of ``low``; zero bits where low = high = 0.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    k = ((low < 0) | signed).astype(np.int64)
    magnitude = np.maximum(np.maximum(high, -low), 0)
    i = ceil_log2(magnitude) + margin
    f = width - k - i
    if frac is not None:
        # A power of two at the top of a grid needs its own code: there is no finer LSB to round it to.
        i = np.where((high == 2.0**i) & (k + i + 1 + frac <= width), i + 1, i)
        f = np.minimum(width - k - i, frac)
    if wraps:
        top = np.floor(np.ldexp(high, f) + 0.5) > np.ldexp(1.0, i + f) - 1
        i = i + top
        f = f if frac is not None else width - k - i
    return _drop_tiny(Bits(k, i, f), magnitude)


def place_weight(weight: np.ndarray, axes: tuple[int, ...], width: np.ndarray | int) -> Bits:
    """Symmetric signed format of ``width`` bits for each slice of a weight, best in squared error.

    Two integer bits are tried: the smallest that holds the largest weight, and one less, which clips a
    few weights and halves the rounding error of the others.

    Args:
        weight: the float weights.
        axes: axes along which one format is shared.
        width: sign included, broadcastable to the shape with ``axes`` reduced to 1.

    Returns:
        Bits of the weight's shape with ``axes`` reduced to length 1; zero bits where all weights of a
        slice are zero.
    """
    weight = np.asarray(weight, np.float64)
    magnitude = np.max(np.abs(weight), axis=axes, keepdims=True)
    k = np.ones(magnitude.shape, np.int64)
    width = np.broadcast_to(np.asarray(width, np.int64), magnitude.shape)
    fitting = ceil_log2(magnitude)
    best_i, best_error = fitting, np.full(magnitude.shape, np.inf)
    for i in (fitting, fitting - 1):
        f = width - k - i
        top = np.ldexp(1.0, i + f) - 1
        codes = np.clip(np.floor(np.ldexp(weight, f) + 0.5), -top, top)
        error = np.sum((np.ldexp(codes, -f) - weight) ** 2, axis=axes, keepdims=True)
        better = (error < best_error) & (top > 0)
        best_i, best_error = np.where(better, i, best_i), np.where(better, error, best_error)
    return _drop_tiny(Bits(k, best_i, width - k - best_i), magnitude)


def place_bias(bias: np.ndarray, frac: np.ndarray, max_bits: int) -> Bits:
    """Format of each bias on the LSB of the products it is added to.

    A finer bias would widen the accumulator, a coarser one would lose accuracy for nothing.

    Args:
        bias: float, shape (channels,).
        frac: fractional bits of the products, broadcastable.
        max_bits: bound of i + f: a bias far above the products' LSB keeps its leading bits only.
    """
    bias = np.asarray(bias, np.float64)
    frac = np.broadcast_to(np.asarray(frac, np.int64), bias.shape)
    i = ceil_log2(np.abs(bias))
    # Rounding may carry into the next power of two, where the symmetric range ends one LSB earlier.
    i = i + (np.floor(np.ldexp(np.abs(bias), frac) + 0.5) > np.ldexp(1.0, i + frac) - 1)
    f = np.minimum(frac, max_bits - i)
    keep = (bias != 0) & (i + f > 0)
    return Bits(keep.astype(np.int64), np.where(keep, i, 0), np.where(keep, f, 0))


def place_minifloat(magnitude: np.ndarray, m: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """m and offset e0 of minifloats that hold magnitudes without saturating.

    The highest exponent is that of the largest magnitude (rounded). Of several formats of a tensor none
    has an LSB below 2**-24 of the largest: what it could tell apart there is lost in the sums.

    Args:
        magnitude: largest magnitude of each format.
        m, e: mantissa and exponent bits, broadcastable.

    Returns:
        m, -1 (the constant 0) where the magnitude is 0 or below 2**-60, and e0.
    """
    magnitude, m, e = np.broadcast_arrays(np.asarray(magnitude, np.float64), m, e)
    keep = magnitude >= 2.0**-EXPONENT_LIMIT
    fraction, exponent = np.frexp(magnitude)
    # Rounding may carry into the next power of two.
    i = exponent.astype(np.int64) + (np.rint(np.ldexp(fraction, m + 1)) >= np.ldexp(1.0, m + 1))
    half = np.left_shift(np.int64(1), e - 1)
    e0 = i - half
    top = np.max(i, initial=-10_000, where=keep)
    coarsest = np.minimum(top - half, m - 1 + half + top - _SPAN)
    return np.where(keep, m, -1), np.where(keep, np.maximum(e0, coarsest), 0)


def _drop_tiny(bits: Bits, magnitude: np.ndarray) -> Bits:
    """Cap f relative to the largest range of the tensor; no bits where the range is zero."""
    top = np.max(ceil_log2(magnitude), initial=-10_000, where=magnitude > 0)
    f = np.minimum(bits.f, _SPAN - top)
    keep = (magnitude >= 2.0**-EXPONENT_LIMIT) & (bits.k + bits.i + f > 0)
    return Bits(np.where(keep, bits.k, 0), np.where(keep, bits.i, 0), np.where(keep, f, 0))
