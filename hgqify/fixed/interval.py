"""Exact intervals of codes: what a tensor can hold, element by element, on one LSB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hgqify.errors import PrecisionError
from hgqify.fixed.bits import minimal_format
from hgqify.fixed.bounds import MAX_BITS, BoolArray, IntArray, IntLike, code_bounds, integers
from hgqify.fixed.format import Format
from hgqify.fixed.modes import Overflow, Rounding
from hgqify.fixed.quantize import align, beyond, requantize

_LIMIT = 1 << MAX_BITS


def _checked(exact: Callable[..., object], reach: int, *operands: IntArray) -> IntArray:
    """``exact(*operands)`` in int64 if ``reach``, a bound on its magnitude, fits, else in Python ints."""
    if reach < _LIMIT:
        return np.asarray(exact(*operands), np.int64)
    result = np.asarray(exact(*(operand.astype(object) for operand in operands)), object)
    largest = max((abs(int(v)) for v in result.flat), default=0)
    if largest >= _LIMIT:
        raise PrecisionError(
            f"exact codes need more than {MAX_BITS} bits",
            received=f"a code of {largest.bit_length()} bits",
            remedy="use fewer bits in the operands, or put a quantizer in between",
        )
    return result.astype(np.int64)


def _reach(array: IntArray) -> int:
    return max(-int(array.min()), int(array.max())) if array.size else 0


@dataclass(frozen=True, eq=False)
class Interval:
    """Closed intervals of codes: element ``n`` holds values in [low[n], high[n]] * 2**-frac.

    All operations are exact and the tightest that intervals of independent operands allow. Operands of
    different ``frac`` are brought to the finer one; shapes broadcast.

    Args:
        low, high: int64 arrays of one shape (they are broadcast), ``low <= high``.
        frac: fractional bits of all elements, a plain integer.

    Raises:
        PrecisionError: an empty element (low > high), no integers, or codes of 2**62 and more; so do all
            operations when a result needs more than 62 bits.
    """

    low: IntArray
    high: IntArray
    frac: int

    def __post_init__(self) -> None:
        low, high = np.broadcast_arrays(integers(self.low, "low"), integers(self.high, "high"))
        if np.any(low > high):
            raise PrecisionError("an interval is empty: low exceeds high in some element")
        if max(_reach(low), _reach(high)) >= _LIMIT:
            raise PrecisionError(
                f"codes of an interval must be below 2**{MAX_BITS} in magnitude",
                received=f"{low.min()} to {high.max()}",
            )
        # Own, read-only copies: an interval is shared by many nodes.
        for name, array in (("low", low), ("high", high)):
            array = array.copy()
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "frac", int(integers(self.frac, "frac")))

    @classmethod
    def of_format(
        cls, k: IntLike, i: IntLike, f: IntLike, overflow: Overflow = Overflow.SAT, frac: int | None = None
    ) -> Interval:
        """All codes of the formats, on the LSB 2**-frac (default: the finest f).

        Raises:
            PrecisionError: ``frac`` is coarser than an f of a format that holds more than 0.
        """
        low, high = code_bounds(k, i, f, overflow)
        return _on_common_lsb(low, high, f, frac)

    @classmethod
    def constant(cls, codes: npt.ArrayLike, frac: int) -> Interval:
        """Intervals of one code each."""
        array = integers(codes, "codes")
        return cls(array, array, frac)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the bounds."""
        return self.low.shape

    def at(self, frac: int) -> Interval:
        """The same values on the LSB 2**-frac, which must represent them.

        Raises:
            PrecisionError: a bound is no multiple of the new LSB.
        """
        return Interval(align(self.low, self.frac, frac), align(self.high, self.frac, frac), frac)

    def __add__(self, other: Interval) -> Interval:
        a, b = _common(self, other)
        reach = max(_reach(a.low), _reach(a.high)) + max(_reach(b.low), _reach(b.high))
        return Interval(
            _checked(np.add, reach, a.low, b.low), _checked(np.add, reach, a.high, b.high), a.frac
        )

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low, self.frac)

    def __sub__(self, other: Interval) -> Interval:
        return self + (-other)

    def __mul__(self, other: Interval) -> Interval:
        reach = max(_reach(self.low), _reach(self.high)) * max(_reach(other.low), _reach(other.high))
        ends = [
            _checked(np.multiply, reach, a, b) for a in (self.low, self.high) for b in (other.low, other.high)
        ]
        low = np.minimum(np.minimum(ends[0], ends[1]), np.minimum(ends[2], ends[3]))
        high = np.maximum(np.maximum(ends[0], ends[1]), np.maximum(ends[2], ends[3]))
        return Interval(low, high, self.frac + other.frac)

    def shift(self, bits: int) -> Interval:
        """The values times 2**bits: the codes stay, the binary point moves."""
        return Interval(self.low, self.high, self.frac - bits)

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Interval:
        """The sum of independent elements along ``axis`` (all when None)."""
        count = self.low.size // max(1, int(np.prod(np.sum(self.low, axis=axis).shape)))
        reach = max(_reach(self.low), _reach(self.high)) * max(count, 1)
        return Interval(
            _checked(lambda v: np.sum(v, axis=axis), reach, self.low),
            _checked(lambda v: np.sum(v, axis=axis), reach, self.high),
            self.frac,
        )

    def maximum(self, other: Interval) -> Interval:
        """The larger of two independent values."""
        a, b = _common(self, other)
        return Interval(np.maximum(a.low, b.low), np.maximum(a.high, b.high), a.frac)

    def minimum(self, other: Interval) -> Interval:
        """The smaller of two independent values."""
        a, b = _common(self, other)
        return Interval(np.minimum(a.low, b.low), np.minimum(a.high, b.high), a.frac)

    def union(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        a, b = _common(self, other)
        return Interval(np.minimum(a.low, b.low), np.maximum(a.high, b.high), a.frac)

    def intersects(self, other: Interval) -> BoolArray:
        """Whether the two share a point, element by element."""
        a, b = _common(self, other)
        return np.asarray((a.low <= b.high) & (b.low <= a.high))

    def intersection(self, other: Interval) -> Interval:
        """What both hold.

        Raises:
            PrecisionError: an element where they share nothing.
        """
        a, b = _common(self, other)
        return Interval(np.maximum(a.low, b.low), np.minimum(a.high, b.high), a.frac)

    def contains(self, other: Interval) -> BoolArray:
        """Whether ``other`` lies inside, element by element."""
        a, b = _common(self, other)
        return np.asarray((a.low <= b.low) & (b.high <= a.high))

    def requantized(
        self,
        k: IntLike,
        i: IntLike,
        f: IntLike,
        rounding: Rounding,
        overflow: Overflow,
        frac: int | None = None,
        digits: IntLike | None = None,
    ) -> Interval:
        """Where quantizing puts the values, on the LSB 2**-frac (default: the finest f).

        Rounding and saturation are monotone, so the images of the bounds are the bounds. A wrapping mode
        is as long as nothing wraps; an element in which something may wrap gets the whole range (a constant
        the code it wraps to).
        """
        low, high = (
            requantize(end, self.frac, k, i, f, rounding, overflow, digits) for end in (self.low, self.high)
        )
        if not overflow.saturates:
            ends = code_bounds(k, i, f, overflow)
            wraps = self.overflows(k, i, f, rounding, overflow) & (self.low < self.high)
            low, high = np.where(wraps, ends[0], low), np.where(wraps, ends[1], high)
        return _on_common_lsb(low, high, f, frac)

    def overflows(
        self,
        k: IntLike,
        i: IntLike,
        f: IntLike,
        rounding: Rounding,
        overflow: Overflow,
        digits: IntLike | None = None,
    ) -> BoolArray:
        """Whether a rounded value can fall outside the range of the format, element by element."""
        under, over = self.beyond(k, i, f, rounding, overflow, digits)
        return under | over

    def beyond(
        self,
        k: IntLike,
        i: IntLike,
        f: IntLike,
        rounding: Rounding,
        overflow: Overflow,
        digits: IntLike | None = None,
    ) -> tuple[BoolArray, BoolArray]:
        """Whether a rounded value can fall below, and whether it can fall above the range of the format."""
        under, _ = beyond(self.low, k, i, f, rounding, overflow, digits, frac=self.frac)
        _, over = beyond(self.high, k, i, f, rounding, overflow, digits, frac=self.frac)
        return under, over

    def format(self) -> Format:
        """The smallest format that holds all elements; see :func:`minimal_format`."""
        return minimal_format(self.low, self.high, self.frac)

    def __str__(self) -> str:
        ends = f"[{self.low.min()}, {self.high.max()}]" if self.low.size else "[]"
        return f"{ends} * 2**{-self.frac}, shape {self.shape}"


def _common(a: Interval, b: Interval) -> tuple[Interval, Interval]:
    """Both on the finer of their two LSBs."""
    frac = max(a.frac, b.frac)
    return a.at(frac), b.at(frac)


def _on_common_lsb(low: IntArray, high: IntArray, f: IntLike, frac: int | None) -> Interval:
    """Bounds at each element's own f on one LSB, by default the finest f of the elements that are not 0."""
    f_ = np.broadcast_to(integers(f, "f"), np.broadcast_shapes(low.shape, np.shape(f)))
    low, high = np.broadcast_to(low, f_.shape), np.broadcast_to(high, f_.shape)
    if frac is None:
        alive = (low != 0) | (high != 0)
        chosen = f_[alive] if alive.any() else f_
        frac = int(chosen.max()) if chosen.size else 0
    return Interval(align(low, f_, frac), align(high, f_, frac), frac)
