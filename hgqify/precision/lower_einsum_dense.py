"""Lowering of products of a tensor and a kernel: rows times matrices, one for each group."""

from __future__ import annotations

import math

import numpy as np

from hgqify import layers
from hgqify.equations import matrices
from hgqify.precision.constants import quantized_constant
from hgqify.precision.laying import laid
from hgqify.precision.lower_linear import finish
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import Constant, Conv, Dense, Reshape, ScaleShift, Transpose


def register(registry: Registry) -> None:
    """Enters this family."""
    registry.register(layers.QEinsumDense, layers.QEinsumDenseBatchnorm)(einsum_dense)


def einsum_dense(call: LayerLowering) -> str:
    """A dense layer over rows; groups as a grouped convolution with a window of one."""
    layer = call.layer
    x, k, result = layer.sample_labels
    parts = matrices(f"{x},{k}->{result}")
    (source,) = call.quantized_inputs()
    kernel_values, bias_values = layer.constants()
    kernel = quantized_constant(kernel_values, layer.kq, f"{call.path}/kernel")
    size = dict(zip(x, call.shape_of(source), strict=True)) | dict(zip(k, kernel.codes.shape, strict=True))

    def count(labels: str) -> int:
        return math.prod(size[label] for label in labels)

    groups, summed, columns = count(parts.batch), count(parts.summed), count(parts.columns)
    order = parts.rows + parts.batch + parts.columns
    # (summed, groups * columns): the filters of one group stand together.
    axes = [k.index(label) for label in parts.summed + parts.batch + parts.columns]
    codes = kernel.codes.transpose(axes).reshape(summed, groups * columns)
    bias = None
    if bias_values is not None:
        bias = quantized_constant(bias_values, layer.bq, f"{call.path}/bias")
    fitting = _of_filters(bias, call.shape, result, order, count(parts.rows))
    rows = (count(parts.rows),) if parts.rows or groups > 1 else ()
    source = laid(call, source, x, parts.rows + parts.batch + parts.summed, (*rows, groups * summed), "in")
    op = (
        Dense(kernel=Constant(codes=codes, frac=kernel.frac), bias=fitting)
        if groups == 1
        else Conv(
            kernel=Constant(codes=codes[None], frac=kernel.frac),
            bias=fitting,
            strides=(1,),
            dilation=(1,),
            padding=((0, 0),),
            groups=groups,
        )
    )
    y = call.add(op, source, shape=(*rows, groups * columns))
    shape = tuple(size[label] for label in order)
    if call.shape_of(y) != shape:
        y = call.add(Reshape(), y, shape=shape, role="split")
    if order != result:
        y = call.add(
            Transpose(perm=tuple(order.index(label) for label in result)), y, shape=call.shape, role="turned"
        )
    if bias is not None and fitting is None:
        one = Constant(codes=np.ones((), np.int64), frac=0)
        y = call.add(ScaleShift(scale=one, shift=bias), y, shape=call.shape, role="bias")
    return finish(call, y, layer.activation.piecewise)


def _of_filters(
    bias: Constant | None, shape: tuple[int, ...], result: str, order: str, rows: int
) -> Constant | None:
    """The bias of every filter, None where it differs between rows (or there is none)."""
    if bias is None:
        return None
    full = np.broadcast_to(bias.codes, shape).transpose([result.index(label) for label in order])
    by_row = full.reshape(rows, -1)
    return Constant(codes=by_row[0].copy(), frac=bias.frac) if np.all(by_row == by_row[:1]) else None
