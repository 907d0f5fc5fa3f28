"""Exact quantization of floats and of codes: the one definition of the arithmetic.

A format (k, i, f) holds codes q with value q * 2**-f. Quantizing rounds first, then handles overflow,
and gives the codes that ``ap_fixed<k+i+f, k+i>`` (k = 1) or ``ap_ufixed`` (k = 0) gives from the same
value, bit for bit, for every finite float32 and float64. Everything is integer arithmetic: a float is
split into M * 2**E with integer M, so no intermediate can round.

Where ``ap_fixed`` (headers of AMD Vitis HLS, as hls4ml ships them) departs from the textbook, it rules:

* SAT_SYM with W = 1 signed has the range [-1, 0] LSB, as SAT; the symmetric range would be {0}.
* WRAP_SM (no saturation bits) acts only on codes outside the range. With r the rounded code, t = floor(u)
  the unrounded one and D = bit W of t: keep the W lowest bits of r when D equals their top bit, else
  invert them all and set the top bit to D. D comes from *before* the rounding carry.
* WRAP_SM without sign does not exist: ``ap_ufixed`` ends the program. It is refused here.
* -0.0 is 0, and no value returned is ever -0.0.
"""

import numpy as np
import numpy.typing as npt

from hgqify.errors import DataError, PrecisionError
from hgqify.fixed.modes import Overflow, Rounding, as_overflow, require_deterministic

MAX_BITS = 62
"""Widest format and widest source code: sums of two codes still fit in int64."""

_FLOAT64_MANTISSA = 53
_EXPONENT_LIMIT = 1 << 16  # keeps sums of exponents far from int64's ends

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
IntLike = int | np.integer | npt.NDArray[np.integer] | npt.NDArray[np.bool_]


def _integers(value: object, name: str) -> IntArray:
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        raise PrecisionError(
            f"{name} must hold integers",
            received=f"dtype {array.dtype}",
            remedy="round and cast it to int64 first",
        )
    return array.astype(np.int64)


def _parts(k: IntLike, i: IntLike, f: IntLike) -> tuple[IntArray, IntArray, IntArray]:
    """k, f and b = i + f as int64, checked; k + b <= 0 is normalised to k = b = 0."""
    k_, i_, f_ = _integers(k, "k"), _integers(i, "i"), _integers(f, "f")
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
    return np.where(alive, k_, 0), f_, np.where(alive, b, 0)


def _bounds(k: IntArray, b: IntArray, overflow: Overflow) -> tuple[IntArray, IntArray]:
    span = np.left_shift(np.int64(1), b)
    low = -k * span
    if overflow is Overflow.SAT_SYM:
        low = low + (k * (b > 0))
    return np.asarray(low, np.int64), np.asarray(span - 1, np.int64)


def code_bounds(
    k: IntLike, i: IntLike, f: IntLike, overflow: Overflow = Overflow.SAT
) -> tuple[IntArray, IntArray]:
    """Smallest and largest code of each format: [-k 2**b, 2**b - 1] with b = i + f.

    Args:
        k, i, f: integers or arrays that broadcast together.
        overflow: SAT_SYM raises the lower bound by one LSB (not where W = 1).

    Returns:
        ``(low, high)``, int64 of the broadcast shape; (0, 0) where k + i + f <= 0.

    Raises:
        PrecisionError: k is not 0/1, a width exceeds 62 bits, or a component is no integer.
    """
    k_, _, b = _parts(k, i, f)
    low, high = _bounds(k_, b, as_overflow(overflow))
    shape = np.broadcast_shapes(k_.shape, b.shape)
    return np.broadcast_to(low, shape).copy(), np.broadcast_to(high, shape).copy()


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


def _quantize_exact(
    m: IntArray,
    e: IntArray,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding,
    overflow: Overflow,
) -> IntArray:
    """Codes of m * 2**e in the format (k, i, f); |m| < 2**62."""
    rounding, overflow = require_deterministic(rounding), as_overflow(overflow)
    k_, f_, b = _parts(k, i, f)
    if overflow is Overflow.WRAP_SM and np.any((k_ == 0) & (b > 0)):
        raise PrecisionError(
            "WRAP_SM needs a sign: ap_ufixed does not support it",
            received=f"{overflow} with k = 0",
            remedy="use a signed format, or WRAP",
        )
    shift = e + f_
    right, left = np.maximum(-shift, 0), np.maximum(shift, 0)
    floor, half, sticky = _shift_right_floor(m, right)
    code = floor + _increment(floor, half, sticky, m < 0, rounding)

    low, high = _bounds(k_, b, overflow)
    if np.any(left):
        # code * 2**left against the bounds without computing it: it may exceed int64.
        step = np.minimum(left, 63)
        least, most = -(-low >> step), high >> step
        under, over = code < least, code > most
        # Modulo 2**64 the low W <= 62 bits and the one above them survive, which is all that wrapping needs.
        code = np.where(left > 63, 0, code << step)
        floor = np.where(left > 63, 0, floor << step)
    else:
        under, over = code < low, code > high

    if overflow.saturates:
        result = np.where(under, low, np.where(over, high, code))
    elif overflow is Overflow.WRAP:
        result = _wrap(code, k_, b)
    else:
        result = np.where(under | over, _wrap_sm(code, floor, k_, b), code)
    if overflow is not Overflow.WRAP and np.any(k_ + b == 0):
        result = np.where(k_ + b == 0, 0, result)
    shape = np.broadcast_shapes(m.shape, shift.shape, k_.shape, b.shape)
    return np.broadcast_to(result, shape).astype(np.int64)


