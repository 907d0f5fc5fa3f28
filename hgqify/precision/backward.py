"""Backward propagation: what the consumers of every tensor can see of it, element by element.

Model outputs are seen whole. See `precision/request.py` for what "seen" means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hgqify.errors import PrecisionError
from hgqify.precision import backward_elementwise as elementwise
from hgqify.precision import backward_linear as linear
from hgqify.precision import backward_structure as structure
from hgqify.precision import ops
from hgqify.precision.program import Program, TensorInfo
from hgqify.precision.request import Request, nothing, whole

Rule = Callable[[Any, list[TensorInfo], int, Request], Request]

_RULES: dict[type[ops.Op], Rule] = {
    ops.Quantize: elementwise.quantize,
    ops.Dense: linear.dense,
    ops.Conv: linear.conv,
    ops.SumPool: linear.sum_pool,
    ops.ScaleShift: elementwise.scale_shift,
    ops.Add: elementwise.add,
    ops.Subtract: elementwise.add,
    ops.Multiply: elementwise.multiply,
    ops.Matmul: linear.matmul,
    ops.Maximum: elementwise.order,
    ops.Minimum: elementwise.order,
    ops.Clip: elementwise.clip,
    ops.LeakyRelu: elementwise.sees_all,
    ops.Table: elementwise.sees_all,
    ops.EdgeTables: elementwise.sees_all,
    ops.MaxPool: structure.max_pool,
    ops.Reshape: structure.reshape,
    ops.Transpose: structure.transpose,
    ops.Concatenate: structure.concatenate,
    ops.Pad: structure.pad,
    ops.Crop: structure.crop,
    ops.Repeat: structure.repeat,
}


def requests(program: Program) -> dict[str, Request]:
    """What the consumers of each tensor can see. Nothing, of a tensor that nobody reads.

    Raises:
        PrecisionError: the program is not annotated.
    """
    seen = {
        node.name: (whole if node.name in program.outputs else nothing)(node.shape) for node in program.nodes
    }
    for node in reversed(program.nodes):
        if isinstance(node.op, ops.Input):
            continue
        if node.info is None:
            raise PrecisionError(
                "the program has no bounds yet",
                where=node.layer,
                remedy="call precision.annotate(program) first",
            )
        infos = [info for name in node.inputs if (info := program.by_name[name].info) is not None]
        if len(infos) < len(node.inputs):
            continue  # a quantizer of a real input asks nothing of codes
        rule = _RULES.get(type(node.op))
        for index, name in enumerate(node.inputs):
            shape = infos[index].shape
            asked = whole(shape) if rule is None else rule(node.op, infos, index, seen[node.name])
            seen[name] = seen[name].union(asked)
    return seen
