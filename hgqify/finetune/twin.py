"""A model's twin for training: the same function with widths that move, and the way back.

A deployed model holds formats; what is trained holds weights and *real* widths that act rounded. In the twin
a weight's integer bits follow from the weight itself, so that one number per weight is trained beside it
(HGQ, arXiv 2405.00645), biases are not rounded, and EBOPs have a price. `deploy` gives a deployed model the
codes and formats that the twin computes with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.finetune.freeze import Clip
from hgqify.graph import first_trained
from hgqify.layers import KeptFloat, QLayer, QLinear, quantized_layers
from hgqify.quantizers import Place, QType, QuantizerConfig

_DITHER = 0.45
"""How far a width starts from the integer it acts as: all would cross 1/2 at the same step otherwise."""

_LOWEST = -60.0  # fractional bits: of no use to any number


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """The widest formats of one layer with a kernel.

    Attributes:
        kernel_f: most fractional bits of every weight, of the kernel's shape.
        kernel_bits: most bits of a weight, sign excluded.
        data_f, data_bits: most fractional bits, and most i + f, of the layer's input; shape of its widths.
    """

    kernel_f: np.ndarray
    kernel_bits: int
    data_f: np.ndarray
    data_bits: np.ndarray


def make_twin(
    model: keras.Model,
    clone: keras.Model,
    limits: Mapping[str, Limits],
    *,
    seed: int,
    stochastic_rounding: bool = False,
    width_gradient_part: int = 1,
) -> keras.Model:
    """The twin of a model with allocated widths.

    Args:
        model: of calibrated quantized layers.
        clone: float model with the same layers: where a weight is zero, its float value tells how far it is
            from being none.
        limits: by name, of the layers whose widths are to move.
        seed: of where widths start between two integers, and of stochastic rounding.
        stochastic_rounding: of weights and inputs of these layers, in training.
        width_gradient_part: of the quantizers of their inputs, see `QuantizerConfig`.
    """
    twin = keras.models.clone_model(
        model,
        clone_function=lambda layer: _twin_layer(layer, limits, stochastic_rounding, width_gradient_part),
    )
    rng = np.random.default_rng((seed, 2))
    for layer in model.layers:
        if isinstance(layer, KeptFloat):
            copy_variables(layer.variables, twin.get_layer(layer.name).variables)
    for layer in quantized_layers(model):
        other = twin.get_layer(layer.name)
        if layer.name not in limits:
            copy_variables(layer.variables, other.variables)
            continue
        _start(layer, other, clone.get_layer(layer.name), limits[layer.name], rng)
    for layer in quantized_layers(twin):
        if layer.penalty is not None:
            layer.penalty.trainable = layer.name in limits
        for quantizer in _quantizers(layer):
            quantizer.trainable = layer.name in limits and quantizer in (layer.kq, *layer.iqs)
            if quantizer.seed_generator is not None:
                quantizer.seed_generator.state.assign(rng.integers(0, 2**32, 2, dtype=np.uint32))
    for layer in first_trained(twin):
        if isinstance(layer, QLinear):
            layer.needs_input_gradient = False
    return twin


def _twin_layer(
    layer: keras.layers.Layer,
    limits: Mapping[str, Limits],
    stochastic_rounding: bool,
    width_gradient_part: int,
) -> keras.layers.Layer:
    if isinstance(layer, KeptFloat):
        return layer.copy()
    config = layer.get_config()
    if isinstance(layer, QLayer):
        chosen = limits.get(layer.name)
        if chosen is not None:
            config |= {"enable_ebops": True, "beta0": 0.0}
            kernel = _rounding(QuantizerConfig.from_config(config["kq_conf"]), stochastic_rounding)
            config["kq_conf"] = kernel.replace(q_type=QType.KIF).get_config()
            config["bq_conf"] = QuantizerConfig(QType.DUMMY, Place.BIAS).get_config()
            data = _rounding(QuantizerConfig.from_config(config["iq_conf"]), stochastic_rounding)
            widest = max(1, int(chosen.data_bits.max(initial=1)))
            data = data.replace(trainable=True, max_bits=widest, width_gradient_part=width_gradient_part)
            config["iq_conf"] = data.get_config()
    return type(layer).from_config(config)


def _rounding(config: QuantizerConfig, stochastic_rounding: bool) -> QuantizerConfig:
    return config.with_stochastic_rounding() if stochastic_rounding else config


def _start(
    layer: QLinear, other: QLinear, floating: QLinear, limits: Limits, rng: np.random.Generator
) -> None:
    """Weights at the values they act as; widths near the fewest bits that hold them."""
    weight = layer.quantized_weights()["kernel"].astype(np.float64)
    state = layer.kq.state(np.asarray(layer.kernel))
    f = np.broadcast_to(state.f, weight.shape)
    codes = np.rint(np.ldexp(weight, f)).astype(np.int64)
    spare = np.where(codes == 0, 0, np.frexp((codes & -codes).astype(np.float64))[1] - 1)
    # A weight without bits could have as many as leave it zero.
    origin = np.abs(np.asarray(floating.kernel, np.float64))
    none = -np.frexp(np.maximum(origin, 1e-12))[1] - 1
    f = np.minimum(np.where(codes == 0, none, f - spare), limits.kernel_f)
    shared = shared_axes_of(layer)
    if shared:
        # As fine as the weights of a group need; without any, all of them stay none.
        finest = np.max(np.where(codes == 0, _LOWEST, f), axis=shared, keepdims=True)
        f = np.where(finest > _LOWEST, finest, np.min(f, axis=shared, keepdims=True))
    f = f + rng.uniform(-_DITHER, _DITHER, f.shape)
    other.kernel.assign(weight)
    if layer.use_bias:
        copy_variables([layer.bias], [other.bias])
    highest = np.max(limits.kernel_f, axis=shared, keepdims=True) if shared else limits.kernel_f
    _bounded(other.kq.f, f, np.full(f.shape, _LOWEST), highest)
    ours, theirs = layer.iqs[0], other.iqs[0]
    copy_variables([ours.k, ours.i], [theirs.k, theirs.i])
    f = np.asarray(ours.f, np.float64)
    # A tensor of one width that loses its last bit is lost for good: nothing would pull it back.
    low = 1.0 - np.asarray(ours.i) if f.size == 1 else np.full(f.shape, _LOWEST)
    _bounded(theirs.f, f, np.minimum(low, f), limits.data_f.reshape(f.shape))
    if layer.oq is not None and other.oq is not None:
        copy_variables(layer.oq.variables, other.oq.variables)


def _bounded(variable: Any, value: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    # Half a bit above the highest integer still rounds to it.
    clip = Clip(low, high + _DITHER)
    variable.assign(np.clip(value, clip.low, clip.high))
    variable.constraint = clip


def copy_variables(old: Sequence[keras.Variable], new: Sequence[keras.Variable]) -> None:
    """Give variables the values of others."""
    # Copies: a training step gives the arrays it starts from away.
    for source, target in zip(old, new, strict=True):
        target.assign(np.array(source))


def shared_axes_of(layer: QLinear) -> tuple[int, ...]:
    """Axes of the kernel along which one format is shared."""
    pairs = zip(layer.kq.width_shape, layer.kernel.shape, strict=True)
    return tuple(n for n, (a, b) in enumerate(pairs) if a != b)


def _quantizers(layer: QLayer) -> list[Any]:
    return [q for q in (*layer.iqs, layer.kq, layer.bq, layer.oq) if q is not None]
