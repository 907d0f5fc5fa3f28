"""The narrowest exact types: what a tensor can hold, cut down to what is seen of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import Format, minimal_bits
from hgqify.precision import ops
from hgqify.precision.backward import requests
from hgqify.precision.info import NO_STEP, constant_step, live, live_step
from hgqify.precision.program import Node, Program, TensorInfo
from hgqify.precision.request import WHOLE, Request, request

ZERO = Format(0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class NodeFormats:
    """Types of one node, one for all elements.

    Attributes:
        result: holds every result, or what consumers can see of it.
        accumulator: for sums of products: partial sums may wrap in it, the total is right; None elsewhere.
    """

    result: Format
    accumulator: Format | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """The bits of each element that are both produced and seen.

    Attributes:
        k, i, f: int64 arrays: the format of each element.
        alive: elements that keep any bit.
        cut: elements that lose integer bits: they are kept modulo ``2**(k + i)``, whatever the sign.
        floored_i: integer bits of positive elements that are seen as 0 because only more would be seen. They
            need no bits, but must not become negative in the type of others. `NO_STEP` elsewhere.
    """

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray
    alive: np.ndarray
    cut: np.ndarray
    floored_i: np.ndarray


def kept(info: TensorInfo, seen: Request) -> Kept:
    """Intersection of what a tensor produces and what is seen of it, element by element."""
    f = np.minimum(live_step(info), seen.frac_bits)
    alive = live(info) & ~seen.unseen
    # Flooring takes a small negative value to -1 LSB, so only positive ones can vanish.
    drop = np.clip(np.where(alive, info.frac - f, 0), 0, 63)
    k, i = minimal_bits(info.low >> drop, info.high >> drop, np.where(alive, f, 0))
    gone = alive & (k + i + f <= 0)
    floored_i = np.full(info.shape, NO_STEP)
    if gone.any():
        floored_i[gone] = minimal_bits(info.low[gone], info.high[gone], info.frac)[1]
    alive = alive & ~gone
    cut = alive & (seen.int_bits < k + i)
    i = np.where(cut, seen.int_bits - k, i)
    alive = alive & (k + i + f > 0)
    return Kept(k=k, i=i, f=f, alive=alive, cut=cut & alive, floored_i=floored_i)


def union(bits: Kept) -> Format:
    """The smallest format that serves all elements; `ZERO` if none keeps a bit."""
    alive = bits.alive
    if not alive.any():
        return ZERO
    f = int(bits.f[alive].max())
    uncut = alive & ~bits.cut
    total = int((bits.k + bits.i)[alive].max())
    # What is cut may be read with or without sign.
    signed = uncut if uncut.any() else alive
    k = int(bits.k[signed].max())
    i = max(total - k, int(bits.i[uncut].max())) if uncut.any() else total - k
    if k:
        i = max(i, int(bits.floored_i.max()))
    return Format(k, i, f)


def produced(info: TensorInfo) -> Format:
    """Smallest format for all elements of a tensor, seen whole; `ZERO` if it is always zero."""
    return union(kept(info, request(info.shape, WHOLE, WHOLE)))


def whole_bits(seen: Request) -> Request:
    """The request with all bits below: sums need the carries that come from there."""
    return request(seen.int_bits.shape, seen.int_bits, np.where(seen.unseen, seen.frac_bits, WHOLE))


_ACCUMULATING = (ops.Dense, ops.Conv, ops.SumPool, ops.ScaleShift, ops.Matmul)


def formats(program: Program, seen: Mapping[str, Request] | None = None) -> dict[str, NodeFormats]:
    """The narrowest exact types of every node but the inputs.

    Computing each result exactly and then *truncating and wrapping* it (AP_TRN, AP_WRAP) into its
    ``result`` format changes no model output. ``accumulator`` has the integer bits that are seen and all
    fractional bits of the terms.

    Args:
        program: annotated.
        seen: `requests(program)`, if known already.

    Raises:
        PrecisionError: the program is not annotated.
    """
    seen = requests(program) if seen is None else seen
    return {
        node.name: _formats_of(node, seen[node.name], program)
        for node in program.nodes
        if not isinstance(node.op, ops.Input)
    }


def _finest_term(node: Node, infos: Sequence[TensorInfo | None]) -> int:
    """Fractional bits of terms that a constant sum does not show: 1/4 + 3/4 is a whole number.

    Only where an input is a constant other than zero can terms be finer than what they add up to.
    """
    if isinstance(node.op, ops.Matmul):
        return _finest_product(infos)
    x = infos[0]
    if x is None or not np.any((x.low == x.high) & (x.low != 0)):
        return NO_STEP
    steps = [int(live_step(x).max(initial=NO_STEP))]
    if isinstance(node.op, ops.Dense | ops.Conv):
        kernel = int(constant_step(node.op.kernel).max(initial=NO_STEP))
        bias = NO_STEP if node.op.bias is None else int(constant_step(node.op.bias).max(initial=NO_STEP))
        steps = [steps[0] + kernel if kernel > NO_STEP else NO_STEP, bias]
    return max(steps)


def _finest_product(infos: Sequence[TensorInfo | None]) -> int:
    """The same of products of two tensors; where one is zero everywhere there are none."""
    known = [info for info in infos if info is not None]
    if not any(np.any((info.low == info.high) & (info.low != 0)) for info in known):
        return NO_STEP
    steps = [int(live_step(info).max(initial=NO_STEP)) for info in known]
    return sum(steps) if min(steps) > NO_STEP else NO_STEP


def _formats_of(node: Node, seen: Request, program: Program) -> NodeFormats:
    if node.info is None:
        raise PrecisionError(
            "the program has no bounds yet", where=node.layer, remedy="call precision.annotate(program) first"
        )
    result = union(kept(node.info, seen))
    if not isinstance(node.op, _ACCUMULATING):
        return NodeFormats(result=result, accumulator=None)
    total = union(kept(node.info, whole_bits(seen)))
    finest = _finest_term(node, [program.by_name[name].info for name in node.inputs])
    return NodeFormats(result=result, accumulator=Format(total.k, total.i, max(total.f, finest)))
