"""Lowering of pooling layers: global ones are one full window and a reshape."""

from __future__ import annotations

import keras
import numpy as np

from hgqify import layers
from hgqify.layers import window_padding
from hgqify.precision.constants import exact_constant
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import MaxPool, Reshape, ScaleShift, SumPool


def register(registry: Registry) -> None:
    """Enters this family."""
    for rank in (1, 2, 3):
        registry.register(
            getattr(layers, f"QMaxPooling{rank}D"), getattr(keras.layers, f"MaxPooling{rank}D")
        )(max_pooling)
        registry.register(
            getattr(layers, f"QGlobalMaxPooling{rank}D"), getattr(keras.layers, f"GlobalMaxPooling{rank}D")
        )(global_max_pooling)
        registry.register(getattr(layers, f"QAveragePooling{rank}D"))(average_pooling)
        registry.register(getattr(layers, f"QGlobalAveragePooling{rank}D"))(global_average_pooling)


def _operand(call: LayerLowering) -> str:
    """The input behind its quantizer, channels last."""
    (x,) = call.quantized_inputs()
    return call.to_last(x)


def _window(call: LayerLowering, source: str) -> dict[str, tuple]:
    """Window, strides and explicit padding of a pooling layer."""
    layer, space = call.layer, call.shape_of(source)[:-1]
    window, strides = tuple(map(int, layer.pool_size)), tuple(map(int, layer.strides))
    padding = window_padding(space, window, strides, (1,) * len(space), layer.padding)
    return {"window": window, "strides": strides, "padding": padding}


def _whole(call: LayerLowering, source: str) -> dict[str, tuple]:
    """One window over all places."""
    space = call.shape_of(source)[:-1]
    return {"window": space, "strides": (1,) * len(space), "padding": ((0, 0),) * len(space)}


def _kept(call: LayerLowering, source: str) -> tuple[int, ...]:
    """Output shape of a global pooling before its spatial axes are dropped."""
    shape = call.shape_of(source)
    return (*(1,) * (len(shape) - 1), shape[-1])


def _close(call: LayerLowering, name: str) -> str:
    """The layer's own layout, without the spatial axes if it drops them; then the output quantizer."""
    if len(call.shape_of(name)) == len(call.shape):
        name = call.from_last(name)
    else:
        name = call.add(Reshape(), name, shape=call.shape, role="reshape")
    return call.quantize(name, getattr(call.layer, "oq", None), "oq")


def max_pooling(call: LayerLowering) -> str:
    """Maximum over windows."""
    x = _operand(call)
    return _close(call, call.add(MaxPool(**_window(call, x)), x, shape=call.shape_last))


def global_max_pooling(call: LayerLowering) -> str:
    """Maximum over all places."""
    x = _operand(call)
    return _close(call, call.add(MaxPool(**_whole(call, x)), x, shape=_kept(call, x)))


def average_pooling(call: LayerLowering) -> str:
    """Sum over windows times the layer's reciprocals, which differ where 'same' padding cuts windows."""
    x = _operand(call)
    total = call.add(SumPool(**_window(call, x)), x, shape=call.shape_last)
    values = call.layer.reciprocal_values()
    scale = exact_constant(values.flat[0] if np.all(values == values.flat[0]) else values[..., None])
    y = call.add(ScaleShift(scale=scale, shift=None), total, shape=call.shape_last, role="mean")
    return _close(call, y)


def global_average_pooling(call: LayerLowering) -> str:
    """Sum over all places times one reciprocal."""
    x = _operand(call)
    total = call.add(SumPool(**_whole(call, x)), x, shape=_kept(call, x))
    scale = exact_constant(call.layer.reciprocal_values().flat[0])
    y = call.add(ScaleShift(scale=scale, shift=None), total, shape=call.shape_of(total), role="mean")
    return _close(call, y)
