"""Powers of two, exponents and signs read from and written to the bits of float32.

``exp2`` and ``log2`` are inexact on some backends even at integers, and some flush subnormal numbers to
zero in every float operation, comparisons included; integer operations on the bits do neither.
"""

from typing import Any

import keras

ops: Any = keras.ops  # typed as if every operation could return None

_MANTISSA_BITS = 23
_BIAS = 127
_MAGNITUDE = 0x7FFFFFFF
_MANTISSA = 0x007FFFFF
_INT32_MIN = -(2**31)


def ste(value: Any, through: Any) -> Any:
    """``value`` going forward, exactly; the gradient of ``through`` going back (straight-through).

    The forward value is value + 0, since a - a = 0 exactly; the usual a + (value - a) need not be.
    """
    return ops.stop_gradient(value) + (through - ops.stop_gradient(through))


def ste_round(x: Any) -> Any:
    """Nearest integer (ties to even) with the gradient of the identity."""
    return ste(ops.round(x), x)


def to_int(x: Any) -> Any:
    """Nearest integer as int32, without gradient."""
    return ops.cast(ops.round(ops.stop_gradient(x)), "int32")


def pow2(n: Any) -> Any:
    """2.0**n, exactly, for int32 n from -126 to 127; beyond, the nearer end."""
    biased = ops.clip(n, -(_BIAS - 1), _BIAS) + _BIAS
    return ops.view(ops.left_shift(biased, _MANTISSA_BITS), "float32")


def exponent(x: Any) -> Any:
    """e with 2**(e-1) <= |x| < 2**e, int32, for normal float32 x; at most -126 for zero and subnormals."""
    magnitude = ops.bitwise_and(ops.view(x, "int32"), _MAGNITUDE)
    return ops.right_shift(magnitude, _MANTISSA_BITS) - (_BIAS - 1)


def is_power_of_two(x: Any) -> Any:
    """Whether |x| is a power of two, for normal float32 x."""
    return ops.equal(ops.bitwise_and(ops.view(x, "int32"), _MANTISSA), 0)


def is_negative(x: Any) -> Any:
    """x < 0, also for subnormal x where the backend takes those for zero; False for -0.0."""
    bits = ops.view(x, "int32")
    return ops.logical_and(bits < 0, ops.not_equal(bits, _INT32_MIN))
