"""Exact quantization of floats and of codes: the one definition of the arithmetic.

A format (k, i, f) holds codes q with value q * 2**-f. Quantizing rounds first, then handles overflow,
and gives the codes that ``ap_fixed<k+i+f, k+i>`` (k = 1) or ``ap_ufixed`` (k = 0) gives from the same
value, bit for bit, for every finite float32 and float64. Everything is integer arithmetic: a float is
split into M * 2**E with integer M, so no intermediate can round.

Where ``ap_fixed`` (headers of AMD Vitis HLS, as hls4ml ships them) departs from the textbook, it rules:

* SAT_SYM with W = 1 signed has the range [-1, 0] LSB, as SAT; the symmetric range would be {0}.
* WRAP_SM (no saturation bits) is a triangle wave: up from 0 to high, down through 0 to low, up again. With r
  the rounded code, t = floor(u) the unrounded one and D = bit W of t: outside the range, keep the W lowest
  bits of r when D equals their top bit, else invert them all and set the top bit to D. D comes from *before*
  the rounding carry, so that a value rounded up across the end of a period lands at its other side.
* WRAP_SM without sign does not exist: ``ap_ufixed`` ends the program. It is refused here.
* Assigning one ``ap_fixed`` to another fails an assertion of the headers when every bit of the source lies
  more than one place below the target's LSB, f_source - f_target > W_source, unless the target truncates:
  C simulation aborts. The codes are defined here all the same; generated C++ must avoid the assignment.
* -0.0 is 0, and no value returned is ever -0.0.
"""

import numpy as np
import numpy.typing as npt

from hgqify.errors import DataError, PrecisionError
from hgqify.fixed.bounds import MAX_BITS, BoolArray, IntArray, IntLike, integers
from hgqify.fixed.exact import round_exact
from hgqify.fixed.modes import Overflow, Rounding
from hgqify.fixed.significant import own_frac

_FLOAT64_MANTISSA = 53


