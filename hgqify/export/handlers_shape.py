"""hls4ml layers that move values without changing them, and maximum pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.context import Context, renamed
from hgqify.export.plan import keeps_order
from hgqify.export.quantizer_types import info_of
from hgqify.export.spec import LayerSpec
from hgqify.export.types import HlsType, constant_type, smallest_type
from hgqify.precision import ops
from hgqify.precision.ops import Constant
from hgqify.precision.program import Node

_AXES = ("height", "width")
_SIDES = {"height": ("top", "bottom"), "width": ("left", "right")}


def reshape(node: Node, context: Context) -> list[LayerSpec]:
    """Row-major reshape; only the bookkeeping changes, and for streams the packs (one per place).

    hls4ml leaves a flattened stream in the packs it had, which only its dense layer can read, and repacks
    only where one size is a multiple of the other. Elsewhere our own kernel regroups.
    """
    kind, attributes = "Reshape", {"target_shape": list(node.shape)}
    if context.plan.streams:
        program = context.plan.program
        before, after = context.shape_of(node.inputs[0])[-1], node.shape[-1]
        if len(node.shape) == 1:
            read_by_dense = node.name not in program.outputs and all(
                isinstance(reader.op, ops.Dense) for reader in program.consumers[node.name]
            )
            regroups = before != after and not read_by_dense
        else:
            # Copies of hls4ml's own repacked stream have its default type.
            copied = len(program.consumers[node.name]) + program.outputs.count(node.name) > 1
            regroups = copied or max(before, after) % min(before, after) != 0
        if regroups:
            kind, attributes = "HgqifyRegroup", attributes | {"size": math.prod(node.shape)}
    return [context.spec(node, kind, attributes=attributes)]


def transpose(node: Node, context: Context) -> list[LayerSpec]:
    """Permutation of the axes."""
    op = node.op
    if not isinstance(op, ops.Transpose):
        raise TypeError(type(op))
    shape = context.shape_of(node.inputs[0])
    if context.plan.streams:
        if op.perm == tuple(range(len(op.perm))):
            return [context.cast(node)]
        if len(op.perm) > 3:
            raise _refuse(node, "hls4ml streams transpose at most three axes", str(op.perm))
    else:
        last = context.spec(node, "Reshape", attributes={"target_shape": list(node.shape)})
        if keeps_order(op, shape):
            return [last]
        if shape[0] == 1:
            return _transpose_rest(op, shape, last, context)
    return [context.spec(node, "Transpose", attributes={"perm": list(op.perm)})]


def _transpose_rest(
    op: ops.Transpose, shape: tuple[int, ...], last: LayerSpec, context: Context
) -> list[LayerSpec]:
    """Without the first axis, of size one: with it hls4ml drops the transposition of a model input."""
    first = renamed(
        last, name=context.apart(f"{last.name}_rest"), attributes={"target_shape": list(shape[1:])}, node=None
    )
    turn = renamed(
        last,
        name=context.apart(f"{last.name}_turn"),
        kind="Transpose",
        inputs=(first.name,),
        attributes={"perm": [axis - 1 for axis in op.perm if axis > 0]},
        node=None,
    )
    return [first, turn, renamed(last, inputs=(turn.name,))]


def concatenate(node: Node, context: Context) -> list[LayerSpec]:
    """Concatenation, two tensors at a time; every step holds the type of the whole.

    hls4ml has up to three axes, and its streams join images along the channels only. Elsewhere what lies
    before and what lies behind the axis' start become one axis each, which changes no order.
    """
    op = node.op
    if not isinstance(op, ops.Concatenate):
        raise TypeError(type(op))
    rank, axis = len(node.shape), op.axis
    flat = rank > 3 or (context.plan.streams and rank == 3 and axis < 2)
    specs: list[LayerSpec] = []
    sources = [context.tensors[name] for name in node.inputs]
    if flat:
        for position, name in enumerate(node.inputs):
            shape = _two_axes(context.shape_of(name), axis)
            spec = context.spec(node, "Reshape", attributes={"target_shape": shape})
            spec = renamed(
                spec,
                name=context.apart(f"{spec.name}_flat{position}"),
                inputs=(sources[position],),
                types={"result": context.type_of(name)},
                node=None,
            )
            specs.append(spec)
            sources[position] = spec.name
        rank, axis = 2, min(axis, 1)
    whole = context.spec(node, "Concatenate", attributes={"axis": axis + 1, "op": f"concatenate{rank}d"})
    left = sources[0]
    for position, right in enumerate(sources[1:], start=1):
        last = position == len(sources) - 1 and not flat
        name = whole.name if last else context.apart(f"{whole.name}_part{position}")
        specs.append(renamed(whole, name=name, inputs=(left, right), node=whole.node if last else None))
        left = name
    if flat:
        back = context.spec(node, "Reshape", attributes={"target_shape": list(node.shape)})
        specs.append(renamed(back, inputs=(left,)))
    return specs


def _two_axes(shape: tuple[int, ...], axis: int) -> list[int]:
    """The shape with all axes before ``axis`` as one, and all others as one; at ``axis`` 0 the last alone."""
    split = axis if axis > 0 else len(shape) - 1
    return [math.prod(shape[:split]), math.prod(shape[split:])]


def max_pool(node: Node, context: Context) -> list[LayerSpec]:
    """Maximum pooling. Where nothing is negative, zeros pad it; else hls4ml's smallest value does.

    Streams cannot do the latter: there the tensor is lifted by its lowest value, and lowered afterwards.
    """
    op = node.op
    if not isinstance(op, ops.MaxPool):
        raise TypeError(type(op))
    rank = len(op.window)
    if rank > 2:
        raise _refuse(node, f"hls4ml has no pooling over {rank} axes", str(op.window))
    in_name = node.inputs[0]
    in_shape = context.shape_of(in_name)
    # hls4ml pads with the lowest code of a signed type; for an unsigned one that bit is the highest.
    padded = any(sum(p) for p in op.padding)
    info = info_of(context.plan.program.by_name[in_name])
    negative = bool(context.type_of(in_name).k)
    lifted = padded and negative and context.plan.streams
    zeros = padded and (lifted or not negative)
    specs: list[LayerSpec] = []
    source, padding, held = context.tensors[in_name], op.padding, context.type_of(in_name)
    low, high = (_on_grid(bound, info.frac, held.f) for bound in (info.low.min(), info.high.max()))
    lowest = Constant(codes=np.asarray(low), frac=held.f)
    if lifted:
        held = smallest_type(0, high - low, held.f)
        lift = Constant(codes=-lowest.codes, frac=held.f)
        specs.append(_shifted(node, context, in_shape, lift, held, source=source, name="lifted"))
        source = specs[-1].name
    if zeros:
        pad = _pad_spec(node, in_shape, op.padding, context)
        pad = renamed(
            pad, name=context.apart(f"{pad.name}_pad"), inputs=(source,), types={"result": held}, node=None
        )
        specs.append(pad)
        source, in_shape = pad.name, tuple(pad.attributes["shape"])
        padding = ((0, 0),) * rank
    # A single window may take any stride; hls4ml's streams want its own width, as long as no second fits.
    strides = tuple(
        w if places == 1 and size + sum(p) < 2 * w else stride
        for places, size, p, w, stride in zip(
            node.shape[:-1], in_shape, padding, op.window, op.strides, strict=False
        )
    )
    if context.plan.streams and strides != op.window:
        raise ExportError(
            "hls4ml streams pool only in windows as large as the stride",
            where=node.layer,
            received=f"window {op.window}, strides {op.strides}",
            remedy="export with io_parallel, or change the pooling",
        )
    attributes: dict[str, Any] = {
        "data_format": "channels_last",
        "n_filt": node.shape[-1],
        "count_pad": False,
    }
    for a, axis in enumerate(_AXES[-rank:]):
        attributes[f"pool_{axis}"] = op.window[a]
        attributes[f"stride_{axis}"] = strides[a]
        attributes[f"in_{axis}"] = in_shape[a]
        attributes[f"out_{axis}"] = node.shape[a]
        for side, amount in zip(_SIDES[axis], padding[a], strict=True):
            attributes[f"pad_{side}"] = amount
    if rank == 1:
        attributes["n_in"], attributes["n_out"] = in_shape[0], node.shape[0]
    pool = context.spec(node, f"MaxPooling{rank}D", types={"accum": held.plain()}, attributes=attributes)
    if not lifted:
        return [*specs, renamed(pool, inputs=(source,))]
    raised = renamed(
        pool,
        name=context.apart(f"{pool.name}_raised"),
        inputs=(source,),
        types={**pool.types, "result": held},
        node=None,
    )
    back = _shifted(node, context, node.shape, lowest, context.type_of(node.name), source=raised.name)
    return [*specs, raised, back]


def _on_grid(code: int, frac: int, wanted: int) -> int:
    """A code of ``2**-frac`` on ``2**-wanted``, floored: what a type with fewer fractional bits holds."""
    return int(code) >> (frac - wanted) if frac > wanted else int(code) << (wanted - frac)


def _shifted(
    node: Node,
    context: Context,
    shape: tuple[int, ...],
    shift: Constant,
    result: HlsType,
    *,
    source: str,
    name: str = "",
) -> LayerSpec:
    """A tensor plus a constant; it is the node's own if it has no name."""
    spec = context.spec(
        node,
        "BatchNormalization",
        types={"scale": HlsType(k=0, i=1, f=0), "bias": constant_type(shift), "result": result},
        attributes={
            "n_in": math.prod(shape),
            "n_filt": shape[-1],
            "scale_data": np.ones(shape[-1]),
            "bias_data": np.full(shape[-1], float(shift.values)),
            "use_gamma": True,
            "use_beta": True,
        },
    )
    if name:
        spec = renamed(spec, name=context.apart(f"{spec.name}_{name}"), node=None)
    return renamed(spec, inputs=(source,))


