"""What the kernels of hls4ml assign to their result type, and whether ``ap_fixed`` can round it.

Its headers abort where all bits of a number lie more than one place below the least significant bit that it
is rounded to: f_source - f_target > W_source.
"""

from __future__ import annotations

from collections.abc import Mapping

from hgqify.export.types import HlsType, constant_type
from hgqify.fixed import Rounding
from hgqify.precision import ops
from hgqify.precision.program import Node


def missing_bits(held: HlsType, rounding: Rounding, frac: int) -> int:
    """Integer bits that a number of type ``held`` lacks to be rounded to ``2**-frac``; at most 0: none."""
    return 0 if rounding is Rounding.TRN else held.f - frac - held.width


def operands(node: Node, result: Mapping[str, HlsType], accumulator: Mapping[str, HlsType]) -> list[HlsType]:
    """Types of the numbers that the kernel of a node assigns to its result; at least so wide.

    Args:
        node: the operation.
        result: types of the tensors it reads.
        accumulator: types of sums, by node.
    """
    op = node.op
    reads = [result[name] for name in node.inputs]
    if isinstance(op, ops.Dense | ops.Conv | ops.SumPool | ops.Matmul):
        return [accumulator[node.name]]
    if isinstance(op, ops.ScaleShift):
        return [_product(reads[0], constant_type(op.scale))]
    if isinstance(op, ops.Add | ops.Subtract):
        k, i, f = (max(getattr(t, part) for t in reads) for part in "kif")
        return [HlsType(k=k, i=i + 1, f=f)]
    if isinstance(op, ops.Multiply):
        return [_product(*reads)]
    if isinstance(op, ops.LeakyRelu):
        return [reads[0], _product(reads[0], constant_type(op.slope))]
    if isinstance(op, ops.Clip):
        return reads + [constant_type(c) for c in (op.low, op.high) if c is not None]
    return reads


def _product(a: HlsType, b: HlsType) -> HlsType:
    """The type of a product in ``ap_fixed``: all bits of both."""
    return HlsType(k=a.k | b.k, i=a.width + b.width - (a.k | b.k) - a.f - b.f, f=a.f + b.f)
