"""Evaluate a quantized Keras model in float64, which is exact up to 53 bits.

Where an accumulator outgrows the 24 bits of float32, Keras rounds and the hardware does not. In float64 the
same layers give the hardware's numbers again, as `hgqify.certify(model, significand=53)` proves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from hgqify import calling
from hgqify.layers.float64 import float64_on, in_float64


@contextlib.contextmanager
def evaluating(model: keras.Model) -> Iterator[keras.Model]:
    """Within the block: a model of the same layers and weights that computes in float64.

    Args:
        model: Sequential or Functional, of quantized layers; it is left as it is. Later changes of it are
            not followed.
    """
    with float64_on():
        yield in_float64(model)


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
    arrays = [np.asarray(x, np.float32) for x in ([inputs] if isinstance(inputs, np.ndarray) else inputs)]
    starts = range(0, max(len(arrays[0]), 1), batch_size)
    with evaluating(model) as double:
        parts = [calling.predict(double, [x[n : n + batch_size] for x in arrays]) for n in starts]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
