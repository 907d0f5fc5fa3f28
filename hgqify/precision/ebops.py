"""Effective bit operations of a fixed program (HGQ, arXiv 2405.00645, section III).

    EBOPs = sum over all multiplications of bits(a) * bits(b)

The bits of a tensor element are i + f of the quantizer that gives it (sign excluded; of a minifloat all
k + e + m that it is stored in), or, where something else gives it, those its exact bounds need; the bits of a
constant are its span, which of a minifloat is at most m + 1: its exponent is a matter of wiring. Products
with padded zeros do not exist; additions, comparisons, tables and shifts count nothing; but a layer
made of tables only counts these (`hgqify.layers.ebops.table_ebops`).
"""

from __future__ import annotations

import math

import numpy as np

from hgqify.errors import PrecisionError
from hgqify.fixed import minimal_bits, span
from hgqify.fixed import operand_bits as fixed_operand_bits
from hgqify.layers.ebops import table_ebops
from hgqify.precision import ops
from hgqify.precision.forward_linear import product_of
from hgqify.precision.info import live
from hgqify.precision.program import Node, Program


def count(program: Program) -> dict[str, int]:
    """Exact EBOPs by Keras layer, for all layers that multiply; several calls of a layer add up.

    Raises:
        PrecisionError: the program is not annotated.
    """
    result: dict[str, int] = {}
    for name, ebops in count_by_node(program).items():
        layer = program.by_name[name].layer
        result[layer] = result.get(layer, 0) + ebops
    return result


def count_by_node(program: Program) -> dict[str, int]:
    """Exact EBOPs of every node that multiplies.

    Raises:
        PrecisionError: the program is not annotated.
    """
    kinds = (ops.Dense, ops.Conv, ops.ScaleShift, ops.Multiply, ops.Matmul, ops.EdgeTables)
    return {node.name: _count(program, node) for node in program.nodes if isinstance(node.op, kinds)}


def total(program: Program) -> int:
    """Sum of `count`."""
    return sum(count(program).values())


def operand_bits(program: Program, name: str) -> np.ndarray:
    """Bits without sign of every element of a tensor, int64 of its shape.

    Raises:
        PrecisionError: the program is not annotated.
    """
    node = program.by_name[name]
    if isinstance(node.op, ops.Quantize):
        bits = fixed_operand_bits(node.op.k, node.op.i, node.op.f, node.op.digits)
        return np.broadcast_to(bits, node.shape).astype(np.int64)
    if isinstance(node.op, ops.Transpose):
        return operand_bits(program, node.inputs[0]).transpose(node.op.perm)
    if isinstance(node.op, ops.Reshape):
        return operand_bits(program, node.inputs[0]).reshape(node.shape)
    info = node.info
    if info is None:
        raise PrecisionError(
            "the program has no bounds yet", where=node.layer, remedy="call precision.annotate(program) first"
        )
    zeros = np.where(live(info), np.clip(info.frac - info.step, 0, 62), 0)
    _, bits = minimal_bits(info.low >> zeros, info.high >> zeros, 0)
    return bits


def _count(program: Program, node: Node) -> int:
    op, bits = node.op, operand_bits(program, node.inputs[0])
    if isinstance(op, ops.EdgeTables):
        return table_ebops(op.address_bits, op.output_bits, math.prod(node.shape[:-2]))
    if isinstance(op, ops.Multiply):
        other = operand_bits(program, node.inputs[1])
        return int(np.sum(np.broadcast_to(bits * other, node.shape)))
    if isinstance(op, ops.Matmul):
        other = operand_bits(program, node.inputs[1])
        # Every row of one meets every row of the other.
        return int(np.sum(bits.sum(axis=1) * other.sum(axis=1)))
    if isinstance(op, ops.ScaleShift):
        spans = span(op.scale.codes)
        # Without a shift it is an average; its powers of two are wires.
        spans = np.where((spans == 1) & (op.shift is None), 0, spans)
        return int(np.sum(np.broadcast_to(bits * spans, node.shape)))
    if not isinstance(op, (ops.Dense, ops.Conv)):
        return 0
    # The layer's own operation on bits instead of values; float64 is exact below 2**53.
    products = product_of(op)(bits[None].astype(np.float64), span(op.kernel.codes).astype(np.float64))
    return int(products.sum())
