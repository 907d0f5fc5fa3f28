"""Evaluate a quantized Keras model in float64, which is exact up to 53 bits.

Where an accumulator outgrows the 24 bits of float32, Keras rounds and the hardware does not. In float64 the
same layers give the hardware's numbers again, as `hgqify.certify(model, significand=53)` proves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from hgqify import calling
from hgqify.layers.float64 import float64_on, in_float64


class Float64Model:
    """A quantized model ready to be evaluated in float64, batch by batch.

    Args:
        model: Sequential or Functional, of quantized layers; later changes of it are not followed.
    """

    def __init__(self, model: keras.Model) -> None:
        with float64_on():
            self._clone = in_float64(model)

    def predict_on_batch(self, inputs: Any) -> Any:
        """Outputs as `keras.Model.predict_on_batch` gives them, in float64."""
        with float64_on():
            return self._clone.predict_on_batch(_as_float32(inputs))

    @property
    def input(self) -> Any:
        """The structure of the inputs."""
        return self._clone.input

    @property
    def inputs(self) -> list[Any]:
        """The inputs, flat."""
        return self._clone.inputs


def predict(
    model: keras.Model, inputs: np.ndarray | Sequence[np.ndarray], *, batch_size: int = 256
) -> list[np.ndarray]:
    """Outputs of a quantized model in float64, in flat order.

    Args:
        model: Sequential or Functional, of quantized layers.
        inputs: one array per model input, in flat order; a single array for one input. Taken as float32,
            as hardware and reference do.
        batch_size: samples at a time.
    """
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    double: Any = Float64Model(model)
    parts = [
        calling.predict(double, [x[n : n + batch_size] for x in arrays])
        for n in range(0, len(arrays[0]), batch_size)
    ]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _as_float32(inputs: Any) -> Any:
    return keras.tree.map_structure(lambda x: np.asarray(x, np.float32), inputs)
