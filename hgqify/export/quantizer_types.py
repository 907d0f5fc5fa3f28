"""The narrowest type that does a quantizer's work on assignment.

A declared format says what may come out. What does come out depends on what goes in, and how much of it
matters on what is seen: bits that never differ are dropped, a bound that is never reached need not be kept,
rounding that never happens is truncation, and overflow that never happens wraps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.types import HlsType
from hgqify.fixed import Format, Interval, Overflow, Rounding
from hgqify.precision import ops
from hgqify.precision.info import NO_STEP, live_step
from hgqify.precision.minimal import Kept, kept, union, whole_bits
from hgqify.precision.program import Node, TensorInfo
from hgqify.precision.request import WHOLE, Request, request


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizerType:
    """A quantizer as types.

    Attributes:
        bits: format of each element; an element that is not alive is 0 whatever comes in.
        rounding, overflow: the modes, the same for all elements.
        zero_frac: fractional bits to round at if all elements are 0.
    """

    bits: Kept
    rounding: Rounding
    overflow: Overflow
    zero_frac: int

    @property
    def coarsest(self) -> int:
        """Least fractional bits that any element is rounded to."""
        if not self.bits.alive.any():
            return self.zero_frac
        return int(np.min(self.bits.f, initial=1 << 20, where=self.bits.alive))

    def uniform(self) -> HlsType:
        """One type for all elements, for a quantizer that declares one format."""
        found = union(self.bits)
        if not self.bits.alive.any():
            found = Format(0, 1 - self.zero_frac, self.zero_frac)
        return HlsType(k=found.k, i=found.i, f=found.f, rounding=self.rounding, overflow=self.overflow)


def info_of(node: Node) -> TensorInfo:
    """The bounds of an annotated node.

    Raises:
        ExportError: the node has none (it is a model input, or the program was not annotated).
    """
    if node.info is None:
        raise ExportError(
            "real numbers reach an operation that is not a quantizer",
            where=node.layer,
            remedy="quantize the model input first",
        )
    return node.info


def beyond(node: Node, producer: Node) -> tuple[np.ndarray, np.ndarray]:
    """Whether what a quantizer reads can fall below, and above its range; anything can from a model input."""
    op = quantize_of(node)
    if producer.info is None:
        everything = np.ones(node.shape, bool)
        return everything, everything
    source = producer.info
    return Interval(source.low, source.high, source.frac).beyond(op.k, op.i, op.f, op.rounding, op.overflow)


def quantize_of(node: Node) -> ops.Quantize:
    """The operation of a quantizer node."""
    if not isinstance(node.op, ops.Quantize):
        raise TypeError(type(node.op))
    return node.op


def quantizer_type(node: Node, producer: Node, seen: Request) -> QuantizerType:
    """The narrowest exact types of a quantizer.

    Args:
        node: an annotated quantizer.
        producer: what it reads; a model input or annotated.
        seen: what its consumers see of it.
    """
    op, info = quantize_of(node), info_of(node)
    k, i, f = (np.broadcast_to(np.asarray(a, np.int64), node.shape) for a in (op.k, op.i, op.f))
    used = (k + i + f > 0) & ~seen.unseen
    under, over = (side & used for side in beyond(node, producer))
    overflow = op.overflow if np.any(under | over) else Overflow.WRAP
    if overflow is Overflow.SAT_SYM and not np.any(under & (k > 0)):
        overflow = Overflow.SAT  # the lower bound is 0, or not reached
    if overflow is Overflow.WRAP_SM:
        # Its folds depend on all bits of the format.
        never = np.zeros(node.shape, bool)
        whole = Kept(k=k, i=i, f=f, alive=used, cut=never, floored_i=np.full(node.shape, NO_STEP))
        return QuantizerType(bits=whole, rounding=op.rounding, overflow=overflow, zero_frac=0)
    rounds = used if producer.info is None else used & (live_step(producer.info) > f)
    truncates = op.rounding is Rounding.TRN or not rounds.any()
    # Rounding happens at the declared place, whatever is seen of it; truncation may go on below, but moves
    # the lower bound of a symmetric range.
    seen = seen if truncates and overflow is not Overflow.SAT_SYM else whole_bits(seen)
    if np.any(under | over):
        # Down to the sign bit, which decides what flooring gives.
        fracs = np.where(used & (k > 0), np.maximum(seen.frac_bits, -i), seen.frac_bits)
        ints = np.where(seen.unseen | (not overflow.saturates), seen.int_bits, WHOLE)
        seen = request(node.shape, ints, fracs)
    part = kept(info, seen)
    own = part if truncates else _with(part, rounds & part.alive, f=f)
    if overflow.saturates:
        # A bound that is reached stays where it is: the upper one depends on i and f, the lower one on i, and
        # under SAT_SYM on f; the lower one of an unsigned type is 0.
        own = _with(own, over, k=np.where(part.alive, part.k, k), i=i, f=np.where(part.alive, own.f, f))
        own = _with(own, under & (k > 0), k=k, i=i, f=f if overflow is Overflow.SAT_SYM else own.f)
    if overflow is Overflow.SAT_SYM:
        # A symmetric range does not hold the lowest code of its format, unless that is all it has.
        negative = own.alive & (own.k > 0) & (own.i + own.f > 0)
        lowest = info.low * 2.0**-info.frac == -(2.0 ** np.where(negative, own.i, 0))
        own = _with(own, negative & lowest, i=own.i + 1)
    rounding = Rounding.TRN if truncates else op.rounding
    return QuantizerType(bits=own, rounding=rounding, overflow=overflow, zero_frac=int(f.max()))


def _with(bits: Kept, where: np.ndarray, **changes: np.ndarray) -> Kept:
    """``bits`` with some parts replaced, and all alive, ``where`` it says."""
    parts = {name: np.where(where, part, getattr(bits, name)) for name, part in changes.items()}
    return replace(bits, **parts, alive=bits.alive | where, cut=bits.cut & ~where)
