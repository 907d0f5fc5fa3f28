"""Powers of two, exponents and signs read from and written to the bits of float32 and float64.

``exp2`` and ``log2`` are inexact on some backends even at integers, and some flush subnormal numbers to
zero in every float operation, comparisons included; integer operations on the bits do neither.
"""

from typing import Any, NamedTuple

import keras

ops: Any = keras.ops  # typed as if every operation could return None


class Layout(NamedTuple):
    """Where a float keeps what: name of the integers its bits are read as, mantissa bits, exponent bias."""

    integers: str
    mantissa_bits: int
    bias: int

    @property
    def sign(self) -> int:
        """The integer whose only bit set is the sign."""
        return -(1 << (31 if self.integers == "int32" else 63))

    @property
    def whole(self) -> float:
        """From here on every number is an integer."""
        return 2.0 ** (self.mantissa_bits + 1)


_LAYOUTS = {"float32": Layout("int32", 23, 127), "float64": Layout("int64", 52, 1023)}


def layout(x: Any) -> Layout:
    """Of the elements of a float32 or float64 tensor."""
    return _LAYOUTS[keras.backend.standardize_dtype(x.dtype)]


def pow2(n: Any, dtype: str = "float32") -> Any:
    """2.0**n, exactly, for int32 n from -126 to 127 (float64: -1022 to 1023); beyond, the nearer end."""
    form = _LAYOUTS[dtype]
    biased = ops.clip(n, -(form.bias - 1), form.bias) + form.bias
    return ops.view(ops.left_shift(ops.cast(biased, form.integers), form.mantissa_bits), dtype)


def pow2_like(n: Any, x: Any) -> Any:
    """2.0**n in the floats of ``x``, exactly, for a float tensor n of integers as `pow2` takes them.

    Two operations: the sum has n + bias in the lowest bits of its mantissa, and the shift moves them to the
    exponent and everything else out.
    """
    form, dtype = layout(x), keras.backend.standardize_dtype(x.dtype)
    biased = ops.cast(n, dtype) + (2.0**form.mantissa_bits + form.bias)
    return ops.view(ops.left_shift(ops.view(biased, form.integers), form.mantissa_bits), dtype)


def exponent(x: Any) -> Any:
    """e with 2**(e-1) <= |x| < 2**e, int32, for normal x; far below for zero and subnormals."""
    form = layout(x)
    magnitude = ops.bitwise_and(ops.view(x, form.integers), ~form.sign)
    return ops.cast(ops.right_shift(magnitude, form.mantissa_bits) - (form.bias - 1), "int32")


def is_power_of_two(x: Any) -> Any:
    """Whether |x| is a power of two, for normal x."""
    form = layout(x)
    return ops.equal(ops.bitwise_and(ops.view(x, form.integers), (1 << form.mantissa_bits) - 1), 0)


def is_negative(x: Any) -> Any:
    """x < 0, also for subnormal x where the backend takes those for zero; False for -0.0."""
    form = layout(x)
    bits = ops.view(x, form.integers)
    return ops.logical_and(bits < 0, ops.not_equal(bits, form.sign))
