"""Keep formats as they are while weights are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from hgqify.layers import QLayer, quantized_layers
from hgqify.quantizers import Quantizer


class Clip(keras.constraints.Constraint):
    """Projects a weight onto what its format can hold: ``low <= w <= high``, element by element.

    A format whose integer bits follow from the weight would widen with it; one that saturates would let
    the weight drift where it has no effect any more.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self.low = np.asarray(low, np.float32)
        self.high = np.asarray(high, np.float32)

    def __call__(self, w: Any) -> Any:
        """The weight, clipped."""
        return keras.ops.clip(w, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        """The bounds."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}


@contextmanager
def frozen_widths(model: keras.Model) -> Iterator[None]:
    """Within the block no width is trained or tracked, and weights stay within their formats.

    What the user set before is restored afterwards, also after an error.
    """
    quantizers = [q for layer in quantized_layers(model) for q in _quantizers(layer)]
    # What has no price of its own to move: EBOPs change by single weights only.
    held: list[keras.layers.Layer] = [*quantizers]
    held += [layer.penalty for layer in quantized_layers(model) if layer.penalty is not None]
    trainable = [layer.trainable for layer in held]
    bounded = [pair for layer in quantized_layers(model) for pair in _bounds(layer)]
    before = [variable.constraint for variable, _ in bounded]
    try:
        for layer in held:
            layer.trainable = False
        for variable, clip in bounded:
            variable.constraint = clip
        yield
    finally:
        for layer, value in zip(held, trainable, strict=True):
            layer.trainable = value
        for (variable, _), constraint in zip(bounded, before, strict=True):
            variable.constraint = constraint


def _quantizers(layer: QLayer) -> list[Quantizer]:
    return [q for q in (*layer.iqs, layer.kq, layer.bq, layer.oq) if q is not None]


def _bounds(layer: QLayer) -> list[tuple[keras.Variable, Clip]]:
    """The trained constants of a layer that have quantizers of their own, with what these can hold."""
    pairs = ((getattr(layer, "kernel", None), layer.kq), (getattr(layer, "bias", None), layer.bq))
    found = []
    for variable, quantizer in pairs:
        if variable is None or quantizer is None or quantizer.is_dummy:
            continue
        state = quantizer.state(variable)
        last = -state.f if state.digits is None else state.i - state.digits
        top = np.ldexp(1.0, state.i) - np.ldexp(1.0, last)
        low = np.where(state.k > 0, -top, 0.0)
        # Without bits nothing of the weight is used; it keeps its value.
        live = state.k + state.i + state.f > 0
        found.append((variable, Clip(np.where(live, low, -np.inf), np.where(live, top, np.inf))))
    return found
