"""Move quantizers towards the operation that computes, past those that only move values.

A quantizer with one format for the tensor gives the same result before or after a reshape, and, where it
never decreases, before or after a maximum. In front of them it can vanish into the result type of the
dot product, and everything behind it is stored in fewer bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hgqify.export.expand import expand
from hgqify.export.plan import info_of, quantizer_type
from hgqify.fixed import Overflow
from hgqify.precision import ops
from hgqify.precision.forward import infer
from hgqify.precision.program import Node, Program

_MOVING = (ops.Reshape, ops.Transpose, ops.Crop, ops.Pad, ops.Repeat)
_SATURATING = (Overflow.SAT, Overflow.SAT_SYM)


def prepare(program: Program) -> Program:
    """The same function as it is printed: in hls4ml's operations, every quantizer as early as it can stand.

    Args:
        program: annotated fixed program.
    """
    return hoist_quantizers(expand(program))


def hoist_quantizers(program: Program) -> Program:
    """The same function with every quantizer as early as it can stand.

    Values on edges inside the graph change, inputs and outputs do not.

    Args:
        program: annotated fixed program.
    """
    while (swapped := _swap_one(program)) is not None:
        program = swapped
    return program


def _passes(quantizer: Node, mover: Node) -> bool:
    if isinstance(mover.op, _MOVING):
        return True
    if not isinstance(mover.op, ops.MaxPool) or not isinstance(quantizer.op, ops.Quantize):
        return False
    return quantizer.op.overflow in _SATURATING or (
        # Nothing overflows, so wrapping never happens.
        quantizer_type(quantizer, mover).overflow is Overflow.WRAP
        and quantizer_type(
            replace(quantizer, op=replace(quantizer.op, overflow=Overflow.SAT)), mover
        ).overflow
        is Overflow.WRAP
    )


def _swap_one(program: Program) -> Program | None:
    for quantizer in program.nodes:
        if not isinstance(quantizer.op, ops.Quantize) or not quantizer.op.is_uniform:
            continue
        mover = program.by_name[quantizer.inputs[0]]
        alone = len(program.consumers[mover.name]) == 1 and mover.name not in program.outputs
        if not alone or not _passes(quantizer, mover):
            continue
        return _swapped(program, mover, quantizer)
    return None


def _swapped(program: Program, mover: Node, quantizer: Node) -> Program:
    """Quantizer first, then the mover; what read the quantizer now reads the mover."""
    source = program.by_name[mover.inputs[0]]
    op = quantizer.op
    if isinstance(op, ops.Quantize):  # one format, whatever the shape
        op = replace(op, k=np.asarray(np.max(op.k)), i=np.asarray(np.max(op.i)), f=np.asarray(np.max(op.f)))
    early = replace(quantizer, op=op, inputs=mover.inputs, shape=source.shape)
    early_info = infer(early.op, (info_of(source),), early.shape, where=early.layer)
    late = replace(mover, inputs=(early.name,))
    late = replace(late, info=infer(late.op, (early_info,), late.shape, where=late.layer))
    early = replace(early, info=early_info)
    nodes = []
    for node in program.nodes:
        if node is mover:
            nodes.append(early)
        elif node is quantizer:
            nodes.append(late)
        elif quantizer.name in node.inputs:
            inputs = tuple(mover.name if name == quantizer.name else name for name in node.inputs)
            nodes.append(replace(node, inputs=inputs))
        else:
            nodes.append(node)
    outputs = tuple(mover.name if name == quantizer.name else name for name in program.outputs)
    return replace(program, nodes=tuple(nodes), outputs=outputs)
