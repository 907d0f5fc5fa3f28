"""Quantizers, merges, pooling and sums of HGQ2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.hgq2.placed import Apply, Placed, Source, chain, given, wanted
from hgqify.layers.pow2 import nearest_shift


def quantizer(source: Source) -> Placed:
    """`Quantizer`, standing alone."""
    setting = source.data(source.layer, "quantizer")
    return Placed(q.Quantize(iq_conf=setting.config, name=source.name), inputs=[setting])


def merge(cls: Any) -> Callable[[Source], Placed]:
    """`QAdd` and so on; ``cls`` is ours."""

    def convert(source: Source) -> Placed:
        iqs, oq = _inputs(source), source.output()
        made = cls(iq_conf=_all(iqs), oq_conf=wanted(oq), name=source.name, **source.counting())
        return Placed(made, inputs=iqs, output=oq)

    return convert


def plain_merge(cls: Any) -> Callable[[Source], Placed]:
    """A merge of Keras itself, which quantizes nothing."""
    return lambda source: Placed(cls(iq_conf=False, name=source.name))


def _inputs(source: Source) -> list[Any]:
    if not source.layer.enable_iq:
        return []
    return [source.data(one, f"iq {n}") for n, one in enumerate(source.layer.iq)]


def _all(settings: list[Any]) -> Any:
    return [setting.config for setting in settings] or False


def einsum(source: Source) -> Placed:
    """`QEinsum` of two tensors.

    Raises:
        UnsupportedLayerError: of more, or of one.
    """
    if len(source.shapes) != 2:
        raise UnsupportedLayerError(
            "products are imported of two tensors",
            where=source.path,
            received=source.layer.equation,
            remedy="multiply them two at a time",
        )
    return _product(source, source.layer.equation)


def _product(source: Source, equation: str) -> Placed:
    iqs, oq = _inputs(source), source.output()
    made = q.QEinsum(equation, iq_conf=_all(iqs), oq_conf=wanted(oq), name=source.name, **source.counting())
    return Placed(made, inputs=iqs, output=oq)


def dot(source: Source) -> Apply:
    """`QDot` along one axis of each tensor; of two vectors the products and their sum.

    Raises:
        UnsupportedLayerError: pairs of axes.
    """
    axes = source.layer.axes
    first, second = (axes, axes) if isinstance(axes, int) else axes
    if not isinstance(first, int) or not isinstance(second, int):
        raise UnsupportedLayerError(
            "products along several axes are not imported",
            where=source.path,
            received=axes,
            remedy="use QEinsum",
        )
    ranks = [len(shape) + 1 for shape in source.shapes]
    a, b = (axis % rank for axis, rank in zip((first, second), ranks, strict=True))
    if ranks == [2, 2]:
        iqs, oq = _inputs(source), source.output()
        product = Placed(
            q.QMultiply(iq_conf=_all(iqs), name=f"{source.name}_products", **source.counting()), inputs=iqs
        )
        total = q.QSum(axis=-1, iq_conf=False, oq_conf=wanted(oq), name=source.name)
        return chain(product, Placed(total, output=oq))
    left = "ZABCDEF"[: ranks[0]]
    right = "Zabcdef"[: ranks[1]]
    terms = [t[:n] + "k" + t[n + 1 :] for t, n in ((left, a), (right, b))]
    result = terms[0].replace("k", "") + terms[1].replace("k", "")[1:]
    return _product(source, f"{terms[0]},{terms[1]}->{result}")


_POOLING = ("pool_size", "strides", "padding", "data_format")
_GLOBAL = ("data_format", "keepdims")


def pooling(cls: Any, *, average: bool, everywhere: bool) -> Callable[[Source], Placed]:
    """Pooling of HGQ2 or of Keras.

    An average is a float division there and a fixed-point reciprocal here: equal where it is a shift.

    Args:
        cls: ours.
        average: or maximum.
        everywhere: global.
    """
    names = _GLOBAL if everywhere else _POOLING

    def convert(source: Source) -> Placed:
        layer = source.layer
        arguments = {name: getattr(layer, name) for name in names}
        if average:
            _check_counts(source, everywhere)
        of_peer = hasattr(layer, "enable_iq")
        iq, oq = (source.input(), source.output()) if of_peer else (None, None)
        counting = source.counting() if of_peer else {}
        made = cls(**arguments, iq_conf=given(iq), oq_conf=wanted(oq), name=source.name, **counting)
        return Placed(made, inputs=[iq], output=oq)

    return convert


def _check_counts(source: Source, everywhere: bool) -> None:
    layer, (shape,) = source.layer, source.shapes
    spatial = shape[1:] if layer.data_format == "channels_first" else shape[:-1]
    if everywhere:
        counts = {int(np.prod(spatial))}
    else:
        ones = (1,) * len(spatial)
        pads = q.window_padding(spatial, layer.pool_size, layer.strides, ones, layer.padding)
        counts = set(q.window_counts(spatial, layer.pool_size, layer.strides, pads).ravel().tolist())
    uneven = sorted(n for n in counts if n & (n - 1))
    if uneven:
        raise UnsupportedLayerError(
            "HGQ2 divides by a number that is no power of two in float, which has no exact form",
            where=source.path,
            received=f"{uneven[0]} elements",
            remedy="pool over a power of two, or use QSum or QMeanPow2",
        )


def total(source: Source) -> Apply:
    """`QSum` and `QMeanPow2`: the sum, a shift where there is one, and the axes dropped.

    Raises:
        UnsupportedLayerError: another scale.
    """
    layer = source.layer
    rank = len(source.shapes[0]) + 1
    axes = [int(axis) % rank for axis in layer.axes]
    shift = -round(np.log2(layer.scale))
    iq = source.input()
    count = functools.reduce(lambda n, axis: n * source.shapes[0][axis - 1], axes, 1)
    if shift and shift != nearest_shift(count):
        raise UnsupportedLayerError(
            "a sum is imported as it is, or as the mean by the nearest power of two",
            where=source.path,
            received=f"scale={layer.scale} of {count} elements",
            remedy="use scale=1 or QMeanPow2, and scale in a layer that follows",
        )
    cls: Any = q.QMeanPow2 if shift else q.QSum
    name = source.name if layer.keepdims else f"{source.name}_sum"
    # HGQ2 cannot build an output quantizer here.
    reduced = Placed(cls(axis=axes, iq_conf=given(iq), name=name, **source.counting()), inputs=[iq])
    if layer.keepdims:
        return reduced
    shape = tuple(n for a, n in enumerate(source.shapes[0], start=1) if a not in axes)
    return chain(reduced, Placed(keras.layers.Reshape(shape, name=source.name)))


def quantized(setting: Any, name: str) -> Placed:
    """A quantizer as a layer of its own."""
    return Placed(q.Quantize(iq_conf=setting.config, name=name), inputs=[setting])
