"""Biases that make good for what rounding shifts on average.

The mean over data of a layer's output differs between the float and the quantized model: rounded weights
times inputs that are not zero on average, clipped or truncated inputs. Per output channel the difference is
a constant, so the bias can take it back, without cost in hardware. Layers go in the model's order and each
sees what all before it became (arXiv 1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calibrate.quality import single_output
from hgqify.calibrate.widths import apply_bias
from hgqify.calling import predict
from hgqify.data import Source
from hgqify.layers import QBatchNormalization, QLayer, QLinear, quantized_layers

SAMPLES = 256
"""Most samples the means are taken over."""


@dataclass(frozen=True, kw_only=True)
class BiasReport:
    """What the biases took back.

    Attributes:
        samples: number of samples the means were taken over.
        layers: by name, the largest mean error of a channel, in parts of the root mean square of what its
            layer gives in the float model.
        left: of the other layers with weights, why they were left as they are.
    """

    samples: int
    layers: Mapping[str, float]
    left: Mapping[str, str]


def correct_bias(model: keras.Model, clone: keras.Model, source: Source) -> BiasReport:
    """Add to every bias what its layer's output lacks on average; formats of biases follow.

    Args:
        model: a calibrated quantized model, settled; its biases move, so it must be settled again.
        clone: the float model with the same layers.
        source: calibration data.
    """
    left: dict[str, str] = {}
    layers = [layer for layer in quantized_layers(model) if _can_correct(layer, left)]
    if not layers:
        return BiasReport(samples=0, layers={}, left=left)
    names = [layer.name for layer in layers]
    batch = next(iter(source.batches(SAMPLES, limit=SAMPLES)))
    floats = _means(_statistics(clone, names), batch.inputs)
    measured = _statistics(model, names)
    found: dict[str, float] = {}
    for n, layer in enumerate(layers):
        shift = floats[2 * n] - _means(measured, batch.inputs)[2 * n]
        scale = float(np.sqrt(floats[2 * n + 1].mean()))
        found[layer.name] = float(np.max(np.abs(shift))) / scale if scale > 0 else 0.0
        variable = layer.beta if isinstance(layer, QBatchNormalization) else layer.bias
        variable.assign(np.asarray(keras.ops.convert_to_numpy(variable), np.float64) + shift)
        if isinstance(layer, QBatchNormalization):
            layer.refresh()
        apply_bias(layer)
    return BiasReport(samples=len(batch), layers=found, left=left)


def _can_correct(layer: QLayer, left: dict[str, str]) -> bool:
    if not isinstance(layer, QLinear | QBatchNormalization) or layer.kq.is_dummy:
        return False
    if layer.bq is None or (isinstance(layer, QBatchNormalization) and layer.beta is None):
        left[layer.name] = "it has no bias"
    elif single_output(layer) is None:
        left[layer.name] = "it is called several times"
    return layer.name not in left


def _statistics(model: keras.Model, names: list[str]) -> keras.Model:
    """A model of every layer's mean output and mean square by channel."""
    outputs = []
    for name in names:
        layer = model.get_layer(name)
        y = layer.output
        # The axis of the output channels is that of the bias.
        axis = layer.axis % y.ndim if isinstance(layer, QBatchNormalization) else y.ndim - 1
        if getattr(layer, "data_format", None) == "channels_first":
            axis = 1
        others = tuple(n for n in range(y.ndim) if n != axis)
        outputs += [keras.ops.mean(y, axis=others), keras.ops.mean(y * y, axis=others)]
    return keras.Model(model.inputs, outputs)


def _means(model: keras.Model, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [part.astype(np.float64) for part in predict(model, inputs)]