def _split(x: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    """Integer M and E with x = M * 2**E and |M| < 2**62."""
    array = np.asarray(x)
    if array.dtype.kind in "iub":
        return _codes(array), np.zeros((), np.int64)
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
    return mantissa, np.asarray(exponent, np.int64) - _FLOAT64_MANTISSA


def _codes(codes: npt.ArrayLike) -> IntArray:
    source = np.asarray(codes)
    # Compared as Python integers: uint64 and -2**63 have no magnitude in int64.
    if (
        source.dtype.kind in "iub"
        and source.size
        and max(-int(source.min()), int(source.max())) >= 1 << MAX_BITS
    ):
        raise PrecisionError(
            f"codes must be below 2**{MAX_BITS} in magnitude",
            received=f"{source.min()} to {source.max()}",
            remedy="use a coarser LSB",
        )
    return integers(source, "codes")


def to_codes(
    x: npt.ArrayLike,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding = Rounding.TRN,
    overflow: Overflow = Overflow.WRAP,
    digits: IntLike | None = None,
) -> IntArray:
    """Codes of ``x`` in each element's own format: overflow(round(x * 2**f)), exactly.

    Args:
        x: float16, float32 or float64 values, or integers below 2**62 in magnitude.
        k, i, f: the format; integers or arrays that broadcast with ``x``.
        rounding: any deterministic mode.
        overflow: any mode; WRAP_SM for signed formats only.
        digits: significant bits that a code keeps at most (see :mod:`hgqify.fixed.minifloat`): rounding
            clears the bits below them, and what overflows becomes the farthest code of so many bits. Only
            modes that saturate have it. 0 digits are the constant 0.

    Returns:
        int64 codes of the broadcast shape; the value of a code is ``code * 2**-f``. 0 where k + i + f <= 0.

    Raises:
        DataError: ``x`` holds NaN or infinity, or is not numeric.
        PrecisionError: a format wider than 62 bits, a stochastic mode, WRAP_SM without sign, or ``digits``
            under a mode that wraps.
    """
    return round_exact(*_split(x), k, i, f, rounding, overflow, digits).into_range()


def requantize(
    codes: npt.ArrayLike,
    frac: IntLike,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding = Rounding.TRN,
    overflow: Overflow = Overflow.WRAP,
    digits: IntLike | None = None,
) -> IntArray:
    """Codes in a new format of the values ``codes * 2**-frac``: one ``ap_fixed`` assigned to another.

    Args:
        codes: integers below 2**62 in magnitude.
        frac: fractional bits of ``codes``; an integer or an array that broadcasts.
        k, i, f, rounding, overflow, digits: as in :func:`to_codes`.

    Returns:
        int64 codes of the broadcast shape, at each element's own f.

    Raises:
        PrecisionError: codes of 62 bits or more, or as in :func:`to_codes`.
    """
    exponent = -integers(frac, "frac")
    return round_exact(_codes(codes), exponent, k, i, f, rounding, overflow, digits).into_range()


def overflows(
    x: npt.ArrayLike,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding,
    overflow: Overflow,
    digits: IntLike | None = None,
    *,
    frac: IntLike = 0,
) -> BoolArray:
    """Whether the rounded value lies outside the range of its format, so that overflow handling changes it.

    Arguments and errors as in :func:`beyond`.
    """
    under, over = beyond(x, k, i, f, rounding, overflow, digits, frac=frac)
    return under | over


def beyond(
    x: npt.ArrayLike,
    k: IntLike,
    i: IntLike,
    f: IntLike,
    rounding: Rounding,
    overflow: Overflow,
    digits: IntLike | None = None,
    *,
    frac: IntLike = 0,
) -> tuple[BoolArray, BoolArray]:
    """Whether the rounded value lies below, and whether it lies above the range of its format.

    Args:
        x: as in :func:`to_codes`.
        k, i, f, rounding, overflow, digits: as in :func:`to_codes`; overflow decides the lower bound.
        frac: the values are ``x * 2**-frac``: pass integer codes with their fractional bits.

    Raises:
        DataError, PrecisionError: as :func:`to_codes`.
    """
    mantissa, exponent = _split(x)
    exponent = exponent - integers(frac, "frac")
    rounded = round_exact(mantissa, exponent, k, i, f, rounding, overflow, digits)
    return np.asarray(rounded.under), np.asarray(rounded.over)


def align(codes: npt.ArrayLike, frac: IntLike, new_frac: IntLike) -> IntArray:
    """The same values on another LSB: ``codes * 2**(new_frac - frac)``, which must be whole.

    Raises:
        PrecisionError: a code is no multiple of the new LSB, or would need more than 62 bits.
    """
    source = _codes(codes)
    shift = integers(new_frac, "new_frac") - integers(frac, "frac")
    left, right = np.clip(shift, 0, MAX_BITS), np.clip(-shift, 0, MAX_BITS)
    # |code| < 2**62, so a shift by 62 either way leaves nothing but a zero.
    if np.any(np.abs(source) >> (MAX_BITS - left)):
        raise PrecisionError(
            f"codes on the finer LSB need more than {MAX_BITS} bits",
            received=f"{frac} to {new_frac} fractional bits",
            remedy="use fewer fractional bits",
        )
    if np.any(source & (np.left_shift(np.int64(1), right) - 1)):
        raise PrecisionError(
            "codes are no multiples of the coarser LSB",
            received=f"{frac} to {new_frac} fractional bits",
            remedy="round them: requantize()",
        )
    return (source << left) >> right


def to_values(codes: npt.ArrayLike, f: IntLike) -> npt.NDArray[np.float64]:
    """The values ``codes * 2**-f`` as float64.

    Raises:
        PrecisionError: a value that float64 cannot hold exactly (over 53 significant bits, or its exponent).
    """
    codes_, f_ = integers(codes, "codes"), integers(f, "f")
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
    digits: IntLike | None = None,
) -> npt.NDArray[np.float64]:
    """``x`` quantized to each element's format, as float64 values; arguments as in :func:`to_codes`.

    Raises:
        DataError, PrecisionError: as :func:`to_codes` and :func:`to_values`.
    """
    return to_values(to_codes(x, k, i, f, rounding, overflow, digits), f)


def own_fracs(x: npt.ArrayLike, i: IntLike, f: IntLike, digits: IntLike) -> IntArray:
    """Fractional bits at which the ``digits`` significant bits of each number end; see `own_frac`.

    Raises:
        DataError: as :func:`to_codes`.
    """
    return own_frac(*_split(x), i, f, digits)
