"""What operations that work element by element see of their operands, given what is seen of their result."""

from __future__ import annotations

import numpy as np

from hgqify.fixed import Overflow, Rounding
from hgqify.precision import ops
from hgqify.precision.info import NO_STEP, constant_step, live, live_step
from hgqify.precision.program import TensorInfo
from hgqify.precision.request import NOTHING, WHOLE, Request, request, scaled, unbroadcast, whole_where

Infos = list[TensorInfo]

# Rounding towards or away from zero looks at the sign, that is at all bits.
PERIODIC = (Rounding.TRN, Rounding.RND, Rounding.RND_CONV, Rounding.RND_MIN_INF)


def quantize(op: ops.Quantize, infos: Infos, index: int, out: Request) -> Request:
    """A wrapping quantizer sees its own bits, truncation drops what is below, ties up see one bit more.

    Where the significant bits of a minifloat end depends on all bits.
    """
    shape = infos[0].shape
    k, i, f = (np.broadcast_to(np.asarray(a, np.int64), shape) for a in (op.k, op.i, op.f))
    gone = (k + i + f <= 0) | out.unseen
    wraps = op.overflow is Overflow.WRAP and op.rounding in PERIODIC
    ints = np.minimum(k + i, out.int_bits) if wraps else np.full(shape, WHOLE)
    if op.digits is not None:
        fracs = np.full(shape, WHOLE)
    elif op.rounding is Rounding.TRN:
        # Flooring goes on below, but the sign bit, at 2**i, decides what it gives from a wrapped value.
        fracs = np.minimum(f, np.where(k > 0, np.maximum(out.frac_bits, -i), out.frac_bits))
    else:
        fracs = f + 1 if op.rounding is Rounding.RND else np.full(shape, WHOLE)
    return request(shape, np.where(gone, NOTHING, ints), np.where(gone, NOTHING, fracs))


def add(op: ops.Add | ops.Subtract, infos: Infos, index: int, out: Request) -> Request:
    """Bits above only as far as the sum is seen; bits below unless the other operand sends no carry."""
    own, other = infos[index].shape, infos[1 - index]
    # floor(a + b) = floor(a) + b where b is whole; a - floor(b) is no such thing.
    keeps = live_step(other) <= out.frac_bits if index == 0 or isinstance(op, ops.Add) else False
    fracs = np.where(keeps, out.frac_bits, WHOLE)
    fracs = np.where(out.unseen, NOTHING, fracs)
    return request(own, unbroadcast(out.int_bits, own), unbroadcast(fracs, own))


def multiply(op: ops.Multiply, infos: Infos, index: int, out: Request) -> Request:
    """As far up as the other factor's fraction reaches, and all bits below.

    A factor that is always zero hides the other one, so it must be zero where it is stored: two of them do
    not hide each other.
    """
    ints = scaled(out.int_bits, live_step(infos[1 - index]))
    ints = np.where(~live(infos[index]) & ~out.unseen, WHOLE, ints)
    ints = unbroadcast(ints, infos[index].shape)
    return request(ints.shape, ints, np.where(ints == NOTHING, NOTHING, WHOLE))


def scale_shift(op: ops.ScaleShift, infos: Infos, index: int, out: Request) -> Request:
    """As `multiply`; a scale that is a power of two passes flooring on."""
    shape = infos[0].shape
    step = np.broadcast_to(constant_step(op.scale), shape)
    codes = np.broadcast_to(np.asarray(op.scale.codes), shape)
    shift = NO_STEP if op.shift is None else np.broadcast_to(constant_step(op.shift), shape)
    floors = (codes > 0) & (codes & (codes - 1) == 0) & (shift <= out.frac_bits) & (out.frac_bits < WHOLE)
    ints = scaled(out.int_bits, step)
    fracs = np.where(floors, out.frac_bits - step, WHOLE)
    return request(shape, ints, np.where(ints == NOTHING, NOTHING, fracs))


def order(op: ops.Maximum | ops.Minimum, infos: Infos, index: int, out: Request) -> Request:
    """Comparisons see the whole integer part; flooring commutes with them."""
    shape = infos[index].shape
    ints = np.where(out.unseen, NOTHING, WHOLE)
    return request(shape, unbroadcast(ints, shape), unbroadcast(out.frac_bits, shape))


def clip(op: ops.Clip, infos: Infos, index: int, out: Request) -> Request:
    """As `order`: a floored result is the floored limit or the floored operand."""
    return request(infos[0].shape, np.where(out.unseen, NOTHING, WHOLE), out.frac_bits)


def sees_all(
    op: ops.LeakyRelu | ops.Table | ops.EdgeTables, infos: Infos, index: int, out: Request
) -> Request:
    """The sign, or the whole index, of whatever is used at all."""
    return whole_where(~out.unseen)
