"""hls4ml's own type inference on a fixed program, and how its types compare with ours.

hls4ml gets the same network: our layers, every quantizer as its `FixedPointQuantizer`, every precision
'auto', its `bit_exact` pass on. Depthwise convolutions and sums over windows are printed as convolutions with
zeros, which the pass knows; it has no rule for depthwise kernels. Scales are not folded into the sums before
them, which would make it another network.
"""

import contextlib
import io
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from stored import stored

from hgqify.export.backends import BACKENDS
from hgqify.export.context import Context, renamed
from hgqify.export.kernels import register
from hgqify.export.plan import Plan, prepare
from hgqify.export.printing import HANDLERS, print_program
from hgqify.export.project import _as_dict
from hgqify.export.spec import LayerSpec
from hgqify.export.stimuli import random_inputs
from hgqify.export.types import HlsType
from hgqify.fixed import Overflow, Rounding
from hgqify.precision import Node, Program
from hgqify.precision.ops import Concatenate, MaxPool, Quantize, Table
from hgqify.reference import run


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One type, ours and hls4ml's; widths in bits."""

    layer: str
    kind: str
    ours: int
    theirs: int
    our_type: HlsType
    their_type: HlsType


@dataclass(kw_only=True)
class Widths:
    """Types of one network.

    Attributes:
        pairs: types that both have.
        unmatched: ours that hls4ml has no counterpart of, with the reason.
        failure: why hls4ml gave no types at all, None if it did.
        too_narrow: pairs in which ours is the wider one because hls4ml's is not exact: stored in its type,
            the tensor changes an output for some input.
    """

    pairs: list[Pair] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    failure: str | None = None
    too_narrow: list[Pair] = field(default_factory=list)

    @property
    def wider(self) -> list[Pair]:
        """Where ours is the wider one, and hls4ml's is not proved wrong."""
        return [pair for pair in self.pairs if pair.ours > pair.theirs and pair not in self.too_narrow]

    def bits(self, kind: str) -> tuple[int, int]:
        """Sum of the widths of one kind of type, ours and hls4ml's."""
        chosen = [pair for pair in self.pairs if pair.kind == kind]
        return sum(p.ours for p in chosen), sum(p.theirs for p in chosen)


def _quantizer(node: Node, context: Context) -> LayerSpec:
    op = node.op
    shape = (1, *node.shape)
    uniform = (1,) * len(shape)
    size = uniform if op.is_uniform else shape
    k, width, integer = (
        np.broadcast_to(a if not op.is_uniform else np.ravel(a)[0], size).astype(np.int16)
        for a in (op.k, op.k + op.i + op.f, op.k + op.i)
    )
    alive = width > 0
    return context.spec(
        node,
        "FixedPointQuantizer",
        attributes={
            "mask_kbi": tuple(np.where(alive, a, 0) for a in (k, width, integer)),
            "RND": op.rounding.value,
            "SAT": op.overflow.value,
            "fusible": None,
            "overrides": {},
        },
    )


def _table(node: Node, context: Context) -> LayerSpec:
    values = node.op.entries.values
    size = 1 << (values.size - 1).bit_length()
    return context.spec(
        node,
        "UnaryLUT",
        attributes={
            "activation": "unary_lut",
            "table_data": np.concatenate([values, np.zeros(size - values.size)]),
            "n_in": int(np.prod(node.shape)),
        },
    )


def _dense_window(spec: LayerSpec) -> LayerSpec:
    """A depthwise convolution as a plain one."""
    if not spec.kind.startswith("Depthwise"):
        return spec
    weights = spec.attributes["weight_data"][..., 0]
    channels = weights.shape[-1]
    full = np.zeros((*weights.shape, channels))
    full[..., np.arange(channels), np.arange(channels)] = weights
    gone = ("depthwise_data", "depth_multiplier")
    attributes = {k: v for k, v in spec.attributes.items() if k not in gone} | {"weight_data": full}
    return renamed(spec, kind=spec.kind.removeprefix("Depthwise"), attributes=attributes)


def _padding_pool(node: Node, op: MaxPool, context: Context) -> LayerSpec:
    """Maximum pooling that pads by itself: the pass has no rule for padding layers."""
    spec = HANDLERS[MaxPool](node, context)[-1]
    attributes = dict(spec.attributes)
    axes = ("height", "width")[-len(op.window) :]
    sides = {"height": ("top", "bottom"), "width": ("left", "right")}
    for axis, size, amounts in zip(axes, context.shape_of(node.inputs[0]), op.padding, strict=False):
        attributes[f"in_{axis}"] = size
        attributes |= {f"pad_{side}": n for side, n in zip(sides[axis], amounts, strict=True)}
    if len(axes) == 1:
        attributes["n_in"] = attributes["in_width"]
    return renamed(spec, attributes=attributes, inputs=(context.tensors[node.inputs[0]],))


def their_layers(plan: Plan) -> list[LayerSpec]:
    """Every node as hls4ml's own kind of layer, no quantizer absorbed."""
    tensors: dict[str, str] = {}
    context = Context(plan=plan, backend=BACKENDS["Vitis"], tensors=tensors)
    layers: list[LayerSpec] = []
    for node in plan.program.nodes:
        if isinstance(node.op, Quantize):
            specs = [_quantizer(node, context)]
        elif isinstance(node.op, Table):
            specs = [_table(node, context)]
        elif isinstance(node.op, MaxPool):
            specs = [_padding_pool(node, node.op, context)]
        else:
            specs = [_dense_window(spec) for spec in HANDLERS[type(node.op)](node, context)]
        if isinstance(node.op, Concatenate):
            # Its pass counts the axis without the batch where it is positive, its layers count it in.
            axis = node.op.axis - len(node.shape)
            specs = [renamed(spec, attributes={**spec.attributes, "axis": axis}) for spec in specs]
        layers += specs
        tensors[node.name] = specs[-1].name
    return layers


