"""`ap_fixed` types: a format with the rounding and overflow that happen on assignment to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgqify.fixed import Overflow, Rounding
from hgqify.precision.ops import Constant


@dataclass(frozen=True, kw_only=True)
class HlsType:
    """``ap_[u]fixed<W, I, rounding, overflow>`` with W = k + i + f, I = k + i.

    The firmware has no zero-width numbers: a tensor that is always zero takes one unsigned bit.
    """

    k: int
    i: int
    f: int
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        if self.k + self.i + self.f <= 0:
            object.__setattr__(self, "k", 0)
            object.__setattr__(self, "i", 1 - self.f)

    @property
    def width(self) -> int:
        """W, bits in all."""
        return self.k + self.i + self.f

    @property
    def integer(self) -> int:
        """I, integer bits with the sign."""
        return self.k + self.i

    def cpp(self, *, ac_types: bool) -> str:
        """The type as C++; with the default modes only, for constants."""
        if not ac_types:
            return str(self.plain())
        return f"ac_fixed<{self.width},{self.integer},{'true' if self.k else 'false'}>"

    def __str__(self) -> str:
        name = "ap_fixed" if self.k else "ap_ufixed"
        text = f"{name}<{self.width},{self.integer}"
        if (self.rounding, self.overflow) != (Rounding.TRN, Overflow.WRAP):
            text += f",AP_{self.rounding.value},AP_{self.overflow.value},0"
        return text + ">"

    def plain(self) -> HlsType:
        """The same set of values, with the default (cheapest) modes."""
        return HlsType(k=self.k, i=self.i, f=self.f)


def smallest_type(low: int, high: int, frac: int) -> HlsType:
    """The smallest type that holds the codes ``low..high`` of ``2**-frac``."""
    if low > high:
        low, high = high, low
    k = 1 if low < 0 else 0
    bits = max(int(high).bit_length() if high > 0 else 0, int(-low - 1).bit_length() if low < 0 else 0)
    return HlsType(k=k, i=bits - frac, f=frac)


def constant_type(constant: Constant) -> HlsType:
    """The smallest type that holds a constant exactly; common trailing zeros are dropped."""
    codes = constant.codes
    if codes.size == 0 or not np.any(codes):
        return HlsType(k=0, i=1, f=0)
    union = int(np.bitwise_or.reduce(np.abs(codes), axis=None))
    shift = (union & -union).bit_length() - 1
    return smallest_type(int(codes.min()) >> shift, int(codes.max()) >> shift, constant.frac - shift)
