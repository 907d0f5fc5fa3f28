"""hls4ml layers for dot products: Dense, convolutions, scale-and-shift, sums over windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hgqify.errors import ExportError
from hgqify.export.context import Context, renamed
from hgqify.export.expand import ungroup
from hgqify.export.handlers_shape import pad_before
from hgqify.export.spec import LayerSpec
from hgqify.export.types import HlsType, constant_type
from hgqify.precision import ops
from hgqify.precision.ops import Constant
from hgqify.precision.program import Node


def _bias(constant: Constant | None, count: int) -> tuple[np.ndarray, HlsType]:
    if constant is None:
        return np.zeros(count), HlsType(k=0, i=1, f=0)
    return np.broadcast_to(constant.values, (count,)).copy(), constant_type(constant)


def dense(node: Node, context: Context) -> list[LayerSpec]:
    """Dense on vectors; on higher ranks a convolution with a window of one."""
    op = node.op
    if not isinstance(op, ops.Dense):
        raise TypeError(type(op))
    in_shape = context.shape_of(node.inputs[0])
    if len(in_shape) > 1:
        rank = len(in_shape) - 1
        kernel = Constant(
            codes=op.kernel.codes.reshape((1,) * rank + op.kernel.codes.shape), frac=op.kernel.frac
        )
        as_conv = ops.Conv(
            kernel=kernel, bias=op.bias, strides=(1,) * rank, dilation=(1,) * rank, padding=((0, 0),) * rank
        )
        return _conv(node, as_conv, context)
    n_in, n_out = op.kernel.codes.shape
    bias, bias_type = _bias(op.bias, n_out)
    return [
        context.spec(
            node,
            "Dense",
            types={"accum": context.accumulator(node), "weight": constant_type(op.kernel), "bias": bias_type},
            attributes={"n_in": n_in, "n_out": n_out, "weight_data": op.kernel.values, "bias_data": bias},
        )
    ]


def conv(node: Node, context: Context) -> list[LayerSpec]:
    """Convolutions; grouped ones are printed dense with zeros, dilated ones with a stretched kernel."""
    op = node.op
    if not isinstance(op, ops.Conv):
        raise TypeError(type(op))
    return _conv(node, op, context)


def sum_pool(node: Node, context: Context) -> list[LayerSpec]:
    """A sum over windows is a depthwise convolution with ones: no multiplier survives synthesis."""
    op = node.op
    if not isinstance(op, ops.SumPool):
        raise TypeError(type(op))
    channels = node.shape[-1]
    ones = Constant(codes=np.ones((*op.window, 1, channels), np.int64), frac=0)
    as_conv = ops.Conv(
        kernel=ones,
        bias=None,
        strides=op.strides,
        dilation=(1,) * len(op.window),
        padding=op.padding,
        groups=channels,
    )
    return _conv(node, as_conv, context)


def _stretch(codes: np.ndarray, dilation: tuple[int, ...]) -> np.ndarray:
    """Put ``dilation - 1`` zeros between the taps of a kernel."""
    if all(d == 1 for d in dilation):
        return codes
    window = codes.shape[: len(dilation)]
    shape = tuple((n - 1) * d + 1 for n, d in zip(window, dilation, strict=True))
    result = np.zeros(shape + codes.shape[len(dilation) :], codes.dtype)
    result[tuple(slice(None, None, d) for d in dilation)] = codes
    return result


def _conv(node: Node, op: ops.Conv, context: Context) -> list[LayerSpec]:
    in_shape = context.shape_of(node.inputs[0])
    rank = len(op.strides)
    if rank > 2 or len(in_shape) != rank + 1:
        raise ExportError(
            f"hls4ml has no convolution over {rank} spatial axes",
            where=node.layer,
            received=f"input shape {in_shape}",
            remedy="the reference and the Keras model still run; reshape to two spatial axes to export",
        )
    codes = _stretch(op.kernel.codes, op.dilation)
    channels = in_shape[-1]
    filters = codes.shape[-1]
    # hls4ml's depthwise kernels stop at a depth multiplier above one, and some backends have none; with zeros
    # it is a plain convolution.
    depthwise = op.groups == channels == filters and channels > 1
    depthwise = depthwise and context.plan.io_type in context.backend.depthwise
    if not depthwise:
        codes = ungroup(codes, op.groups)
    if context.plan.streams:
        codes, op = _two_rows(codes, op, in_shape, node.shape, pointwise=not depthwise)
    # In one dimension hls4ml puts its layer of zeros before the tensor's first reader, whoever that is.
    pads = [pad_before(node, op.padding, context)] if context.plan.streams and np.any(op.padding) else []
    if pads:
        op, in_shape = replace(op, padding=((0, 0),) * rank), tuple(pads[0].attributes["shape"])
    values = codes * 2.0**-op.kernel.frac
    bias, bias_type = _bias(op.bias, filters)
    attributes: dict[str, Any] = {
        **_geometry(op, codes.shape[:rank], in_shape, node.shape),
        "n_chan": channels,
        "n_filt": filters,
        "bias_data": bias,
        "data_format": "channels_last",
    }
    if depthwise:
        attributes["depthwise_data"] = values.reshape((*codes.shape[:rank], channels, 1))
        attributes["weight_data"] = attributes["depthwise_data"]
        attributes["depth_multiplier"] = 1
    else:
        attributes["weight_data"] = values
    spec = context.spec(
        node,
        f"{'Depthwise' if depthwise else ''}Conv{rank}D",
        types={"accum": context.accumulator(node), "weight": constant_type(op.kernel), "bias": bias_type},
        attributes=attributes,
    )
    return [*pads, renamed(spec, inputs=(pads[0].name,))] if pads else [spec]


def _two_rows(
    codes: np.ndarray, op: ops.Conv, in_shape: tuple[int, ...], out_shape: tuple[int, ...], *, pointwise: bool
) -> tuple[np.ndarray, ops.Conv]:
    """A second row of zeros for a window of one row that skips rows.

    hls4ml streams a window of one row through its one-dimensional buffer, which knows no vertical stride;
    only its pointwise kernel does.
    """
    window = codes.shape[: len(op.strides)]
    if len(window) != 2 or window[0] > 1 or op.strides[0] == 1 or (pointwise and window == (1, 1)):
        return codes, op
    above, below = op.padding[0]
    missing = (out_shape[0] - 1) * op.strides[0] + 2 - (in_shape[0] + above + below)
    padding = ((above, below + max(0, missing)), *op.padding[1:])
    return np.concatenate([codes, np.zeros_like(codes)]), replace(op, padding=padding)


def _geometry(
    op: ops.Conv, window: tuple[int, ...], in_shape: tuple[int, ...], out_shape: tuple[int, ...]
) -> dict[str, int]:
    """hls4ml's names for window, stride, padding and sizes."""
    axes = ("height", "width")[-len(window) :]
    sides = {"height": ("top", "bottom"), "width": ("left", "right")}
    result: dict[str, int] = {}
    for a, axis in enumerate(axes):
        result[f"filt_{axis}"] = int(window[a])
        result[f"stride_{axis}"] = int(op.strides[a])
        result[f"in_{axis}"] = int(in_shape[a])
        result[f"out_{axis}"] = int(out_shape[a])
        for side, amount in zip(sides[axis], op.padding[a], strict=True):
            result[f"pad_{side}"] = int(amount)
    return result