def to_codes(
    x: npt.ArrayLike,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding = Rounding.TRN,
    overflow: Overflow = Overflow.WRAP,
) -> IntArray:
    """Codes of ``x`` in each element's own format: overflow(round(x * 2**f)), exactly.

    Args:
        x: float16, float32 or float64 values, or integers below 2**62 in magnitude.
        k, i, f: the format; integers or arrays that broadcast with ``x``.
        rounding: any deterministic mode.
        overflow: any mode; WRAP_SM for signed formats only.

    Returns:
        int64 codes of the broadcast shape; the value of a code is ``code * 2**-f``. 0 where k + i + f <= 0.

    Raises:
        DataError: ``x`` holds NaN or infinity, or is not numeric.
        PrecisionError: a format wider than 62 bits, a stochastic mode, or WRAP_SM without sign.
    """
    array = np.asarray(x)
    if array.dtype.kind in "iub":
        return requantize(array, 0, k, i, f, rounding, overflow)
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise DataError(
            "only real float16, float32 and float64 values can be quantized",
            received=f"dtype {array.dtype}",
            remedy="cast to float32 or float64",
        )
    if not np.all(np.isfinite(array)):
        raise DataError(
            "values to quantize must be finite",
            received=f"{int(np.sum(~np.isfinite(array)))} NaN or infinite of {array.size}",
            remedy="remove or replace them",
        )
    # frexp and ldexp are exact here: a finite value is an integer of at most 53 bits times 2**e.
    fraction, exponent = np.frexp(array.astype(np.float64))
    mantissa = np.asarray(np.ldexp(fraction, _FLOAT64_MANTISSA)).astype(np.int64)
    exponent = np.asarray(exponent, np.int64) - _FLOAT64_MANTISSA
    return _quantize_exact(mantissa, exponent, k, i, f, rounding, overflow)


def requantize(
    codes: npt.ArrayLike,
    frac: IntLike,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding = Rounding.TRN,
    overflow: Overflow = Overflow.WRAP,
) -> IntArray:
    """Codes in a new format of the values ``codes * 2**-frac``: one ``ap_fixed`` assigned to another.

    Args:
        codes: integers below 2**62 in magnitude.
        frac: fractional bits of ``codes``; an integer or an array that broadcasts.
        k, i, f, rounding, overflow: as in :func:`to_codes`.

    Returns:
        int64 codes of the broadcast shape, at each element's own f.

    Raises:
        PrecisionError: codes of 62 bits or more, or as in :func:`to_codes`.
    """
    source = np.asarray(codes)
    if source.dtype.kind not in "iub":
        _integers(source, "codes")
    if source.size and max(-int(source.min()), int(source.max())) >= 1 << MAX_BITS:
        raise PrecisionError(
            f"codes must be below 2**{MAX_BITS} in magnitude",
            received=f"{source.min()} to {source.max()}",
            remedy="use a coarser LSB",
        )
    return _quantize_exact(source.astype(np.int64), -_integers(frac, "frac"), k, i, f, rounding, overflow)


def to_values(codes: npt.ArrayLike, f: IntLike) -> npt.NDArray[np.float64]:
    """The values ``codes * 2**-f`` as float64.

    Raises:
        PrecisionError: a value that float64 cannot hold exactly (over 53 significant bits, or its exponent).
    """
    codes_, f_ = _integers(codes, "codes"), _integers(f, "f")
    approx = codes_.astype(np.float64)
    # An exponent beyond +-4000 is outside float64 whatever the code; C int, which ldexp takes, stays safe.
    exponent = np.clip(-f_, -4000, 4000).astype(np.int32)
    with np.errstate(over="ignore", under="ignore"):
        values = np.ldexp(approx, exponent)
        # |approx| <= 2**63: the comparison with int64 is made in float64 only where the cast back is defined.
        exact = np.isfinite(values) & (np.abs(approx) < 2.0**63) & ((values == 0) == (codes_ == 0))
        back = np.where(exact, approx, 0.0).astype(np.int64)
        exact &= (back == codes_) & (np.where(exact, np.ldexp(values, -exponent), 0.0) == approx)
    if not np.all(exact):
        raise PrecisionError(
            "float64 cannot hold these values exactly",
            received=f"codes up to {np.abs(approx).max():.3g} with f from {f_.min()} to {f_.max()}",
            remedy="keep the integer codes",
        )
    return np.asarray(values, np.float64)


def quantize(
    x: npt.ArrayLike,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding = Rounding.TRN,
    overflow: Overflow = Overflow.WRAP,
) -> npt.NDArray[np.float64]:
    """``x`` quantized to each element's format, as float64 values; arguments as in :func:`to_codes`.

    Raises:
        DataError, PrecisionError: as :func:`to_codes` and :func:`to_values`.
    """
    return to_values(to_codes(x, k, i, f, rounding, overflow), f)
