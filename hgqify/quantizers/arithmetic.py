"""Quantization of float32 (and float64) tensors on keras.ops, equal to :mod:`hgqify.fixed` bit for bit.

Every product below is with a power of two and every sum is of codes, so every intermediate is exact
(fusing a product with a sum changes nothing) as long as b = i + f <= 24 and |f| <= 124. A quotient x * 2**f
that overflows becomes infinite and saturates, or is a multiple of the period and wraps to 0. One that
underflows rounds to 0, except under TRN, which looks at the sign bit of x.
"""

from typing import Any, NamedTuple

import keras

from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.float_bits import is_negative, layout, pow2_like

ops: Any = keras.ops  # typed as if every operation could return None

LN2 = 0.6931471805599453

_WHOLE_PERIODS = 2.0**90  # from here on every float is a multiple of 2**37, of every period in use
_TINY = 2.0**-30


class Quantized(NamedTuple):
    """Result of one quantization.

    Attributes:
        value: the quantized tensor.
        rounded: the tensor rounded but not yet overflowed, infinite where that is too large for a float.
    """

    value: Any
    rounded: Any


def quantize(
    x: Any, k: Any, i: Any, f: Any, rounding: Rounding, overflow: Overflow | None, noise: Any = None
) -> Quantized:
    """Round ``x`` to multiples of 2**-f, then handle overflow.

    Args:
        x: finite float32 or float64 tensor.
        k, i, f: float32 tensors holding integers, broadcastable to ``x``. k and i are unused without
            overflow handling.
        rounding: the rounding mode; a stochastic one needs ``noise``.
        overflow: the overflow mode; None to round only, to a format wide enough for anything.
        noise: uniform numbers in [0, 1) of the shape of ``x``, for stochastic rounding.
    """
    lsb = pow2_like(-f, x)
    u = x * pow2_like(f, x)
    code = _round(x, u, rounding, noise)
    if overflow is None:
        grid = _on_grid(x, u, code, lsb)
        return Quantized(grid, grid)
    if overflow.saturates:
        rounded = code * lsb
        return Quantized(ops.clip(rounded, *_bounds(k, i, lsb, overflow)), rounded)
    b = i + f
    grid = _on_grid(x, u, code, lsb)
    code = ops.where(ops.abs(code) < _WHOLE_PERIODS, code, 0.0)
    wrap = _wrap if overflow is Overflow.WRAP else _wrap_sm
    wrapped = ops.where(k + b > 0, wrap(code, u, k, ops.maximum(b, 0.0)), 0.0)
    return Quantized(_plus_zero(wrapped) * lsb, grid)


def width_gradients(
    x: Any, value: Any, rounded: Any, k: Any, i: Any, f: Any, overflow: Overflow | None
) -> tuple[Any, Any, Any]:
    """Factors (d value / d x, d value / d i, d value / d f) of the straight-through gradient.

    ==================  =====  ==================  ===========================
    element             d x    d i                 d f
    ==================  =====  ==================  ===========================
    not saturated       1      0                   ln 2 (x - q)
    above the range     0      ln 2 2^i            ln 2 2^-f
    below, SAT          0      -k ln 2 2^i         0
    below, SAT_SYM      0      -k ln 2 2^i         -k ln 2 2^-f
    ==================  =====  ==================  ===========================

    The first row is HGQ's surrogate (arXiv 2405.00645), the others are the derivatives of
    the bounds 2^i - 2^-f, -k 2^i and -k (2^i - 2^-f). For modes that wrap, all elements follow the first
    row with q the rounded value before wrapping, and i has no gradient. An element counts as saturated
    where its *rounded* value lies outside the range. None stands for the constant 1 or 0.
    """
    error = LN2 * (x - rounded)
    if overflow is None or not overflow.saturates:
        return None, None, error
    above, below = rounded > value, rounded < value
    bound, step = LN2 * pow2_like(i, x), LN2 * pow2_like(-f, x)
    low_step = -k * step if overflow is Overflow.SAT_SYM else 0.0
    di = ops.where(above, bound, ops.where(below, -k * bound, 0.0))
    df = ops.where(above, step, ops.where(below, low_step, error))
    return ops.cast(ops.equal(rounded, value), x.dtype), di, df


