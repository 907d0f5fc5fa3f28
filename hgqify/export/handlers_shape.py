"""hls4ml layers that move values without changing them, and maximum pooling."""

from __future__ import annotations

import math
from typing import Any

from hgqify.errors import ExportError
from hgqify.export.context import Context, renamed
from hgqify.export.plan import info_of, keeps_order
from hgqify.export.spec import LayerSpec
from hgqify.precision import ops
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
            regroups = max(before, after) % min(before, after) != 0
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
            return _transpose_rest(op, shape, last)
    return [context.spec(node, "Transpose", attributes={"perm": list(op.perm)})]


def _transpose_rest(op: ops.Transpose, shape: tuple[int, ...], last: LayerSpec) -> list[LayerSpec]:
    """Without the first axis, of size one: with it hls4ml drops the transposition of a model input."""
    first = renamed(last, name=f"{last.name}_rest", attributes={"target_shape": list(shape[1:])}, node=None)
    turn = renamed(
        last,
        name=f"{last.name}_turn",
        kind="Transpose",
        inputs=(first.name,),
        attributes={"perm": [axis - 1 for axis in op.perm if axis > 0]},
        node=None,
    )
    return [first, turn, renamed(last, inputs=(turn.name,))]


def concatenate(node: Node, context: Context) -> list[LayerSpec]:
    """Concatenation, two tensors at a time; every step holds the type of the whole."""
    op = node.op
    if not isinstance(op, ops.Concatenate):
        raise TypeError(type(op))
    rank = len(node.shape)
    if rank > 3:
        raise _refuse(node, "hls4ml concatenates at most three axes", str(node.shape))
    if context.plan.streams and rank == 3 and op.axis < 2:
        raise _refuse(
            node, "hls4ml streams concatenate images along the channels only", f"axis {op.axis + 1}"
        )
    whole = context.spec(node, "Concatenate", attributes={"axis": op.axis + 1, "op": f"concatenate{rank}d"})
    specs: list[LayerSpec] = []
    left = whole.inputs[0]
    for position, right in enumerate(whole.inputs[1:], start=1):
        last = position == len(whole.inputs) - 1
        name = whole.name if last else f"{whole.name}_part{position}"
        specs.append(renamed(whole, name=name, inputs=(left, right), node=whole.node if last else None))
        left = name
    return specs


def max_pool(node: Node, context: Context) -> list[LayerSpec]:
    """Maximum pooling. Where nothing is negative, zeros pad it; else hls4ml's smallest value does."""
    op = node.op
    if not isinstance(op, ops.MaxPool):
        raise TypeError(type(op))
    rank = len(op.window)
    if rank > 2:
        raise _refuse(node, f"hls4ml has no pooling over {rank} axes", str(op.window))
    in_name = node.inputs[0]
    in_shape = context.shape_of(in_name)
    # hls4ml pads with the lowest code of a signed type; for an unsigned one that bit is the highest.
    zeros = (
        any(sum(p) for p in op.padding) and int(info_of(context.plan.program.by_name[in_name]).low.min()) >= 0
    )
    specs: list[LayerSpec] = []
    source, padding = context.tensors[in_name], op.padding
    if zeros:
        pad = pad_before(node, op.padding, context)
        specs.append(pad)
        source, in_shape = specs[0].name, tuple(pad.attributes["shape"])
        padding = ((0, 0),) * rank
    # A single window may take any stride; hls4ml's streams want its own width, as long as no second fits.
    strides = tuple(
        w if places == 1 and size + sum(p) < 2 * w else stride
        for places, size, p, w, stride in zip(
            node.shape[:-1], in_shape, padding, op.window, op.strides, strict=False
        )
    )
    if context.plan.streams and (any(sum(p) for p in padding) or strides != op.window):
        raise ExportError(
            "hls4ml streams pool only in windows as large as the stride, without padding of negative values",
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
    pool = context.spec(
        node, f"MaxPooling{rank}D", types={"accum": context.type_of(in_name).plain()}, attributes=attributes
    )
    return [*specs, renamed(pool, inputs=(source,))]


def pad_before(node: Node, padding: tuple[tuple[int, int], ...], context: Context) -> LayerSpec:
    """Zero padding of a node's input, as a layer of its own before the node's."""
    (name,) = node.inputs
    pad = _pad_spec(node, context.shape_of(name), padding, context)
    types = {"result": context.type_of(name).plain()}
    return renamed(pad, name=f"{pad.name}_pad", types=types, node=None)


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
    image = renamed(image, name=f"{resize.name}_image", node=None)
    resize = renamed(resize, name=f"{resize.name}_resized", inputs=(image.name,), node=None)
    back = context.spec(node, "Reshape", attributes={"target_shape": list(out_shape)})
    return [image, resize, renamed(back, inputs=(resize.name,))]


def _refuse(node: Node, what: str, received: str) -> ExportError:
    return ExportError(
        what,
        where=node.layer,
        received=received,
        remedy="the Keras model and the reference still run; change this layer to export",
    )
