"""Quantization of float32 (and float64) tensors on keras.ops, equal to :mod:`hgqify.fixed` bit for bit.

Every product below is with a power of two and every sum is of codes, so every intermediate is exact
(fusing a product with a sum changes nothing) as long as b = i + f <= 24 and |f| <= 124. A quotient x * 2**f
that overflows becomes infinite and saturates, or is a multiple of the period and wraps to 0. One that
underflows rounds to 0, except under TRN, which looks at the sign bit of x.
"""

from typing import Any, NamedTuple

import keras

from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers.float_bits import exponent, is_negative, layout, pow2_like

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


class Factors(NamedTuple):
    """Derivatives of a quantized value; None stands for the constant 1 (x) or 0 (the widths).

    Attributes:
        x, i, f, digits: with respect to these.
    """

    x: Any
    i: Any
    f: Any
    digits: Any = None


def quantize(
    x: Any,
    k: Any,
    i: Any,
    f: Any,
    rounding: Rounding,
    overflow: Overflow | None,
    noise: Any = None,
    digits: Any = None,
) -> Quantized:
    """Round ``x`` to multiples of 2**-f, or to its ``digits`` first bits, then handle overflow.

    Args:
        x: finite float32 or float64 tensor.
        k, i, f: float32 tensors holding integers, broadcastable to ``x``. k and i are unused without
            overflow handling.
        rounding: the rounding mode; a stochastic one needs ``noise``.
        overflow: the overflow mode; None to round only, to a format wide enough for anything.
        noise: uniform numbers in [0, 1) of the shape of ``x``, for stochastic rounding.
        digits: float32 tensor of integers up to 24: significant bits of a minifloat, whose overflow mode
            saturates.
    """
    if digits is not None:
        return _quantize_digits(x, k, i, f, digits, rounding, noise)
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


def _quantize_digits(
    x: Any, k: Any, i: Any, f: Any, digits: Any, rounding: Rounding, noise: Any
) -> Quantized:
    own = _own_frac(x, i, f, digits)
    rounded = _round(x, x * pow2_like(own, x), rounding, noise) * pow2_like(-own, x)
    # No digits round to 0, rather than saturate at 0: the gradient of the digits is then the error.
    rounded = ops.where(digits > 0, rounded, 0.0)
    top = pow2_like(i, x) - pow2_like(i - ops.maximum(digits, 0.0), x)
    return Quantized(ops.clip(rounded, ops.where(k > 0, 0.0 - top, 0.0), top), rounded)


def _own_frac(x: Any, i: Any, f: Any, digits: Any) -> Any:
    """As :func:`hgqify.fixed.significant.own_frac`; a power more for what saturates changes nothing."""
    return ops.minimum(f, digits - ops.minimum(ops.cast(exponent(x), f.dtype), i + 1))


def width_gradients(
    x: Any,
    value: Any,
    rounded: Any,
    k: Any,
    i: Any,
    f: Any,
    overflow: Overflow | None,
    digits: Any = None,
) -> Factors:
    """Factors d value / d x, d i, d f and d digits of the straight-through gradient.

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
    where its *rounded* value lies outside the range.

    With significant bits the range ends at +-q with q = 2^i - 2^(i - digits):

    ==================  =====  ==================  =====================  ================
    element             d x    d i                 d digits               d f
    ==================  =====  ==================  =====================  ================
    normal number       1      0                   ln 2 (x - q)           0
    subnormal number    1      0                   0                      ln 2 (x - q)
    above the range     0      ln 2 q              ln 2 2^(i - digits)    0
    below the range     0      -k ln 2 q           -k ln 2 2^(i-digits)   0
    ==================  =====  ==================  =====================  ================
    """
    error = LN2 * (x - rounded)
    if digits is not None:
        return _digit_gradients(x, value, rounded, error, k, i, f, digits)
    if overflow is None or not overflow.saturates:
        return Factors(None, None, error)
    above, below = rounded > value, rounded < value
    bound, step = LN2 * pow2_like(i, x), LN2 * pow2_like(-f, x)
    low_step = -k * step if overflow is Overflow.SAT_SYM else 0.0
    di = ops.where(above, bound, ops.where(below, -k * bound, 0.0))
    df = ops.where(above, step, ops.where(below, low_step, error))
    return Factors(ops.cast(within(value, rounded), x.dtype), di, df)


def leading(size: Any, part: int) -> Any:
    """How many of ``size`` samples, in their order, are 1/``part`` of them; at least one."""
    return -(-size // part)


def within(value: Any, rounded: Any) -> Any:
    """Which elements did not saturate: d value / d x is 1 there, and 0 elsewhere."""
    return ops.equal(rounded, value)


def _digit_gradients(
    x: Any, value: Any, rounded: Any, error: Any, k: Any, i: Any, f: Any, digits: Any
) -> Factors:
    above, below = rounded > value, rounded < value
    outside = ops.logical_or(above, below)
    # Where f and the digits end at the same place, the first normal numbers, it is the digits' error.
    subnormal = _own_frac(x, i, f + 1.0, digits) > f
    last = LN2 * pow2_like(i - ops.maximum(digits, 0.0), x)
    zero = ops.zeros_like(error)
    return Factors(
        ops.cast(within(value, rounded), x.dtype),
        ops.where(outside, LN2 * value, zero),
        ops.where(ops.logical_and(subnormal, ops.logical_not(outside)), error, zero),
        ops.where(above, last, ops.where(below, -k * last, ops.where(subnormal, zero, error))),
    )


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
