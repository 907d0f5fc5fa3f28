"""Lowering of layers with several inputs: binary trees, and concatenation."""

from __future__ import annotations

import functools

import keras
import numpy as np

from hgqify import layers
from hgqify.precision.constants import exact_constant
from hgqify.precision.lowering import LayerLowering, LoweringFunction, Registry
from hgqify.precision.ops import Add, Concatenate, Maximum, Minimum, Multiply, Op, ScaleShift, Subtract


def register(registry: Registry) -> None:
    """Enters this family."""
    registry.register(layers.QAdd, keras.layers.Add)(_merged(Add, balanced=True))
    registry.register(layers.QMaximum, keras.layers.Maximum)(_merged(Maximum, balanced=True))
    registry.register(layers.QMinimum, keras.layers.Minimum)(_merged(Minimum, balanced=True))
    # From left to right, as EBOPs of products are counted.
    registry.register(layers.QMultiply, layers.QMultiplyPow2, keras.layers.Multiply)(
        _merged(Multiply, balanced=False)
    )
    registry.register(layers.QSubtract, keras.layers.Subtract)(_merged(Subtract, balanced=False))
    registry.register(layers.QAverage, layers.QAveragePow2)(average)
    registry.register(keras.layers.Concatenate)(concatenate)


def _combine(call: LayerLowering, op: type[Op], names: tuple[str, ...], balanced: bool) -> str:
    """One node per pair."""

    def pair(a: str, b: str) -> str:
        shape = np.broadcast_shapes(call.shape_of(a), call.shape_of(b))
        return call.add(op(), a, b, shape=shape)

    if not balanced:
        return functools.reduce(pair, names)
    queue = list(names)
    while len(queue) > 1:
        paired = [pair(a, b) for a, b in zip(queue[::2], queue[1::2], strict=False)]
        queue = paired + queue[2 * len(paired) :]
    return queue[0]


def _merged(op: type[Op], *, balanced: bool) -> LoweringFunction:
    def lower_merge(call: LayerLowering) -> str:
        y = _combine(call, op, call.quantized_inputs(), balanced)
        return call.quantize(y, getattr(call.layer, "oq", None), "oq")

    return lower_merge


def average(call: LayerLowering) -> str:
    """``QAverage``: the sum times the layer's reciprocal."""
    total = _combine(call, Add, call.quantized_inputs(), True)
    scale = exact_constant(call.layer.reciprocal_values())
    y = call.add(ScaleShift(scale=scale, shift=None), total, shape=call.shape, role="mean")
    return call.quantize(y, call.layer.oq, "oq")


def concatenate(call: LayerLowering) -> str:
    """``Concatenate`` along any axis but the batch."""
    axis = call.layer.axis % (len(call.shape) + 1) - 1
    return call.add(Concatenate(axis=axis), *call.inputs, shape=call.shape)
