"""A fixed-point number format: sign flag, integer bits, fractional bits."""

import operator
from dataclasses import dataclass

from hgqify.errors import PrecisionError
from hgqify.fixed.modes import Overflow, as_overflow


@dataclass(frozen=True, order=True)
class Format:
    """The format of codes q with value q * 2**-f.

    W = k + i + f bits in all; ``i`` and ``f`` may be negative (LSB above 1, range below 1).
    k + i + f <= 0 is the constant 0, which no ``ap_fixed`` type spells.

    Args:
        k: 1 when signed, else 0.
        i: integer bits, the sign not counted.
        f: fractional bits; the LSB is 2**-f.

    Raises:
        PrecisionError: a component is not an integer, or k is not 0 or 1.
    """

    k: int
    i: int
    f: int

    def __post_init__(self) -> None:
        for name in ("k", "i", "f"):
            value = getattr(self, name)
            try:
                # NumPy integers and bools become plain ints, so that equal formats hash and print alike.
                object.__setattr__(self, name, int(operator.index(value)))
            except TypeError:
                raise PrecisionError(
                    f"{name} of a format must be an integer", received=repr(value), remedy="round it first"
                ) from None
        if self.k not in (0, 1):
            raise PrecisionError(
                "k of a format must be 0 or 1", received=self.k, remedy="use 1 for signed and 0 for unsigned"
            )

    @classmethod
    def from_WI(cls, W: int, I: int, signed: bool = True) -> "Format":  # noqa: E741
        """The format of ``ap_fixed<W, I>`` (``signed``) or ``ap_ufixed<W, I>``."""
        k = int(signed)
        return cls(k, I - k, W - I)

    @property
    def W(self) -> int:
        """Total bits k + i + f as ``ap_fixed`` counts them; <= 0 for the constant 0."""
        return self.k + self.i + self.f

    @property
    def I(self) -> int:  # noqa: E743
        """Integer bits k + i as ``ap_fixed`` counts them, the sign included."""
        return self.k + self.i

    @property
    def b(self) -> int:
        """Bits without sign, i + f."""
        return self.i + self.f

    @property
    def is_zero(self) -> bool:
        """Whether the only value is 0."""
        return self.W <= 0

    def low_code(self, overflow: Overflow = Overflow.SAT) -> int:
        """Smallest code: -2**b when signed, 1 - 2**b under SAT_SYM, 0 when unsigned.

        A signed format of one bit keeps -1 under SAT_SYM, as ``ap_fixed`` does.
        """
        if not self.k or self.is_zero:
            return 0
        symmetric = as_overflow(overflow) is Overflow.SAT_SYM and self.b > 0
        return -(1 << self.b) + symmetric

    @property
    def high_code(self) -> int:
        """Largest code, 2**b - 1 (0 for the constant 0)."""
        return 0 if self.is_zero else (1 << self.b) - 1

    def __str__(self) -> str:
        return f"{'' if self.k else 'u'}fixed<{self.W},{self.I}>"
