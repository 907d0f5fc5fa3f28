"""Formats of all quantizers of a model, from observed ranges and from the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from hgqify.calibrate.placement import (
    EXPONENT_LIMIT,
    Bits,
    place_activation,
    place_bias,
    place_minifloat,
    place_weight,
)
from hgqify.calibrate.ranges import Range
from hgqify.calibrate.tables import apply_table, total_width
from hgqify.errors import CalibrationError
from hgqify.fixed import Overflow
from hgqify.layers import (
    QActivation,
    QBatchNormalization,
    QEmbedding,
    QLayer,
    QLinear,
    QMultiplyPow2,
)
from hgqify.quantizers import Quantizer, QuantizerState

BIAS_BITS = 20
"""Most bits (sign excluded) of a bias: beyond them the bias alone would fill a float32 accumulator."""


def apply_ranges(layer: QLayer, ranges: Mapping[int | str, Range], *, margin: int | None) -> None:
    """Set the formats of a layer's data quantizers; their widths (k + i + f) stay.

    Args:
        layer: a built layer.
        ranges: by slot, index in `iqs` or 'oq'.
        margin: additional integer bits where overflow wraps; None if something else sees to it that
            nothing overflows: such formats are placed as those that saturate.

    Raises:
        CalibrationError: a slot without a range.
    """
    if isinstance(layer, QActivation) and layer.is_tabulated:
        apply_table(layer, _range_of(layer, ranges, 0))
        return
    if isinstance(layer, QEmbedding) and layer.oq is not None:
        # Rows are known, and data may show few of them.
        rows = np.asarray(keras.ops.convert_to_numpy(layer.embeddings))
        low, high = (np.full(layer.oq.width_shape, end) for end in (rows.min(), rows.max()))
        apply_range(layer.oq, Range(low=low, high=high), margin=margin)
        return
    # Powers of two have a format that holds all of them.
    iqs = layer.iqs[:1] if isinstance(layer, QMultiplyPow2) else layer.iqs
    for slot, quantizer in enumerate(iqs):
        apply_range(quantizer, _range_of(layer, ranges, slot), margin=margin)
    if layer.oq is not None:
        apply_range(layer.oq, _range_of(layer, ranges, "oq"), margin=margin)


def apply_range(quantizer: Quantizer, observed: Range, *, margin: int | None) -> None:
    """Set the format of one data quantizer from the range it sees."""
    if quantizer.is_dummy:
        return
    state = quantizer.state()
    shared = observed.reduce(state.f.shape)
    magnitude = np.maximum(-shared.low, shared.high)
    check_magnitude(magnitude, quantizer.path, "an activation")
    if quantizer.is_minifloat:
        apply_minifloat(quantizer, magnitude)
        return
    wraps = margin is not None and not state.overflow.saturates
    bits = place_activation(
        shared.low,
        shared.high,
        total_width(state),
        wraps=wraps,
        margin=margin if wraps and margin is not None else 0,
        frac=shared.frac,
        signed=state.overflow is Overflow.WRAP_SM,  # no unsigned type wraps that way
    )
    quantizer.set_state(*bits)


def apply_minifloat(quantizer: Quantizer, magnitude: np.ndarray) -> None:
    """Set a minifloat's offset from the largest magnitudes it sees; its bits stay.

    Args:
        quantizer: on data or of a weight.
        magnitude: of the shape of the widths, with or without a batch axis.
    """
    m, e, _ = quantizer.minifloat()
    magnitude = np.reshape(magnitude, m.shape)
    # A format that was switched off comes back with the widest of its tensor.
    m, e0 = place_minifloat(magnitude, np.where(m < 0, np.max(m, initial=0), m), e)
    quantizer.set_minifloat(m=m, e0=e0)


def apply_weights(layer: QLayer) -> None:
    """Set the formats of a layer's weights, then of its bias; the weights' widths stay.

    Raises:
        CalibrationError: a weight that is not finite.
    """
    quantizer = layer.kq
    if not isinstance(layer, QLinear | QBatchNormalization) or quantizer is None or quantizer.is_dummy:
        return
    weight = float_kernel(layer)
    check_magnitude(weight, layer.name, "a weight")
    axes = tuple(
        n for n, (a, b) in enumerate(zip(quantizer.width_shape, weight.shape, strict=True)) if a != b
    )
    if quantizer.is_minifloat:
        apply_minifloat(quantizer, np.max(np.abs(weight), axis=axes, keepdims=True))
        apply_bias(layer)
        return
    width = total_width(quantizer.state(weight))
    placed = place_weight(weight, axes, width)
    if not axes and weight.ndim > 1:
        placed = _not_finer_than_channels(placed, weight, width)
    quantizer.set_state(*placed)
    apply_bias(layer)


def _not_finer_than_channels(placed: Bits, weight: np.ndarray, width: np.ndarray) -> Bits:
    """Formats of single weights, no finer than their output channel's common format would be.

    All products of an output are added up: a small weight with an LSB far below that of the large ones
    costs bits there and gains nothing.
    """
    common = place_weight(weight, tuple(range(weight.ndim - 1)), int(np.max(width)))
    coarser = placed.f > common.f
    f = np.where(coarser, common.f, placed.f)
    codes = np.floor(np.ldexp(np.abs(weight), f) + 0.5)
    # On a coarser grid a weight may round up to the power of two above it.
    i = placed.i + (coarser & (codes > np.ldexp(1.0, placed.i + f) - 1))
    keep = (codes > 0) & (placed.k + i + f > 0)
    return Bits(*(np.where(keep, part, 0) for part in (placed.k, i, f)))


def apply_bias(layer: QLayer) -> None:
    """Put a layer's bias on the LSB of its products."""
    if layer.bq is None or layer.bq.is_dummy or not layer.iqs:
        return
    frac = product_frac(layer)
    bias = layer.scale_shift()[1] if isinstance(layer, QBatchNormalization) else layer.bias
    values = np.asarray(keras.ops.convert_to_numpy(bias))
    check_magnitude(values, layer.name, "a bias")
    layer.bq.set_state(*place_bias(values, frac, BIAS_BITS))


