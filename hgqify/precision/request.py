"""What can be seen of a tensor, element by element: the currency of backward propagation.

A consumer sees a value *modulo* 2**int_bits if adding any multiple of that to it changes nothing
downstream: a wrapping quantizer drops the bits above its own, and sums pass the property on. It sees a
value *floored* to frac_bits if dropping the bits below changes nothing: so does truncation. Where all
consumers agree, the bits need not be computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hgqify.fixed import MAX_BITS, quantize
from hgqify.precision.info import NO_STEP

# Beyond every exponent: all bits are seen, or none. NOTHING equals the step of a number that is always zero.
WHOLE = 1 << 20
NOTHING = NO_STEP


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What can be seen of the elements of a tensor.

    Attributes:
        int_bits: int64 array of the tensor's shape: the element is seen modulo ``2**int_bits`` (the sign bit
            counts); `WHOLE`: all of it.
        frac_bits: the same for the bits below: it is seen floored to multiples of ``2**-frac_bits``.
            An element of which nothing is seen has `NOTHING` in both.
    """

    int_bits: np.ndarray
    frac_bits: np.ndarray

    @property
    def unseen(self) -> np.ndarray:
        """Elements of which no bit is seen."""
        return self.int_bits == NOTHING

    def union(self, other: Request) -> Request:
        """What two consumers together can see."""
        return Request(
            int_bits=np.maximum(self.int_bits, other.int_bits),
            frac_bits=np.maximum(self.frac_bits, other.frac_bits),
        )

    def map(self, move: Callable[[np.ndarray], np.ndarray]) -> Request:
        """The request after ``move`` was applied to both arrays: for operations that move elements."""
        return Request(int_bits=move(self.int_bits), frac_bits=move(self.frac_bits))


def request(shape: tuple[int, ...], int_bits: np.ndarray | int, frac_bits: np.ndarray | int) -> Request:
    """A request in normal form, at full shape.

    ``int_bits`` and ``frac_bits`` broadcast to ``shape``; where no bit is left between them, nothing is seen.
    """
    ints = np.broadcast_to(np.asarray(int_bits, np.int64), shape)
    fracs = np.broadcast_to(np.asarray(frac_bits, np.int64), shape)
    # One end that is open in both directions leaves bits, unless the other end takes them all.
    nothing = (ints <= NOTHING) | (fracs <= NOTHING) | (ints + fracs <= 0)
    if not nothing.any():
        return Request(int_bits=ints, frac_bits=fracs)
    return Request(int_bits=np.where(nothing, NOTHING, ints), frac_bits=np.where(nothing, NOTHING, fracs))


def whole(shape: tuple[int, ...]) -> Request:
    """Every bit of every element is seen."""
    return request(shape, WHOLE, WHOLE)


def nothing(shape: tuple[int, ...]) -> Request:
    """No bit of any element is seen."""
    return request(shape, NOTHING, NOTHING)


def whole_where(seen: np.ndarray) -> Request:
    """Every bit where ``seen``, none elsewhere."""
    bits = np.where(seen, WHOLE, NOTHING)
    return Request(int_bits=bits, frac_bits=bits)


def scaled(bits: np.ndarray, step: np.ndarray | int) -> np.ndarray:
    """``bits`` of a product seen by the consumer -> bits of the factor beside numbers on ``2**-step``.

    x + 2**J moves x * w by a multiple of 2**(J - step). A w that is always zero (`NO_STEP`) shows nothing.
    """
    gone = (bits <= NOTHING) | (np.asarray(step) <= NO_STEP)
    return np.where(gone, NOTHING, np.where(bits >= WHOLE, WHOLE, bits + step))


def unbroadcast(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The largest over all places that an element of ``shape`` was broadcast to."""
    if array.shape == shape:
        return array
    extra = array.ndim - len(shape)
    array = array.max(axis=tuple(range(extra))) if extra else array
    axes = tuple(n for n, (a, b) in enumerate(zip(array.shape, shape, strict=True)) if a != b)
    return array.max(axis=axes, keepdims=True) if axes else array


def visible(values: np.ndarray, seen: Request, frac: int) -> np.ndarray:
    """The part of a tensor's values that is seen: two tensors that agree in it are the same downstream.

    Args:
        values: (samples, *shape), multiples of ``2**-frac`` below 2**61 LSB.
        seen: request of the tensor.
        frac: fractional bits of the tensor.
    """
    f = np.minimum(seen.frac_bits, frac)
    f = np.where(seen.unseen, 0, f)
    # A signed format of as many bits is as good as any other, to compare modulo its range.
    i = np.where(seen.unseen, -1, np.minimum(seen.int_bits - 1, MAX_BITS - 1 - f))
    return quantize(values, 1, i, f)
