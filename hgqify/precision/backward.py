"""Backward propagation: what the consumers of a tensor can see, and the formats that follow.

A consumer sees a value *modulo* 2**int_bits if adding any multiple of that to it changes nothing
downstream: a wrapping quantizer drops the bits above its own, and sums pass the property on. It sees a
value *floored* to frac_bits if dropping the bits below changes nothing: so does truncation. Where all
consumers agree, the bits need not be computed. Model outputs are seen whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import Format, Overflow, Rounding, minimal_format
from hgqify.precision import ops
from hgqify.precision.info import NO_STEP, constant_step, live, live_step
from hgqify.precision.program import Node, Program, TensorInfo


@dataclass(frozen=True, kw_only=True)
class Request:
    """What can be seen of a tensor.

    Attributes:
        int_bits: it is seen modulo ``2**int_bits`` (the sign bit counts); None: seen whole.
        frac_bits: it is seen floored to multiples of ``2**-frac_bits``; None: seen whole.
    """

    int_bits: int | None = None
    frac_bits: int | None = None

    def union(self, other: Request) -> Request:
        """What two consumers together can see."""
        ints = (self.int_bits, other.int_bits)
        fracs = (self.frac_bits, other.frac_bits)
        return Request(
            int_bits=None if None in ints else max(b for b in ints if b is not None),
            frac_bits=None if None in fracs else max(b for b in fracs if b is not None),
        )


@dataclass(frozen=True, kw_only=True)
class NodeFormats:
    """Types of one node, one for all elements.

    Attributes:
        result: holds every result, or what consumers can see of it.
        accumulator: for sums of products: partial sums may wrap in it, the total is right; None elsewhere.
    """

    result: Format
    accumulator: Format | None


WHOLE = Request()
# What a tensor without any consumer, or one that is always zero, is asked for.
NOTHING = Request(int_bits=-(1 << 20), frac_bits=-(1 << 20))


def requests(program: Program) -> dict[str, Request]:
    """What the consumers of each tensor can see.

    Raises:
        PrecisionError: the program is not annotated.
    """
    seen: dict[str, Request] = {node.name: NOTHING for node in program.nodes}
    seen |= dict.fromkeys(program.outputs, WHOLE)
    for node in reversed(program.nodes):
        if isinstance(node.op, ops.Input):
            continue
        infos = [program.by_name[name].info for name in node.inputs]
        if any(info is None for info in infos):
            continue  # a quantizer of a real input asks nothing of codes
        rule = _RULES.get(type(node.op))
        for index, name in enumerate(node.inputs):
            asked = WHOLE if rule is None else rule(node.op, infos, index, seen[node.name])
            seen[name] = seen[name].union(asked)
    return seen


def _quantize(op: ops.Quantize, infos: list[TensorInfo], index: int, out: Request) -> Request:
    alive = np.broadcast_to(op.k + op.i + op.f > 0, infos[0].shape)
    if not alive.any():
        return NOTHING
    f = int(np.broadcast_to(op.f, infos[0].shape)[alive].max())
    frac_bits = {Rounding.TRN: f, Rounding.RND: f + 1}.get(op.rounding)
    # Rounding towards or away from zero looks at the sign, that is at all bits.
    periodic = op.rounding in (Rounding.TRN, Rounding.RND, Rounding.RND_CONV, Rounding.RND_MIN_INF)
    int_bits = None
    if op.overflow is Overflow.WRAP and periodic:
        int_bits = int(np.broadcast_to(op.k + op.i, infos[0].shape)[alive].max())
    return Request(int_bits=int_bits, frac_bits=frac_bits)


def _same(op: ops.Op, infos: list[TensorInfo], index: int, out: Request) -> Request:
    """Elements move, nothing else."""
    return out


def _order(op: ops.Op, infos: list[TensorInfo], index: int, out: Request) -> Request:
    """Comparisons see the whole integer part; flooring commutes with them."""
    return Request(int_bits=None, frac_bits=out.frac_bits)


def _clip(op: ops.Clip, infos: list[TensorInfo], index: int, out: Request) -> Request:
    finest = max((int(constant_step(c)) for c in (op.low, op.high) if c is not None), default=NO_STEP)
    # Flooring commutes with clipping to limits that lie on the coarser grid.
    keeps = out.frac_bits is not None and finest <= out.frac_bits
    return Request(int_bits=None, frac_bits=out.frac_bits if keeps else None)


def _times(finest: int, out: Request) -> Request:
    """Operand of products with numbers that are multiples of ``2**-finest``."""
    if finest <= NO_STEP or out == NOTHING:
        return NOTHING
    # x + 2**J moves the product by a multiple of 2**(J - finest).
    return Request(int_bits=None if out.int_bits is None else out.int_bits + finest, frac_bits=None)


def _kernel(op: ops.Dense | ops.Conv, infos: list[TensorInfo], index: int, out: Request) -> Request:
    return _times(int(constant_step(op.kernel).max(initial=NO_STEP)), out)


def _scale(op: ops.ScaleShift, infos: list[TensorInfo], index: int, out: Request) -> Request:
    return _times(int(constant_step(op.scale).max(initial=NO_STEP)), out)


def _multiply(op: ops.Multiply, infos: list[TensorInfo], index: int, out: Request) -> Request:
    return _times(int(live_step(infos[1 - index]).max(initial=NO_STEP)), out)


def _sum(op: ops.Op, infos: list[TensorInfo], index: int, out: Request) -> Request:
    """Carries from below are seen, bits above only as far as the sum is."""
    return NOTHING if out == NOTHING else Request(int_bits=out.int_bits, frac_bits=None)


_RULES: dict[type[ops.Op], Callable[[Any, list[Any], int, Request], Request]] = {
    ops.Quantize: _quantize,
    ops.Dense: _kernel,
    ops.Conv: _kernel,
    ops.ScaleShift: _scale,
    ops.Multiply: _multiply,
    ops.Add: _sum,
    ops.Subtract: _sum,
    ops.SumPool: _sum,
    ops.Clip: _clip,
    **dict.fromkeys((ops.Maximum, ops.Minimum, ops.MaxPool), _order),
    **dict.fromkeys(
        (ops.Reshape, ops.Transpose, ops.Concatenate, ops.Pad, ops.Crop, ops.Repeat), _same
    ),
}  # fmt: skip


def produced(info: TensorInfo) -> Format:
    """Smallest format for all elements of a tensor; Format(0, 0, 0) if it is always zero."""
    alive = live(info)
    if not alive.any():
        return Format(0, 0, 0)
    finest = int(info.step[alive].max())
    drop = info.frac - finest
    return minimal_format(info.low.min() >> drop, info.high.max() >> drop, finest)


def _modulo(full: Format, int_bits: int | None) -> Format:
    """``full`` without the integer bits above ``int_bits``."""
    if int_bits is None or int_bits >= full.I:
        return full
    if int_bits + full.f <= 0:
        return Format(0, 0, 0)
    return Format(full.k, int_bits - full.k, full.f)


def _floored(full: Format, frac_bits: int | None) -> Format:
    """``full`` without the bits below ``2**-frac_bits``."""
    if frac_bits is None or frac_bits >= full.f:
        return full
    if full.k:
        # Flooring takes the smallest negative value to -1 LSB, however small it was.
        return Format(1, max(full.i, -frac_bits), frac_bits)
    return Format(0, full.i, frac_bits) if full.i + frac_bits > 0 else Format(0, 0, 0)


_ACCUMULATING = (ops.Dense, ops.Conv, ops.SumPool, ops.ScaleShift)


def formats(program: Program, seen: Mapping[str, Request] | None = None) -> dict[str, NodeFormats]:
    """The narrowest exact types of every node but the inputs.

    Computing each result exactly and then *truncating and wrapping* it (AP_TRN, AP_WRAP) into its
    ``result`` format changes no model output. ``accumulator`` has the result's integer bits and all
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


