"""Lowering of products of two tensors: both as matrices, rows by what is summed, the result turned back."""

from __future__ import annotations

import math

from hgqify import layers
from hgqify.equations import matrices
from hgqify.precision.laying import laid
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import Matmul, Reshape, Transpose


def register(registry: Registry) -> None:
    """Enters this family."""
    registry.register(layers.QEinsum)(einsum)


def einsum(call: LayerLowering) -> str:
    """``QEinsum``: a batch of matrix products."""
    equation = call.layer.sample_equation
    terms, result = equation.split("->")
    a, b = terms.split(",")
    parts = matrices(equation)
    x, y = call.quantized_inputs()
    size = {
        **dict(zip(a, call.shape_of(x), strict=True)),
        **dict(zip(b, call.shape_of(y), strict=True)),
    }

    def count(labels: str) -> int:
        return math.prod(size[label] for label in labels)

    groups, rows, columns, summed = map(count, (parts.batch, parts.rows, parts.columns, parts.summed))
    left = laid(call, x, a, parts.batch + parts.rows + parts.summed, (groups, rows, summed), "a")
    right = laid(call, y, b, parts.batch + parts.columns + parts.summed, (groups, columns, summed), "b")
    order = parts.batch + parts.rows + parts.columns
    shape = tuple(size[label] for label in order)
    direct = order == result and shape == (groups, rows, columns)
    z = call.add(Matmul(), left, right, shape=(groups, rows, columns), role="" if direct else "product")
    if shape != (groups, rows, columns):
        z = call.add(Reshape(), z, shape=shape, role="split")
    if order != result:
        z = call.add(Transpose(perm=tuple(order.index(label) for label in result)), z, shape=call.shape)
    return call.quantize(z, call.layer.oq, "oq")
