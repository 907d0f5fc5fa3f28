"""Forward propagation: what every tensor of a program can hold, element by element.

Bounds follow from the actual integer constants, not from widths: a dot product is bounded by the sums over
its positive and its negative weights, a table by the image of the codes that reach it. Inputs of an
operation are taken as independent, so bounds of one operation are attained, those of a graph are safe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hgqify.errors import PrecisionError
from hgqify.precision import forward_elementwise as elementwise
from hgqify.precision import forward_linear as linear
from hgqify.precision import forward_matmul as matmul
from hgqify.precision import forward_structure as structure
from hgqify.precision import ops
from hgqify.precision.program import Node, Program, TensorInfo

Rule = Callable[[Any, tuple[TensorInfo, ...], tuple[int, ...], str | None], TensorInfo]

_RULES: dict[type[ops.Op], Rule] = {
    ops.Quantize: elementwise.quantize,
    ops.Dense: linear.dense,
    ops.Conv: linear.conv,
    ops.SumPool: linear.sum_pool,
    ops.ScaleShift: elementwise.scale_shift,
    ops.Add: elementwise.add,
    ops.Subtract: elementwise.subtract,
    ops.Multiply: elementwise.multiply,
    ops.Matmul: matmul.matmul,
    ops.Maximum: elementwise.maximum,
    ops.Minimum: elementwise.minimum,
    ops.Clip: elementwise.clip,
    ops.LeakyRelu: elementwise.leaky_relu,
    ops.Table: elementwise.table,
    ops.EdgeTables: elementwise.edge_tables,
    ops.MaxPool: structure.max_pool,
    ops.Reshape: structure.reshape,
    ops.Transpose: structure.transpose,
    ops.Concatenate: structure.concatenate,
    ops.Pad: structure.pad,
    ops.Crop: structure.crop,
    ops.Repeat: structure.repeat,
}


def infer(
    op: ops.Op, inputs: tuple[TensorInfo, ...], shape: tuple[int, ...], *, where: str | None = None
) -> TensorInfo:
    """Exact bounds and steps of what ``op`` gives.

    Args:
        op: any operation but `Input`.
        inputs: info of its operands; none for a `Quantize` of a real model input.
        shape: of the result, without the batch axis.
        where: the layer, for messages.

    Raises:
        PrecisionError: codes beyond 62 bits, a table that does not cover what reaches it, or an
            operation without a rule.
    """
    rule = _RULES.get(type(op))
    if rule is None:
        raise PrecisionError(
            "no transfer rule for this operation",
            where=where,
            received=type(op).__name__,
            remedy="use the operations of hgqify.precision.ops",
        )
    return rule(op, inputs, shape, where)


def annotate(program: Program) -> Program:
    """The program with `info` on every node but the inputs.

    Raises:
        PrecisionError: as `infer`, or a model input read by anything but a `Quantize`.
    """
    done: dict[str, Node] = {}
    for node in program.nodes:
        if isinstance(node.op, ops.Input):
            done[node.name] = replace(node, info=None)
            continue
        infos = tuple(info for name in node.inputs if (info := done[name].info) is not None)
        if len(infos) < len(node.inputs) and not isinstance(node.op, ops.Quantize):
            raise PrecisionError(
                "a real model input reaches an operation without being quantized",
                where=node.layer,
                received=type(node.op).__name__,
                remedy="put a Quantize layer directly after the input, or give this layer an input quantizer",
            )
        done[node.name] = replace(node, info=infer(node.op, infos, node.shape, where=node.layer))
    return replace(program, nodes=tuple(done.values()))