def pad_before(node: Node, padding: tuple[tuple[int, int], ...], context: Context) -> LayerSpec:
    """Zero padding of a node's input, as a layer of its own before the node's."""
    (name,) = node.inputs
    pad = _pad_spec(node, context.shape_of(name), padding, context)
    types = {"result": context.type_of(name).plain()}
    return renamed(pad, name=context.apart(f"{pad.name}_pad"), types=types, node=None)


def _pad_spec(
    node: Node, in_shape: tuple[int, ...], padding: tuple[tuple[int, int], ...], context: Context
) -> LayerSpec:
    """Zero padding of the spatial axes of ``in_shape``."""
    rank = len(in_shape) - 1
    attributes: dict[str, Any] = {"data_format": "channels_last", "n_chan": in_shape[-1]}
    shape = list(in_shape)
    for a, axis in enumerate(_AXES[-rank:]):
        attributes[f"in_{axis}"] = in_shape[a]
        shape[a] = in_shape[a] + sum(padding[a])
        attributes[f"out_{axis}"] = shape[a]
        for side, amount in zip(_SIDES[axis], padding[a], strict=True):
            attributes[f"pad_{side}"] = amount
    attributes["shape"] = shape
    return context.spec(node, f"ZeroPadding{rank}D", attributes=attributes)


