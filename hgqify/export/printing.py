"""A fixed program as hls4ml layers: a registry of one handler per operation, and the walk over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hgqify.errors import ExportError
from hgqify.export import handlers_elementwise as elementwise
from hgqify.export import handlers_linear as linear
from hgqify.export import handlers_shape as shape
from hgqify.export.context import Context, renamed
from hgqify.export.plan import Plan, keeps_order, make_plan
from hgqify.export.spec import LayerSpec
from hgqify.export.types import HlsType
from hgqify.precision import ops
from hgqify.precision.program import Node, Program

MAX_COPIES = 7

Handler = Callable[[Node, Context], list[LayerSpec]]


# What hls4ml calls weights, tensors, configurations and types; an input is called by its layer's name.
_TAKEN = re.compile(r"(.*_t|.*_ap|loaded_weights|([a-z]|layer|\w*config)\d+(_.*)?)")


def _input(node: Node, context: Context) -> list[LayerSpec]:
    spec = context.spec(node, "InputLayer", attributes={"input_shape": list(node.shape)})
    return [renamed(spec, name=f"{spec.name}_port") if _TAKEN.fullmatch(spec.name) else spec]


HANDLERS: Mapping[type[ops.Op], Handler] = MappingProxyType(
    {
        ops.Input: _input,
        ops.Quantize: elementwise.quantize,
        ops.Dense: linear.dense,
        ops.Conv: linear.conv,
        ops.ScaleShift: linear.scale_shift,
        ops.SumPool: linear.sum_pool,
        ops.Add: elementwise.merge,
        ops.Subtract: elementwise.merge,
        ops.Multiply: elementwise.merge,
        ops.Maximum: elementwise.merge,
        ops.Minimum: elementwise.merge,
        ops.Clip: elementwise.clip,
        ops.LeakyRelu: elementwise.leaky_relu,
        ops.Table: elementwise.table,
        ops.MaxPool: shape.max_pool,
        ops.Reshape: shape.reshape,
        ops.Transpose: shape.transpose,
        ops.Concatenate: shape.concatenate,
        ops.Pad: shape.pad,
        ops.Crop: shape.crop,
        ops.Repeat: shape.repeat,
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Printed:
    """A program ready for hls4ml.

    Attributes:
        layers: in topological order.
        inputs, outputs: names of the layers that are the model's inputs and outputs, in order.
        plan: the types behind it.
    """

    layers: tuple[LayerSpec, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    plan: Plan


def print_program(program: Program, io_type: str, accumulators: Mapping[str, HlsType]) -> Printed:
    """Turn every node into hls4ml layers.

    Args:
        program: annotated fixed program.
        io_type: 'io_parallel' or 'io_stream'.
        accumulators: exact accumulator types by node name; nodes without one use their exact result.

    Raises:
        ExportError: lists every node that hls4ml cannot print for this interface.
    """
    plan = make_plan(program, io_type)
    problems = _too_many_readers(program) if plan.streams else []
    tensors: dict[str, str] = {}
    layers: list[LayerSpec] = []
    used: set[str] = set()
    context = Context(plan=plan, accumulators=accumulators, tensors=tensors)
    for node in program.nodes:
        if node.name in plan.absorbed:
            tensors[node.name] = tensors[plan.absorbed[node.name]]
            continue
        try:
            specs = HANDLERS[type(node.op)](node, context)
        except ExportError as error:
            problems.append(str(error))
            tensors[node.name] = node.name.lower()
            continue
        for spec in specs:
            if spec.name in used:
                raise ExportError("two nodes have one name", where=node.layer, received=spec.name)
            used.add(spec.name)
        layers += specs
        tensors[node.name] = specs[-1].name
    if problems:
        raise ExportError(
            f"{len(problems)} operation(s) cannot be exported with {io_type}:\n  " + "\n  ".join(problems)
        )
    roots = [_root(name, plan) for name in program.outputs]
    outputs = []
    for position, name in enumerate(program.outputs):
        alone = roots.count(roots[position]) == 1 and not isinstance(
            program.by_name[roots[position]].op, ops.Input
        )
        outputs.append(_output(name, position, tensors, layers, context, alone=alone))
    return Printed(
        layers=tuple(layers),
        inputs=tuple(tensors[n] for n in program.inputs),
        outputs=tuple(outputs),
        plan=plan,
    )


def _too_many_readers(program: Program) -> list[str]:
    """A stream is read once; hls4ml copies it at most `MAX_COPIES` times."""
    return [
        str(
            ExportError(
                f"hls4ml copies a stream at most {MAX_COPIES} times",
                where=node.layer,
                received=f"{readers} readers",
                remedy="export with io_parallel, or let fewer layers read this tensor",
            )
        )
        for node in program.nodes
        if (readers := len(program.consumers[node.name]) + program.outputs.count(node.name)) > MAX_COPIES
    ]


def _root(name: str, plan: Plan) -> str:
    """The node whose array the firmware hands out for ``name``: hls4ml drops a last reshape of an array."""
    node = plan.program.by_name[name]
    if name in plan.absorbed:
        return _root(plan.absorbed[name], plan)
    if not plan.streams and isinstance(node.op, (ops.Reshape, ops.Transpose)):
        source = node.inputs[0]
        if isinstance(node.op, ops.Reshape) or keeps_order(node.op, plan.program.by_name[source].shape):
            return _root(source, plan)
    return name


def _output(
    name: str,
    position: int,
    tensors: Mapping[str, str],
    layers: list[LayerSpec],
    context: Context,
    *,
    alone: bool,
) -> str:
    """Name of the layer that is the model's output number ``position``.

    A tensor that is also consumed, or an input, or an output twice (not ``alone``), gets a layer of its
    own, one bit wider so that hls4ml keeps it apart from the tensor the consumers read.
    """
    tensor = tensors[name]
    if alone and not any(tensor == other for spec in layers for other in spec.inputs):
        return tensor
    held = context.type_of(name)
    wider = HlsType(k=held.k, i=held.i + 1, f=held.f)
    spec = renamed(
        context.cast(context.plan.program.by_name[name]),
        name=f"{tensor}_out{position}",
        inputs=(tensor,),
        types={"result": wider},
        node=name,
    )
    layers.append(spec)
    return spec.name
