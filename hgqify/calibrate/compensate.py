"""Weights that make good for rounding: refit to quantized inputs, then rounded in turn with error feedback.

For one layer, x its input in the float model and xq the quantized input it really gets, both as rows of
patches (plus a constant 1 for the bias), H = xq^T xq and C = xq^T x over calibration rows:

* refit: W' = (H + d)^-1 (C + d) W gives the float outputs from the quantized inputs, as far as d (damping,
  a fraction of H's mean diagonal) lets it leave W;
* error feedback: weights are rounded in turn; the error e of each is spread over those not rounded yet,
  ``W'[j+1:] -= U[j, j+1:] e / U[j, j]``, U^T U = (H + d)^-1 (GPTQ, arXiv 2210.17323, section 3). The bias is
  the last and hardly rounded, so that no output keeps a mean error.

Layers go in the model's order, and each sees what all before it became.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from hgqify.calibrate.patches import from_matrices, kernel_matrices, patch_rows
from hgqify.calling import predict
from hgqify.fixed import quantize
from hgqify.layers import QLinear

ROWS = 16384
"""Most rows of patches a layer is fitted to."""

_DAMPING = 1e-2

Choose = Callable[[np.ndarray, np.ndarray, int, np.ndarray], np.ndarray]
"""From unrounded weights of one term (groups, outputs), their pivots U[j, j] (groups,), the term's number and
the sum of squares of all inputs (groups,): the rounded weights. An error e costs ``(e / pivot)^2`` in squared
output error after the rest has made good for it."""


class Compensator:
    """The float inputs and weights of all layers; made once, used for any allocation.

    Args:
        model: quantized model; the weights of its layers are changed.
        clone: float model with the same layers.
        layers: those to compensate; one that is called several times is left alone.
        inputs: calibration data, an array per model input.
    """

    def __init__(
        self,
        model: keras.Model,
        clone: keras.Model,
        layers: Sequence[QLinear],
        inputs: Sequence[np.ndarray],
    ) -> None:
        self._inputs = inputs
        self.layers = {layer.name: layer for layer in layers if _input(layer) is not None}
        originals = [clone.get_layer(name) for name in self.layers]
        self._taps = keras.Model(model.inputs, [layer.input for layer in self.layers.values()])
        floats = predict(keras.Model(clone.inputs, [layer.input for layer in originals]), inputs)
        self._floats = dict(zip(self.layers, floats, strict=True))
        self._weights = {
            layer.name: (_array(layer.kernel), _array(layer.bias) if layer.use_bias else None)
            for layer in originals
        }

    def restore(self) -> None:
        """Give all layers their float weights again."""
        for name in self.layers:
            self._assign(name, *self._weights[name])

    def refit(self, name: str, choose: Choose) -> None:
        """Make good for the rounding of one layer's inputs and weights.

        Args:
            name: of the layer; those before it are final.
            choose: rounds the weights of one term.
        """
        layer = self.layers[name]
        kernel, bias = self._weights[name]
        real = predict(self._taps, self._inputs)[list(self.layers).index(name)]
        state = layer.iqs[0].state()
        real = quantize(real.astype(np.float64), state.k, state.i, state.f, state.rounding, state.overflow)
        xq, x = (patch_rows(layer, part, ROWS) for part in (real, self._floats[name].astype(np.float64)))
        weights = kernel_matrices(layer, kernel.astype(np.float64))
        if bias is not None:
            ones = np.ones((*xq.shape[:2], 1))
            xq, x = np.concatenate([xq, ones], axis=2), np.concatenate([x, ones], axis=2)
            weights = np.concatenate([weights, bias.reshape(len(weights), 1, -1)], axis=1)
        gram, cross = xq.swapaxes(1, 2) @ xq, xq.swapaxes(1, 2) @ x
        terms = weights.shape[1]
        damping = _DAMPING * np.trace(gram, axis1=1, axis2=2)[:, None, None] / terms + 1e-12
        damping = damping * np.eye(terms)
        inverse = np.linalg.inv(gram + damping)
        weights = inverse @ ((cross + damping) @ weights)
        energy = np.trace(gram, axis1=1, axis2=2) - (0 if bias is None else gram[:, -1, -1])
        factor = np.linalg.cholesky(inverse).swapaxes(1, 2)
        for term in range(terms if bias is None else terms - 1):
            pivot = factor[:, term, term]
            rounded = choose(weights[:, term], pivot, term, energy)
            error = (weights[:, term] - rounded) / pivot[:, None]
            weights[:, term + 1 :] -= factor[:, term, term + 1 :, None] * error[:, None]
            weights[:, term] = rounded
        if bias is not None:
            bias = weights[:, -1].reshape(-1)
            weights = weights[:, :-1]
        self._assign(name, from_matrices(layer, weights), bias)

    def _assign(self, name: str, kernel: np.ndarray, bias: np.ndarray | None) -> None:
        self.layers[name].kernel.assign(kernel)
        if bias is not None:
            self.layers[name].bias.assign(bias)


def _input(layer: QLinear) -> keras.KerasTensor | None:
    try:
        tensor = layer.input
    except (AttributeError, ValueError):  # called several times
        return None
    return tensor if isinstance(tensor, keras.KerasTensor) else None


def _array(variable: object) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
