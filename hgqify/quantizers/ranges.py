"""Integer bits that values need, from exponents rather than logarithms."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hgqify.fixed import Overflow, Rounding, deployed, to_codes
from hgqify.quantizers.config import EXPONENT_LIMIT
from hgqify.quantizers.float_bits import exponent, is_power_of_two

ops: Any = keras.ops  # typed as if every operation could return None

_FLOAT64_INTEGERS = 2.0**53


def integer_bits(low: Any, high: Any, symmetric: bool) -> Any:
    """Least i, int32, such that [low, high] fits in [-2^i, 2^i - LSB]; -EXPONENT_LIMIT for {0}.

    Args:
        low, high: float32 tensors of values on the grid (multiples of the LSB).
        symmetric: the range is [-(2^i - LSB), 2^i - LSB] instead.
    """
    positive = ops.where(high > 0, exponent(high), -EXPONENT_LIMIT)
    # -2**n fits in n integer bits, +2**n needs n + 1.
    needed = exponent(low) if symmetric else exponent(low) - ops.cast(is_power_of_two(low), "int32")
    negative = ops.where(low < 0, needed, -EXPONENT_LIMIT)
    return ops.maximum(positive, negative)


def int_bits(
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    f: npt.ArrayLike,
    *,
    rounding: Rounding = Rounding.RND,
    overflow: Overflow = Overflow.WRAP,
) -> npt.NDArray[np.int64]:
    """Least i such that no value in [low, high] overflows after rounding to f fractional bits.

    Exact: codes are rounded by :mod:`hgqify.fixed` and measured by their exponent. The same i serves a
    signed and, if ``low`` >= 0, an unsigned format. Where everything rounds to zero, i = -f.

    Args:
        low, high: smallest and largest values, float32 or float64; low <= high.
        f: integers, broadcastable.
        rounding: the rounding mode; a stochastic one counts as the mode it is deployed with.
        overflow: under SAT_SYM the lower bound is -(2^i - 2^-f), else -2^i.

    Raises:
        DataError: a value is NaN or infinite.
    """
    f_ = np.asarray(f).astype(np.int64)
    low_code, high_code = (_rounded(bound, f_, rounding) for bound in (low, high))
    # frexp: 2**(e-1) <= |code| < 2**e, and mantissa 1/2 exactly for powers of two.
    bits_high = np.where(high_code > 0, np.frexp(high_code)[1], 0)
    mantissa, bits = np.frexp(low_code)
    spare = (mantissa == -0.5) & ((overflow is not Overflow.SAT_SYM) | (low_code == -1))
    # SAT_SYM keeps the one-bit format {-1, 0} of ap_fixed; it is of use only if nothing is positive.
    bits_low = np.where(low_code < 0, bits - spare, 0)
    return np.asarray(np.maximum(bits_high, bits_low) - f_, np.int64)


def rounds_negative(
    low: npt.ArrayLike, f: npt.ArrayLike, *, rounding: Rounding = Rounding.RND
) -> npt.NDArray[np.bool_]:
    """Whether ``low`` still is negative after rounding to f fractional bits, so that a sign is needed."""
    return np.asarray(_rounded(low, np.asarray(f).astype(np.int64), rounding) < 0)


def _rounded(x: npt.ArrayLike, f: npt.NDArray[np.int64], rounding: Rounding) -> npt.NDArray[np.float64]:
    """Rounded codes as float64, however large."""
    values = np.asarray(x, np.float64)
    codes = np.ldexp(values, f.astype(np.int32))
    small = np.abs(codes) < _FLOAT64_INTEGERS
    exact = to_codes(np.where(small | ~np.isfinite(values), values, 0), 1, 60 - f, f, deployed(rounding))
    return np.where(small, exact.astype(np.float64), codes)
