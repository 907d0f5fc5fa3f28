"""How far a quantized model is from its float origin, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from hgqify.calling import predict
from hgqify.layers import quantized_layers


def layer_sqnr(clone: keras.Model, model: keras.Model, inputs: Sequence[np.ndarray]) -> dict[str, float]:
    """Signal-to-quantization-noise ratio at the output of every quantized layer, in dB.

    ``10 log10(sum y^2 / sum (y - q)^2)`` with y the output of the float clone and q that of the quantized
    model, both on the same model inputs, so that the noise of all layers before is included. Infinite
    where nothing differs. A layer that is called several times has no single output and is left out.

    Args:
        clone, model: as `convert.Conversion` gives them; layers correspond by name.
        inputs: one batch, an array per model input.
    """
    names = [layer.name for layer in quantized_layers(model) if single_output(layer) is not None]
    if not names:
        return {}
    floats, fixed = (
        predict(keras.Model(m.inputs, [m.get_layer(name).output for name in names]), inputs)
        for m in (clone, model)
    )
    return {name: sqnr(y, q) for name, y, q in zip(names, floats, fixed, strict=True)}


def sqnr(signal: np.ndarray, quantized: np.ndarray) -> float:
    """``10 log10(sum y^2 / sum (y - q)^2)`` in dB; infinite where nothing differs."""
    y, q = np.asarray(signal, np.float64), np.asarray(quantized, np.float64)
    noise, power = float(np.sum((y - q) ** 2)), float(np.sum(y**2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(power / noise)) if power > 0 else float("-inf")


def single_output(layer: keras.layers.Layer) -> keras.KerasTensor | None:
    """The output of a layer that is called once; None for others."""
    try:
        output = layer.output
    except (AttributeError, ValueError):  # called several times, or never
        return None
    return output if isinstance(output, keras.KerasTensor) else None
