"""A fixed program as hls4ml layers: a registry of one handler per operation, and the walk over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hgqify.errors import ExportError
from hgqify.export import handlers_elementwise as elementwise
from hgqify.export import handlers_linear as linear
from hgqify.export import handlers_shape as shape
from hgqify.export import handlers_tables as tables
from hgqify.export.backends import BACKENDS, Backend
from hgqify.export.context import Context, renamed
from hgqify.export.limits import refused
from hgqify.export.plan import Plan, make_plan
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
    return [renamed(spec, name=context.apart(f"{spec.name}_port")) if _TAKEN.fullmatch(spec.name) else spec]


HANDLERS: Mapping[type[ops.Op], Handler] = MappingProxyType(
    {
        ops.Input: _input,
        ops.Quantize: elementwise.quantize,
        ops.Dense: linear.dense,
        ops.Conv: linear.conv,
        ops.Matmul: linear.matmul,
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
        ops.EdgeTables: tables.edge_tables,
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


def print_program(program: Program, io_type: str, *, backend: Backend = BACKENDS["Vitis"]) -> Printed:
    """Turn every node into hls4ml layers.

    Args:
        program: annotated fixed program.
        io_type: 'io_parallel' or 'io_stream'.
        backend: what the project is for.

    Raises:
        ExportError: lists every node that hls4ml cannot print for this interface and backend.
    """
    plan = make_plan(program, io_type)
    problems = _too_many_readers(program) if plan.streams else []
    tensors: dict[str, str] = {}
    layers: list[LayerSpec] = []
    used: set[str] = set()
    taken = frozenset(node.name.lower() for node in program.nodes)
    context = Context(plan=plan, backend=backend, tensors=tensors, taken=taken)
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
    problems += refused(program, plan, layers, backend)
    if problems:
        raise ExportError(
            f"{len(problems)} operation(s) cannot be exported with {io_type} for {backend.name}:\n  "
            + "\n  ".join(problems)
        )
    arrays = _arrays(layers, streams=plan.streams)
    roots = [arrays[tensors[name]] for name in program.outputs]
    ports = {tensors[name] for name in program.inputs}
    read = {
        arrays[source] for spec in layers for source in spec.inputs if arrays[spec.name] != arrays[source]
    }
    outputs = []
    for position, name in enumerate(program.outputs):
        root = roots[position]
        alone = roots.count(root) == 1 and root not in ports and root not in read
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


def _arrays(layers: Iterable[LayerSpec], *, streams: bool) -> dict[str, str]:
    """For every tensor the one whose array it is: hls4ml drops reshapes of arrays, and casts to the same."""
    found: dict[str, str] = {}
    held: dict[str, HlsType] = {}
    for spec in layers:
        held[spec.name] = spec.types["result"]
        source = spec.inputs[0] if spec.inputs else spec.name
        cast = spec.kind == "Activation" and spec.attributes["activation"] == "linear"
        dropped = (cast and held[source] == held[spec.name]) or (spec.kind == "Reshape" and not streams)
        found[spec.name] = found[source] if dropped else spec.name
    return found


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
    if alone:
        return tensor
    held = context.type_of(name)
    wider = HlsType(k=held.k, i=held.i + 1, f=held.f)
    spec = renamed(
        context.cast(context.plan.program.by_name[name]),
        name=context.apart(f"{tensor}_out{position}"),
        inputs=(tensor,),
        types={"result": wider},
        node=name,
    )
    layers.append(spec)
    return spec.name
