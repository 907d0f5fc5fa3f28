"""Minifloats: numbers of few bits with a sign, an exponent and a mantissa.

A format has m mantissa bits, e exponent bits and an offset e0 of its exponents. Its magnitudes are counted by
codes c = 0 .. 2^(e + m) - 1: the upper e bits of c are the exponent field E, the lower m the mantissa M, and

    value = M 2^(low - m)                       where E = 0 (zero and subnormal numbers)
    value = (2^m + M) 2^(low + E - 1 - m)       else,

with low = 1 - bias and bias = 2^(e-1) - e0. With one exponent bit that is the fixed-point number of m + 1
bits and a sign; an exponent of no bits does not exist.

Seen as fixed point, a minifloat is a number of at most m + 1 *significant* bits between the LSB
2^(low - m) and 2^(high + 1): the format (k = 1, i = high + 1, f = m - low) with ``digits = m + 1``. That is
how :func:`hgqify.fixed.to_codes` takes it, and all that rounds and saturates here. m < 0 leaves no digits:
the constant 0.

What the codes at the upper end mean differs from one convention to the next:

=====================  =======================================================  ========  ========
convention             codes that are no finite numbers                         e0        reserved
=====================  =======================================================  ========  ========
trained quantizers     none: all codes are numbers (as HGQ2's minifloats)       any       0
"fn" without NaN       none (float6_e2m3fn, float6_e3m2fn, float4_e2m1fn)       1         0
"fnuz"                 none; NaN is the negative zero (float8_e4m3fnuz)         0         0
"fn"                   the largest is NaN (float8_e4m3fn)                       1         1
IEEE 754               the highest exponent: infinity and NaN (float8_e5m2)     1         2^m
=====================  =======================================================  ========  ========

Rounding goes first, to the nearest number, ties to the even code, as if exponents went on; then what lies
beyond the largest finite number becomes that number. So there are neither infinities nor NaN, and, other
than in the conventions above, no negative zero: -0.0 is 0. Within the finite range the values are those of
the ``ml_dtypes`` package bit for bit.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from hgqify.errors import PrecisionError
from hgqify.fixed.bits import bit_length
from hgqify.fixed.format import Format
from hgqify.fixed.modes import Overflow, Rounding
from hgqify.fixed.quantize import own_fracs, to_codes, to_values


@dataclass(frozen=True)
class Minifloat:
    """A minifloat format; see the module's page.

    Args:
        m: mantissa bits, the leading one not counted; m < 0: the constant 0.
        e: exponent bits, 1 to 8.
        e0: offset of the exponents.
        reserved: so many of the largest codes are no numbers.

    Raises:
        PrecisionError: parts that are no integers or out of range, or no code left.
    """

    m: int
    e: int
    e0: int = 0
    reserved: int = 0

    def __post_init__(self) -> None:
        for name in ("m", "e", "e0", "reserved"):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, int(operator.index(value)))
            except TypeError:
                raise PrecisionError(
                    f"{name} of a minifloat must be an integer", received=repr(value), remedy="round it first"
                ) from None
        if not (-1 <= self.m <= 30 and 1 <= self.e <= 8 and abs(self.e0) <= 256):
            raise PrecisionError(
                "a minifloat has -1 to 30 mantissa bits, 1 to 8 exponent bits, and an offset within +-256",
                received=f"m={self.m}, e={self.e}, e0={self.e0}",
            )
        if not 0 <= self.reserved < 1 << (self.e + max(self.m, 0)):
            raise PrecisionError("a minifloat reserves some of its codes", received=self.reserved)

    @classmethod
    def named(cls, name: str) -> Minifloat:
        """The format that ``ml_dtypes`` (and NumPy) call ``name``, such as 'float8_e4m3fn' or 'bfloat16'.

        Raises:
            PrecisionError: there is no such name here.
        """
        if name not in _NAMED:
            raise PrecisionError(
                "no minifloat of this name", received=repr(name), remedy=f"names are {', '.join(_NAMED)}"
            )
        return _NAMED[name]

    @property
    def digits(self) -> int:
        """Significant bits, m + 1."""
        return self.m + 1

    @property
    def low_exponent(self) -> int:
        """Exponent of the smallest normal number 2^low; subnormal numbers are multiples of 2^(low - m)."""
        return 1 - (1 << (self.e - 1)) + self.e0

    @property
    def high_exponent(self) -> int:
        """Highest exponent that the exponent field can give, whether or not codes are reserved."""
        return (1 << (self.e - 1)) - 1 + self.e0

    @property
    def format(self) -> Format:
        """The fixed-point format with the subnormal numbers' LSB that holds every number."""
        return Format(1, self.high_exponent + 1, self.m - self.low_exponent)

    @property
    def W(self) -> int:
        """Bits in all: 1 + e + m; 0 for the constant 0."""
        return 0 if self.m < 0 else 1 + self.e + self.m

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return 0.0 if self.m < 0 else self.value((1 << (self.e + self.m)) - 1 - self.reserved)

    @property
    def smallest(self) -> float:
        """The smallest positive number, which is subnormal where m > 0."""
        return 0.0 if self.m < 0 else self.value(1)

    def value(self, code: int) -> float:
        """The number of a code of a magnitude, as counted on the module's page.

        Raises:
            PrecisionError: there is no such code, or no number stands for it.
        """
        if not 0 <= code < (1 << (self.e + self.m) if self.m >= 0 else 1) - self.reserved:
            raise PrecisionError("no number has this code", received=code)
        field, mantissa = (code >> self.m, code & ((1 << self.m) - 1)) if self.m >= 0 else (0, 0)
        significand = mantissa + ((1 << self.m) if field else 0)
        return float(np.ldexp(float(significand), self.low_exponent + max(field, 1) - 1 - self.m))

    def quantize(self, x: npt.ArrayLike, rounding: Rounding = Rounding.RND_CONV) -> npt.NDArray[np.float64]:
        """The number nearest to each of ``x`` (or as ``rounding`` says), saturating; float64.

        Args:
            x: finite float16, float32 or float64 values, or integers below 2**62 in magnitude.
            rounding: any deterministic mode; the LSB is that of the number's own exponent.

        Raises:
            DataError: ``x`` holds NaN or infinity, or is not numeric.
        """
        # Fixed point relative to the exponent of each number: the integers of a whole format may exceed
        # 62 bits, those of one exponent have m + 2.
        f = own_fracs(x, self.high_exponent + 1, self.m - self.low_exponent, self.digits)
        codes = to_codes(x, 1, self.digits + 1 - f, f, rounding, Overflow.SAT)
        # Plus 0, as the lower end may be -0.0.
        return np.clip(to_values(codes, f), -self.largest, self.largest) + 0.0

    def __str__(self) -> str:
        offset = f"{self.e0:+d}" if self.e0 else ""
        return f"e{self.e}m{self.m}{offset}"