def product_frac(layer: QLayer) -> np.ndarray:
    """Fractional bits of a layer's finest product, per output channel: largest f_w + f_x.

    A layer has many products per output; all are multiples of 2**-frac.
    """
    if layer.kq is None:
        raise CalibrationError("the layer has no kernel", where=layer.name)
    kernel_f, input_f = kernel_frac(layer), channel_frac(layer)
    # Kernel axes, right to left: outputs, then inputs; a depthwise kernel and a scale pair one to one.
    if isinstance(layer, QBatchNormalization):
        return kernel_f + np.broadcast_to(input_f, kernel_f.shape)
    if hasattr(layer, "depth_multiplier"):
        per_channel = kernel_f.reshape(-1, *kernel_f.shape[-2:]).max(axis=0)
        return (per_channel + input_f[:, None]).reshape(-1)
    return kernel_f.reshape(-1, kernel_f.shape[-1]).max(axis=0) + int(input_f.max())


def kernel_frac(layer: QLayer) -> np.ndarray:
    """f of every weight of a layer's kernel (or scale), broadcast to its shape."""
    quantizer = layer.kq
    if quantizer is None:
        raise CalibrationError("the layer has no kernel", where=layer.name)
    weight = float_kernel(layer)
    return np.broadcast_to(live_frac(quantizer.state(weight)), weight.shape)


def float_kernel(layer: QLayer) -> np.ndarray:
    """The float kernel of a linear layer, or the scale of a batch normalization."""
    if isinstance(layer, QBatchNormalization):
        return layer.scale_shift()[0]
    if isinstance(layer, QLinear):
        return np.asarray(keras.ops.convert_to_numpy(layer.kernel))
    raise CalibrationError("the layer has no kernel", where=layer.name)


def channel_axis(layer: QLayer) -> int:
    """The channel axis of a layer's input, batch excluded."""
    if isinstance(layer, QBatchNormalization):
        return layer.axis if layer.axis < 0 else layer.axis - 1
    return 0 if getattr(layer, "data_format", None) == "channels_first" else -1


def channel_frac(layer: QLayer) -> np.ndarray:
    """Largest f of each channel of a layer's (first) input, shape (channels,) or (1,) if all agree."""
    return _per_channel(live_frac(layer.iqs[0].state()), channel_axis(layer))


def channel_bound(layer: QLayer) -> np.ndarray:
    """Largest magnitude of each channel of a layer's (first) input, shape (channels,) or (1,)."""
    return _per_channel(bound(layer.iqs[0].state()), channel_axis(layer))


def check_magnitude(values: np.ndarray, where: str | None, what: str) -> None:
    """Refuse numbers no format should be made for.

    Raises:
        CalibrationError: NaN, infinity, or beyond 2**60.
    """
    largest = float(np.max(np.abs(values), initial=0.0))
    if not largest <= 2.0**EXPONENT_LIMIT:
        raise CalibrationError(
            f"{what} is not finite or larger than 2**{EXPONENT_LIMIT}",
            where=where,
            received=f"{largest:.6g}",
            remedy="scale the data, or train the model again",
        )


def live_frac(state: QuantizerState) -> np.ndarray:
    """f, with elements that have no bits counted like the coarsest of the tensor."""
    live = state.k + state.i + state.f > 0
    least = np.min(state.f, where=live, initial=np.iinfo(np.int32).max) if live.any() else 0
    return np.where(live, state.f, least)


def bound(state: QuantizerState) -> np.ndarray:
    """What no magnitude of a format exceeds: 2**i if signed, 2**i - 2**-f if not, 0 without bits."""
    live = state.k + state.i + state.f > 0
    top = np.ldexp(1.0, state.i) - np.where(state.k > 0, 0.0, np.ldexp(1.0, -state.f))
    return np.where(live, top, 0.0)


def _per_channel(values: np.ndarray, axis: int) -> np.ndarray:
    if values.ndim == 0:
        return values.reshape(1)
    return np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis]).max(axis=0)


def _range_of(layer: QLayer, ranges: Mapping[int | str, Range], slot: int | str) -> Range:
    if slot not in ranges:
        raise CalibrationError(
            "no range was observed for this quantizer",
            where=f"{layer.name}, {'output' if slot == 'oq' else f'input {slot}'}",
            remedy="calibrate with the sites of the conversion that made the model",
        )
    return ranges[slot]


def merged_range(ranges: Sequence[Range]) -> Range:
    """One range for several tensors: element by element where shapes agree, else of all elements."""
    result = ranges[0]
    for other in ranges[1:]:
        if result.low.shape != other.low.shape:
            result, other = result.reduce(()), other.reduce(())
        result = result.union(other)
    return result
