"""Move quantizers towards the operation that computes, past those that only move values.

A quantizer with one format for the tensor gives the same result before or after a reshape, and, where it
never decreases, before or after a maximum. In front of them it can vanish into the result type of the
dot product, and everything behind it is stored in fewer bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hgqify.export.quantizer_types import beyond, info_of, quantize_of
from hgqify.fixed import Overflow
from hgqify.precision import ops
from hgqify.precision.forward import infer
from hgqify.precision.program import Node, Program

_MOVING = (ops.Reshape, ops.Transpose, ops.Crop, ops.Pad, ops.Repeat)
_SATURATING = (Overflow.SAT, Overflow.SAT_SYM)


def hoist_quantizers(program: Program) -> Program:
    """The same function with every quantizer as early as it can stand.

    Values on edges inside the graph change, inputs and outputs do not.

    Args:
        program: annotated fixed program.
    """
    while (swapped := _swap_one(program)) is not None:
        program = swapped
    return program


def _passes(quantizer: Node, mover: Node, program: Program) -> bool:
    if isinstance(mover.op, _MOVING):
        return True
    if not isinstance(mover.op, ops.MaxPool):
        return False
    # Where nothing overflows, wrapping never happens: not even to what cannot win the maximum.
    op = _one_format(quantize_of(quantizer))
    sides = beyond(replace(quantizer, op=op), program.by_name[mover.inputs[0]])
    return op.overflow in _SATURATING or not any(np.any(side) for side in sides)


def _one_format(op: ops.Quantize) -> ops.Quantize:
    """A uniform quantizer for any shape."""
    k, i, f = (np.asarray(np.max(part)) for part in (op.k, op.i, op.f))
    digits = None if op.digits is None else np.asarray(np.max(op.digits))
    return replace(op, k=k, i=i, f=f, digits=digits)


def _swap_one(program: Program) -> Program | None:
    for quantizer in program.nodes:
        if not isinstance(quantizer.op, ops.Quantize) or not quantizer.op.is_uniform:
            continue
        mover = program.by_name[quantizer.inputs[0]]
        alone = len(program.consumers[mover.name]) == 1 and mover.name not in program.outputs
        if not alone or not _passes(quantizer, mover, program):
            continue
        return _swapped(program, mover, quantizer)
    return None


def _swapped(program: Program, mover: Node, quantizer: Node) -> Program:
    """Quantizer first, then the mover; what read the quantizer now reads the mover."""
    source = program.by_name[mover.inputs[0]]
    op = _one_format(quantize_of(quantizer))
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