def _finest_term(node: Node, x: TensorInfo | None) -> int:
    """Fractional bits of terms that a constant sum does not show: 1/4 + 3/4 is a whole number.

    Only where an input is a constant other than zero can terms be finer than what they add up to.
    """
    if x is None or not np.any((x.low == x.high) & (x.low != 0)):
        return NO_STEP
    steps = [int(live_step(x).max(initial=NO_STEP))]
    if isinstance(node.op, ops.Dense | ops.Conv):
        kernel = int(constant_step(node.op.kernel).max(initial=NO_STEP))
        bias = NO_STEP if node.op.bias is None else int(constant_step(node.op.bias).max(initial=NO_STEP))
        steps = [steps[0] + kernel if kernel > NO_STEP else NO_STEP, bias]
    return max(steps)


def _formats_of(node: Node, request: Request, program: Program) -> NodeFormats:
    if node.info is None:
        raise PrecisionError(
            "the program has no bounds yet", where=node.layer, remedy="call precision.annotate(program) first"
        )
    full = produced(node.info)
    if isinstance(node.op, ops.Quantize):
        # Its type is its operation: rounding happens on assignment.
        return NodeFormats(result=full, accumulator=None)
    accumulator = None
    if isinstance(node.op, _ACCUMULATING):
        total = _modulo(full, request.int_bits)
        finest = _finest_term(node, program.by_name[node.inputs[0]].info)
        accumulator = Format(total.k, total.i, max(total.f, finest))
    result = _modulo(_floored(full, request.frac_bits), request.int_bits)
    return NodeFormats(result=result, accumulator=accumulator)