def _spatial(node: Node, amounts: tuple[tuple[int, int], ...], what: str) -> int:
    rank = len(node.shape) - 1
    if rank not in (1, 2) or any(amounts[-1]):
        raise _refuse(node, f"hls4ml {what} one or two spatial axes only", f"{amounts} on {node.shape}")
    return rank


def pad(node: Node, context: Context) -> list[LayerSpec]:
    """Zero padding of spatial axes."""
    op = node.op
    if not isinstance(op, ops.Pad):
        raise TypeError(type(op))
    _spatial(node, op.padding, "pads")
    return [_pad_spec(node, context.shape_of(node.inputs[0]), op.padding, context)]


def crop(node: Node, context: Context) -> list[LayerSpec]:
    """Cropping of spatial axes."""
    op = node.op
    if not isinstance(op, ops.Crop):
        raise TypeError(type(op))
    rank = _spatial(node, op.cropping, "crops")
    in_shape = context.shape_of(node.inputs[0])
    attributes: dict[str, Any] = {"data_format": "channels_last", "n_chan": in_shape[-1]}
    for a, axis in enumerate(_AXES[-rank:]):
        attributes[f"in_{axis}"], attributes[f"out_{axis}"] = in_shape[a], node.shape[a]
        for side, amount in zip(_SIDES[axis], op.cropping[a], strict=True):
            attributes[f"crop_{side}"] = amount
    return [context.spec(node, f"Cropping{rank}D", attributes=attributes)]


def repeat(node: Node, context: Context) -> list[LayerSpec]:
    """Nearest-neighbour upsampling of two spatial axes; a sequence is an image of one row."""
    op = node.op
    if not isinstance(op, ops.Repeat):
        raise TypeError(type(op))
    in_shape, out_shape = context.shape_of(node.inputs[0]), node.shape
    if len(in_shape) not in (2, 3) or op.repeats[-1] != 1:
        raise _refuse(node, "hls4ml repeats the spatial axes of a sequence or an image only", f"{op.repeats}")
    flat = len(in_shape) == 2
    rows, columns, channels = (1, *in_shape) if flat else in_shape
    out_rows, out_columns, _ = (1, *out_shape) if flat else out_shape
    resize = context.spec(
        node,
        "Resize",
        attributes={
            "algorithm": "nearest",
            "align_corners": False,
            "data_format": "channels_last",
            "in_height": rows,
            "in_width": columns,
            "out_height": out_rows,
            "out_width": out_columns,
            "n_chan": channels,
        },
    )
    if not flat:
        return [resize]
    image = context.spec(node, "Reshape", attributes={"target_shape": [1, *in_shape]})
    image = renamed(image, name=context.apart(f"{resize.name}_image"), node=None)
    resize = renamed(resize, name=context.apart(f"{resize.name}_resized"), inputs=(image.name,), node=None)
    back = context.spec(node, "Reshape", attributes={"target_shape": list(out_shape)})
    return [image, resize, renamed(back, inputs=(resize.name,))]


def _refuse(node: Node, what: str, received: str) -> ExportError:
    return ExportError(
        what,
        where=node.layer,
        received=received,
        remedy="the Keras model and the reference still run; change this layer to export",
    )