def their_graph(plan: Plan, folder: Path | None = None) -> Any:
    """hls4ml's graph with the types that it inferred."""
    from hls4ml.backends import get_backend
    from hls4ml.model.graph import ModelGraph

    register("Vitis")
    layers = their_layers(plan)
    names = {spec.node: spec.name for spec in layers if spec.node is not None}
    config = get_backend("Vitis").create_initial_config(io_type=plan.io_type)
    config |= {
        "OutputDir": str(folder or tempfile.gettempdir()),
        "ProjectName": "myproject",
        "Backend": "Vitis",
        "HLSConfig": {
            "Model": {
                "Precision": {"default": "ap_fixed<16,6>"},
                "ReuseFactor": 1,
                "Strategy": "Latency",
                "BitExact": True,
            },
            "LayerName": {
                spec.name: {
                    "Precision": dict.fromkeys((*spec.types, "accum", "weight", "bias"), "auto")
                    # A given type keeps scales from being folded; the pass replaces it like any other.
                    | {"result": "ap_fixed<99,50>"}
                }
                for spec in layers
            },
        },
    }
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return ModelGraph.from_layer_list(
            config,
            [_as_dict(spec) for spec in layers],
            [names[name] for name in plan.program.inputs],
            list(dict.fromkeys(names[name] for name in plan.program.outputs)),
        )


def compare_types(program: Program, io_type: str) -> Widths:
    """Our types and hls4ml's for one program."""
    printed = print_program(prepare(program), io_type)
    plan = printed.plan
    found = Widths()
    try:
        graph = their_graph(plan)
    except Exception as error:
        found.failure = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if "only supported with IOType=io_parallel" not in found.failure:
            return found
        # The pass has done its work by then; its types do not depend on the interface.
        found.failure = None
        graph = their_graph(replace(plan, io_type="io_parallel"))
    theirs = {layer.name: layer for layer in graph.get_layers()}
    known = {other.name for other in their_layers(plan)}
    absorbs = {producer: quantizer for quantizer, producer in plan.absorbed.items()}
    for spec in printed.layers:
        if spec.node is None or spec.name not in known:
            found.unmatched.append(f"{spec.name}: a layer that only our project has")
            continue
        layer = theirs.get(spec.name)
        for kind, held in spec.types.items():
            if kind == "result":
                # Ours holds the quantizer's value where it absorbed one; hls4ml's does where it fused one.
                value = absorbs.get(spec.node, spec.node)
                holder = theirs.get(value.lower()) or (layer if _fused(value, theirs, plan) else None)
                if value == spec.node and _fused_reader(value, theirs, plan):
                    found.unmatched.append(f"{spec.name} result: hls4ml keeps the quantized value only")
                    continue
                other = None if holder is None else holder.get_output_variable().type.precision
            else:
                name = {"table": "table_t"}.get(kind, f"{kind}_t")
                other = None if layer is None else layer.attributes.get(name)
                other = None if other is None else other.precision
            if other is None or not hasattr(other, "width"):
                found.unmatched.append(f"{spec.name} {kind}: hls4ml has no such type")
                continue
            pair = Pair(
                layer=spec.name,
                kind=kind,
                ours=held.width,
                theirs=int(other.width),
                our_type=held,
                their_type=_as_type(other),
            )
            found.pairs.append(pair)
            if pair.ours > pair.theirs and kind == "result":
                value = absorbs.get(spec.node, spec.node)
                if _changes_an_output(program, io_type, value, pair.their_type):
                    found.too_narrow.append(pair)
    return found


def _as_type(precision: Any) -> HlsType:
    """A type of hls4ml's."""
    k = int(bool(precision.signed))
    integer, width = int(precision.integer), int(precision.width)
    return HlsType(
        k=k,
        i=integer - k,
        f=width - integer,
        rounding=Rounding(precision.rounding_mode.name),
        overflow=Overflow(precision.saturation_mode.name),
    )


def _changes_an_output(program: Program, io_type: str, node: str, held: HlsType) -> bool:
    """Whether outputs differ for some of many random inputs if one tensor is stored in another type."""
    prepared = prepare(program)
    other = stored(prepared, io_type, {node: held})
    for seed in range(5):
        inputs = list(random_inputs(program, 200, seed=seed))
        pairs = zip(run(program, inputs).values, run(other, inputs).values, strict=True)
        if any(np.any(a != b) for a, b in pairs):
            return True
    return False


def _fused(value: str, theirs: dict[str, Any], plan: Plan) -> bool:
    """Whether hls4ml removed a quantizer, so that its producer holds the value."""
    return isinstance(plan.program.by_name[value].op, Quantize) and value.lower() not in theirs


def _fused_reader(name: str, theirs: dict[str, Any], plan: Plan) -> bool:
    """Whether hls4ml fused the reader of a tensor into it."""
    return any(_fused(reader.name, theirs, plan) for reader in plan.program.consumers[name])