def operand_bits(
    k: npt.ArrayLike, i: npt.ArrayLike, f: npt.ArrayLike, digits: npt.ArrayLike | None = None
) -> npt.NDArray[np.int64]:
    """Bits with which numbers of a format count in EBOPs.

    max(i + f, 0) of fixed point, its sign excluded (HGQ, arXiv 2405.00645); all k + e + m bits that a
    minifloat is stored in, as HGQ2 counts it: digits = m + 1, and i + f = m + 2^e - 1. 0 for the constant 0.
    """
    b = np.asarray(i, np.int64) + np.asarray(f, np.int64)
    if digits is None:
        return np.maximum(b, 0)
    m = np.asarray(digits, np.int64) - 1
    return np.where(m >= 0, np.asarray(k, np.int64) + bit_length(np.maximum(b - m, 0)) + m, 0)


def _ieee(e: int, m: int) -> Minifloat:
    return Minifloat(m, e, e0=1, reserved=1 << m)


_NAMED = MappingProxyType(
    {
        "bfloat16": _ieee(8, 7),
        "float16": _ieee(5, 10),
        "float8_e3m4": _ieee(3, 4),
        "float8_e4m3": _ieee(4, 3),
        "float8_e4m3b11fnuz": Minifloat(3, 4, e0=-3),
        "float8_e4m3fn": Minifloat(3, 4, e0=1, reserved=1),
        "float8_e4m3fnuz": Minifloat(3, 4),
        "float8_e5m2": _ieee(5, 2),
        "float8_e5m2fnuz": Minifloat(2, 5),
        "float6_e2m3fn": Minifloat(3, 2, e0=1),
        "float6_e3m2fn": Minifloat(2, 3, e0=1),
        "float4_e2m1fn": Minifloat(1, 2, e0=1),
    }
)