def scale_shift(node: Node, context: Context) -> list[LayerSpec]:
    """``x * scale + shift``: hls4ml's normalisation kernel, which multiplies and adds exactly."""
    op = node.op
    if not isinstance(op, ops.ScaleShift):
        raise TypeError(type(op))
    shape = node.shape
    scale = np.broadcast_to(op.scale.values, shape)
    shift = np.zeros(shape) if op.shift is None else np.broadcast_to(op.shift.values, shape)
    shift_type = HlsType(k=0, i=1, f=0) if op.shift is None else constant_type(op.shift)
    if np.all(scale == 1) and np.all(shift == 0):
        return [context.cast(node)]
    channels = shape[-1]
    flat = [a.reshape(-1, channels) for a in (scale, shift)]
    per_channel = len(shape) > 1 and all(np.all(a == a[:1]) for a in flat)
    n_filt = channels if per_channel else -1
    scale, shift = (a[0].copy() if per_channel else a.ravel().copy() for a in flat)
    return [
        context.spec(
            node,
            "BatchNormalization",
            types={"scale": constant_type(op.scale), "bias": shift_type},
            attributes={
                "n_in": int(np.prod(shape)),
                "n_filt": n_filt,
                "scale_data": scale,
                "bias_data": shift,
                "use_gamma": True,
                "use_beta": True,
            },
        )
    ]


def matmul(node: Node, context: Context) -> list[LayerSpec]:
    """Matrix products of two tensors, through our own kernel, which reads whole arrays."""
    if context.plan.streams:
        raise ExportError(
            "products of two tensors need both of them whole, and a stream is read once",
            where=node.layer,
            received="io_stream",
            remedy="export with io_parallel",
        )
    groups, rows, summed = context.shape_of(node.inputs[0])
    sizes = {"groups": groups, "rows": rows, "columns": node.shape[2], "summed": summed}
    return [context.spec(node, "HgqifyMatmul", types={"accum": context.accumulator(node)}, attributes=sizes)]