def _round(x: Any, u: Any, rounding: Rounding, noise: Any) -> Any:
    """Integer code of u = x * 2**f, never -0.0. Differences u - floor(u) may round, but monotonically, so
    comparing them with "at least 1/2" is exact; where "more than 1/2" is asked, |u| is used, whose fraction
    is exact.
    """
    if rounding.is_stochastic:
        floor = ops.floor(u)
        return floor + ops.cast(noise < u - floor, u.dtype)
    match rounding:
        case Rounding.TRN:
            # Of a tiny negative x the product may flush to zero, whose floor is not -1.
            u = ops.where(ops.logical_and(is_negative(x), u > -_TINY), -_TINY, u)
            return _plus_zero(ops.floor(u))
        case Rounding.RND:
            return _nearest_up(u)
        case Rounding.RND_MIN_INF:
            return _plus_zero(-_nearest_up(-u))
        case Rounding.RND_CONV:
            return _plus_zero(ops.round(u))
        case Rounding.TRN_ZERO:
            magnitude = ops.floor(ops.abs(u))
        case Rounding.RND_INF:
            magnitude = _nearest_up(ops.abs(u))
        case _:  # RND_ZERO
            size = ops.abs(u)
            floor = ops.floor(size)
            magnitude = floor + ops.cast(size - floor > 0.5, u.dtype)
    return _plus_zero(ops.where(u < 0, -magnitude, magnitude))


def _nearest_up(u: Any) -> Any:
    # floor(u + 1/2) is wrong: 0.49999997 + 0.5 is 1 in float32. The sum is never -0.0, as -0.0 + 0.0 is 0.0.
    floor = ops.floor(u)
    return floor + ops.cast(u - floor >= 0.5, u.dtype)


def _plus_zero(code: Any) -> Any:
    """-0.0 replaced by 0.0, as codes have no negative zero."""
    return ops.where(ops.equal(code, 0.0), 0.0, code)


def _on_grid(x: Any, u: Any, code: Any, lsb: Any) -> Any:
    """The rounded value; large values are on the grid already, and their code may be infinite."""
    return ops.where(ops.abs(u) < layout(x).whole, code * lsb, x)


def _bounds(k: Any, i: Any, lsb: Any, overflow: Overflow) -> tuple[Any, Any]:
    """Lowest and highest value, in the floats of ``lsb``; both 0 where k + i + f <= 0."""
    span = pow2_like(i, lsb)
    high = ops.maximum(span - lsb, 0.0)
    # One bit with a sign holds {-1, 0} under SAT_SYM too, as ap_fixed<1, I> does.
    reach = ops.where(high > 0, high, span) if overflow is Overflow.SAT_SYM else span
    return ops.where(ops.logical_and(k > 0, span >= lsb), -reach, 0.0), high


def _wrap(code: Any, u: Any, sign: Any, b: Any) -> Any:
    """The k + b lowest bits of the code; two's complement where k = 1."""
    del u
    width = sign + b
    periods = code * pow2_like(-width, code)
    whole = ops.floor(periods)
    # Signed: to the nearest period instead. The difference may round at 25 bits, never across 1/2.
    upper_half = ops.logical_and(sign > 0, periods - whole >= 0.5)
    return code - (whole + ops.cast(upper_half, code.dtype)) * pow2_like(width, code)


def _wrap_sm(code: Any, u: Any, sign: Any, b: Any) -> Any:
    """Sign-magnitude wrapping of signed codes outside the range, as :mod:`hgqify.fixed` defines it."""
    del sign
    span = pow2_like(b, code)
    blocks = ops.floor(code * pow2_like(-b, code))
    low_bits = code - blocks * span
    top = _is_odd(blocks)
    # The bit above the width is taken before the rounding carry.
    floor = ops.floor(ops.where(ops.abs(u) < _WHOLE_PERIODS, u, 0.0))
    deleted = _is_odd(ops.floor(floor * pow2_like(-(b + 1.0), code)))
    mirrored = (span - low_bits) - 1.0
    magnitude = ops.where(ops.equal(deleted, top), low_bits, mirrored)
    wrapped = magnitude - ops.where(deleted, span, 0.0)
    outside = ops.logical_or(code < -span, code >= span)
    return ops.where(outside, wrapped, code)


def _is_odd(n: Any) -> Any:
    return ops.not_equal(n - 2.0 * ops.floor(n * 0.5), 0.0)
