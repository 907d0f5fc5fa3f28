"""Lowering of dense layers, convolutions, batch normalization, activations and lone quantizers."""

from __future__ import annotations

import keras

from hgqify import layers
from hgqify.errors import UnsupportedLayerError
from hgqify.layers import PiecewiseLinear, get_activation, window_padding
from hgqify.precision.constants import exact_constant, quantized_constant, reshaped
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import Clip, Constant, Conv, Dense, LeakyRelu, ScaleShift, Table


def register(registry: Registry) -> None:
    """Enters this family."""
    registry.register(layers.QDense, layers.QBatchNormDense)(dense)
    registry.register(
        layers.QConv1D, layers.QConv2D, layers.QConv3D, layers.QDepthwiseConv1D, layers.QDepthwiseConv2D
    )(convolution)
    registry.register(layers.QBatchNormalization)(batch_normalization)
    registry.register(layers.QActivation, layers.QAffineActivation)(activation)
    registry.register(layers.Quantize)(quantize)
    registry.register(keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.Activation)(plain_activation)


def _bias(call: LayerLowering) -> Constant | None:
    _, bias = call.layer.constants()
    return None if bias is None else quantized_constant(bias, call.layer.bq, f"{call.path}/bias")


def _kernel(call: LayerLowering) -> Constant:
    kernel, _ = call.layer.constants()
    return quantized_constant(kernel, call.layer.kq, f"{call.path}/kernel")


def finish(call: LayerLowering, name: str, piecewise: PiecewiseLinear | None) -> str:
    """The exact activation inside a layer, then its output quantizer."""
    return call.quantize(piecewise_linear(call, name, piecewise), call.layer.oq, "oq")


def piecewise_linear(call: LayerLowering, name: str, function: PiecewiseLinear | None) -> str:
    """``min(max(g(x), low), high)``: a slope for negative values where there is one, then a clip."""
    if function is None:
        return name
    shape = call.shape_of(name)
    if function.slope != 1.0:
        name = call.add(LeakyRelu(slope=exact_constant(function.slope)), name, shape=shape, role="slope")
    if function.low is None and function.high is None:
        return name
    low, high = (None if c is None else exact_constant(c) for c in (function.low, function.high))
    return call.add(Clip(low=low, high=high), name, shape=shape, role="clip")


def dense(call: LayerLowering) -> str:
    """``QDense``."""
    (x,) = call.quantized_inputs()
    y = call.add(Dense(kernel=_kernel(call), bias=_bias(call)), x, shape=call.shape)
    return finish(call, y, call.layer.activation.piecewise)


def convolution(call: LayerLowering) -> str:
    """All convolutions, channels last, with explicit padding; depthwise ones as one group per channel."""
    layer = call.layer
    (x,) = call.quantized_inputs()
    x = call.to_last(x)
    *space, channels = call.shape_of(x)
    kernel = _kernel(call)
    depthwise = isinstance(layer, (layers.QDepthwiseConv1D, layers.QDepthwiseConv2D))
    if depthwise:
        # (*window, channels, multiplier) -> (*window, 1, channels * multiplier)
        kernel = reshaped(kernel, (*kernel.codes.shape[:-2], 1, channels * kernel.codes.shape[-1]))
    strides = _per_axis(layer.strides, len(space))
    dilation = _per_axis(layer.dilation_rate, len(space))
    window = kernel.codes.shape[:-2]
    op = Conv(
        kernel=kernel,
        bias=_bias(call),
        strides=strides,
        dilation=dilation,
        padding=window_padding(space, window, strides, dilation, layer.padding),
        groups=channels if depthwise else int(layer.groups),
    )
    y = call.add(op, x, shape=call.shape_last)
    return finish(call, call.from_last(y), layer.activation.piecewise)


def _per_axis(value: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (int(value),) * rank if isinstance(value, int) else tuple(int(v) for v in value)


def batch_normalization(call: LayerLowering) -> str:
    """``QBatchNormalization`` with its stored scale and shift."""
    layer = call.layer
    (x,) = call.quantized_inputs()
    axis = layer.axis % (len(call.shape) + 1) - 1
    shape = tuple(size if a == axis else 1 for a, size in enumerate(call.shape))
    # Along the last axis the channels broadcast as they are.
    shape = shape[axis:] if axis == len(call.shape) - 1 else shape
    scale, shift = layer.scale_shift()
    op = ScaleShift(
        scale=reshaped(quantized_constant(scale, layer.kq, f"{call.path}/scale"), shape),
        shift=reshaped(quantized_constant(shift, layer.bq, f"{call.path}/shift"), shape),
    )
    y = call.add(op, x, shape=call.shape)
    return call.quantize(y, layer.oq, "oq")


def activation(call: LayerLowering) -> str:
    """``QActivation``: piecewise linear as it stands, else the stored table (oq is in its entries)."""
    layer = call.layer
    (x,) = call.quantized_inputs()
    if not layer.is_tabulated:
        return finish(call, x, layer.activation.piecewise)
    form, codes, frac = layer.table_codes()
    first = 0 if form.is_zero else -(form.k << form.b)
    op = Table(in_frac=form.f, first=first, entries=Constant(codes=codes, frac=frac))
    return call.add(op, x, shape=call.shape)


def plain_activation(call: LayerLowering) -> str:
    """A float activation layer of Keras that is exact on codes.

    Raises:
        UnsupportedLayerError: it is not piecewise linear.
    """
    function = get_activation(call.layer, where=call.path)
    if function.piecewise is None:
        raise UnsupportedLayerError(
            "this activation is not exact in fixed point",
            where=call.path,
            received=function.name,
            remedy="use QActivation, which holds it as a table",
        )
    return piecewise_linear(call, call.inputs[0], function.piecewise)


def quantize(call: LayerLowering) -> str:
    """``Quantize``: a quantizer alone."""
    (x,) = call.quantized_inputs()
    return call.quantize(x, call.layer.oq, "oq")
