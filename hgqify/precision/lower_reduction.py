"""Lowering of reductions over any axes: the axes go first and become one, a pool takes all of it."""

from __future__ import annotations

import math

import numpy as np

from hgqify import layers
from hgqify.errors import PrecisionError
from hgqify.precision.constants import exact_constant
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.ops import (
    Add,
    Constant,
    LeakyRelu,
    MaxPool,
    Reshape,
    ScaleShift,
    Subtract,
    SumPool,
    Transpose,
)


def register(registry: Registry) -> None:
    """Enters this family."""
    registry.register(layers.QSum)(total)
    registry.register(layers.QMean, layers.QMeanPow2)(mean)
    registry.register(layers.QBelowMaximum)(below_maximum)
    registry.register(layers.QLargest)(largest)
    registry.register(layers.QMask)(masked)


def _reduce(call: LayerLowering, op: type[MaxPool] | type[SumPool], source: str) -> str:
    """One result for each row along the layer's axes; these stay, with size 1."""
    shape, axes = call.shape_of(source), call.layer.axes
    rest = tuple(a for a in range(len(shape)) if a not in axes)
    name, perm = source, (*axes, *rest)
    if perm != tuple(range(len(shape))):
        turned = tuple(shape[a] for a in perm)
        name = call.add(Transpose(perm=perm), name, shape=turned, role="turned")
    count = math.prod(shape[a] for a in axes)
    rows = math.prod(shape[a] for a in rest)
    if call.shape_of(name) != (count, rows):
        name = call.add(Reshape(), name, shape=(count, rows), role="rows")
    pool = op(window=(count,), strides=(1,), padding=((0, 0),))
    name = call.add(pool, name, shape=(1, rows), role="pool")
    kept = tuple(1 if a in axes else size for a, size in enumerate(shape))
    # What is left keeps its order, so no transposition leads back.
    return name if kept == (1, rows) else call.add(Reshape(), name, shape=kept, role="kept")


def total(call: LayerLowering) -> str:
    """``QSum``."""
    (x,) = call.quantized_inputs()
    return call.quantize(_reduce(call, SumPool, x), call.layer.oq, "oq")


def mean(call: LayerLowering) -> str:
    """``QMean``: the sum times the layer's reciprocal."""
    (x,) = call.quantized_inputs()
    scale = exact_constant(call.layer.reciprocal_values())
    y = call.add(
        ScaleShift(scale=scale, shift=None), _reduce(call, SumPool, x), shape=call.shape, role="mean"
    )
    return call.quantize(y, call.layer.oq, "oq")


def below_maximum(call: LayerLowering) -> str:
    """``QBelowMaximum``: what is masked becomes the lowest value of the format, and 0 at the end.

    Raises:
        PrecisionError: the input quantizer is off, and there is a mask.
    """
    (x,) = call.quantized_inputs()
    mask = call.layer.mask_values()
    if mask is not None:
        # As a sum of two, either of which costs nothing: no multiplication, so no EBOPs.
        seen = call.add(ScaleShift(scale=_keep(mask), shift=None), x, shape=call.shape, role="seen")
        low = exact_constant(np.where(mask, 0.0, _lowest(call)))
        nothing = Constant(codes=np.zeros((), np.int64), frac=0)
        floor = call.add(ScaleShift(scale=nothing, shift=low), x, shape=call.shape, role="floor")
        x = call.add(Add(), seen, floor, shape=call.shape, role="hidden")
    top = _reduce(call, MaxPool, x)
    y = call.add(Subtract(), top, x, shape=call.shape, role="" if mask is None else "below")
    if mask is not None:
        y = call.add(ScaleShift(scale=_keep(mask), shift=None), y, shape=call.shape)
    return call.quantize(y, call.layer.oq, "oq")


def largest(call: LayerLowering) -> str:
    """``QLargest``: magnitudes, then their maximum."""
    (x,) = call.quantized_inputs()
    slope = Constant(codes=np.asarray(-1, np.int64), frac=0)
    x = call.add(LeakyRelu(slope=slope), x, shape=call.shape_of(x), role="magnitude")
    return call.quantize(_reduce(call, MaxPool, x), call.layer.oq, "oq")


def masked(call: LayerLowering) -> str:
    """``QMask``."""
    (x,) = call.quantized_inputs()
    keep = _keep(call.layer.mask_values())
    y = call.add(ScaleShift(scale=keep, shift=None), x, shape=call.shape)
    return call.quantize(y, call.layer.oq, "oq")


def _keep(mask: np.ndarray) -> Constant:
    """1 where the mask is True, else 0."""
    return Constant(codes=mask.astype(np.int64), frac=0)


def _lowest(call: LayerLowering) -> float:
    """The lowest value that the input quantizer gives to any element."""
    if call.layer.iq is None:
        raise PrecisionError(
            "a masked maximum needs an input quantizer",
            where=call.path,
            remedy="leave iq_conf out or give a config",
        )
    state = call.layer.iq.state()
    live = state.k + state.i + state.f > 0
    return float(np.min(np.where(live, -state.k * np.ldexp(1.0, state.i), 0.0)))
