"""Weights that make good for rounding: refit to quantized inputs, then rounded with error feedback.

For one layer, x its input in the float model and xq the quantized input it really gets, both as rows of
patches (plus a constant 1 for the bias), W its float weights and H = xq^T xq over calibration rows:

    W' = W + (H + d)^-1 xq^T (x - xq) W

gives the float outputs from the quantized inputs, as far as d (damping, a fraction of H's mean diagonal) lets
it leave W. Then `rounding.Rounder` rounds the weights in turn; the bias is the last and hardly rounded, so
that no output keeps a mean error. Layers go in the model's order, and each sees what all before it became.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hgqify.calibrate.allocate import Allocation, Allocator, allocatable
from hgqify.calibrate.assign import assign_weights
from hgqify.calibrate.patches import from_matrices, kernel_matrices, patch_rows
from hgqify.calibrate.rounding import Fit, Rounded, Rounder, inverse_factor, output_curvature
from hgqify.calibrate.search import largest_within
from hgqify.calling import predict
from hgqify.graph import read, walk
from hgqify.layers import QLinear

ROWS = 8192
"""Most rows of patches a layer is fitted to."""

TERMS = 4096
"""Most weights of one output that are rounded in turn: the Gram matrix has its square."""

ELEMENTS = 2**22
"""Most values in the largest tensor of the samples: bounds memory."""

KEPT = 2**25
"""Most values of the float model that are kept between allocations; where there are more, none are."""

ENOUGH = 0.985
"""Share of a budget that moved weights are brought to."""

_DAMPING = 1e-2


def samples_to_fit(model: keras.Model) -> int:
    """How many samples the weights of a model are fitted to: one row each at least, as memory allows."""
    largest = max(int(np.prod(node.shape)) for node in read(model, opened=False))
    return min(max(ELEMENTS // largest, 1), ROWS)


class Compensator:
    """Lets the weights of a model make good for the rounding of any allocation.

    Args:
        model: quantized model; weights of its layers are changed.
        clone: float model with the same layers.
        inputs: calibration data, an array per model input.

    Attributes:
        left: by layer, why its weights are only rounded.
    """

    def __init__(self, model: keras.Model, clone: keras.Model, inputs: Sequence[np.ndarray]) -> None:
        self._model, self._clone, self._inputs = model, clone, inputs
        layers = allocatable(model)
        self.left = {layer.name: reason for layer in layers if (reason := _obstacle(layer)) is not None}
        self._layers = {layer.name: layer for layer in layers if layer.name not in self.left}
        self._weights = {name: _weights(clone.get_layer(name)) for name in self._layers}
        self._compiled: dict[int, Callable[..., Any]] = {}
        self._kept: list[tuple[str, np.ndarray]] = []

    def remaining(self, curvature: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What of the curvature at every weight remains when those after it make good for its error.

        Args:
            curvature: of the loss at every weight, by layer.

        Returns:
            The same for layers that are not compensated; ``h / U[j, j]^2`` for others, h the curvature at
            the weight's output.
        """
        found = dict(curvature)
        for name, floats in self._floats():
            fit = self._fit(name, floats, floats, ROWS // 2)
            pivots = np.diagonal(fit.factor, axis1=1, axis2=2)[:, : fit.weights.shape[1] - fit.bias]
            outputs = output_curvature(self._layers[name], curvature[name], fit)
            found[name] = from_matrices(self._layers[name], outputs[:, None] / pivots[..., None] ** 2)
        return found

    def apply(self, allocator: Allocator, allocation: Allocation, budget: int | None = None) -> int:
        """Give the model the formats of an allocation, and weights moved to make good for them.

        Args:
            allocator: of the model.
            allocation: of the allocator.
            budget: EBOPs the moved weights may take. Their own price is searched again until they do; None
                keeps the allocation's.

        Returns:
            EBOPs of the model, as planned: settling may change them.
        """
        rounders = {
            name: Rounder(layer, allocator.weights[name], allocator.sensitivity.weights[name])
            for name, layer in self._layers.items()
        }

        def rounded(name: str, fit: Fit, allocation: Allocation) -> Rounded:
            costs = allocation.price * allocator.weight_price(name, allocation)
            return rounders[name].round(fit, costs=costs, chosen=allocation.weights[name])

        def count(allocation: Allocation, kernels: Mapping[str, Rounded]) -> int:
            return allocator.count(allocation, {name: kernel.spans for name, kernel in kernels.items()})

        def repriced(price: float) -> tuple[int, tuple[Allocation, dict[str, Rounded]]]:
            again = allocator.repriced(allocation, price)
            kernels = {name: rounded(name, fit, again) for name, fit in fits.items()}
            return count(again, kernels), (again, kernels)

        for name in self._layers:
            self._move(name, *self._weights[name])
        allocator.apply(allocation)
        fits: dict[str, Fit] = {}
        kernels: dict[str, Rounded] = {}
        for name, real, floats in self._in_turn():
            fits[name] = self._fit(name, real, floats)
            kernels[name] = rounded(name, fits[name], allocation)
            self._assign(name, kernels[name], allocator)
        ebops = count(allocation, kernels)
        if budget is None or ENOUGH * budget <= ebops <= budget or (ebops <= budget and not allocation.price):
            return ebops
        first = (ebops, (allocation, kernels)) if allocation.price else None
        price = allocation.price or 1e-30
        found = largest_within(repriced, budget, start=price, enough=ENOUGH, known=first)
        if found is None:
            return ebops
        allocator.apply(found[0])
        for name, kernel in found[1].items():
            self._assign(name, kernel, allocator)
        return count(*found)

    def noise(self) -> float:
        """Mean squared difference of the outputs from the float model's, on the samples fitted to."""
        floats, fixed = (predict(model, self._inputs) for model in (self._clone, self._model))
        errors = (y.astype(np.float64) - q for y, q in zip(floats, fixed, strict=True))
        return float(sum(np.mean(error**2) for error in errors))

    def _in_turn(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Layer after layer: name, quantized input as those before it give it by then, float input."""
        steps = (step for step in walk(self._model, self._inputs, self._fast) if step[0].name in self._layers)
        for (layer, given), (_, floats) in zip(steps, self._floats(), strict=True):
            yield layer.name, np.asarray(self._fast(layer.iqs[0])(given[0])), floats

    def _floats(self) -> Iterator[tuple[str, np.ndarray]]:
        """Layer after layer: name and float input, which no allocation changes."""
        if self._kept:
            yield from self._kept
            return
        found, values = [], 0
        for layer, given in walk(self._clone, self._inputs, self._fast):
            if layer.name in self._layers:
                floats = np.asarray(given[0])
                values += floats.size
                if values <= KEPT:
                    found.append((layer.name, floats))
                yield layer.name, floats
        if values <= KEPT:
            self._kept = found

    def _fit(self, name: str, real: np.ndarray, floats: np.ndarray, rows: int = ROWS) -> Fit:
        layer, (kernel, bias) = self._layers[name], self._weights[name]
        # In float32 twice as fast, and damping is far above its rounding; but squares must not overflow.
        kind = np.float32 if max(np.abs(real).max(), np.abs(floats).max()) < 1e12 else np.float64
        xq = patch_rows(layer, real, rows).astype(kind, copy=False)
        weights = kernel_matrices(layer, kernel)
        lost = None
        if real is not floats:
            lost = (patch_rows(layer, floats, rows).astype(kind, copy=False) - xq) @ weights
        if bias is not None:
            xq = np.concatenate([xq, np.ones((*xq.shape[:2], 1), kind)], axis=2)
            weights = np.concatenate([weights, bias.reshape(len(weights), 1, -1)], axis=1)
        turned = xq.swapaxes(1, 2)
        gram = (turned @ xq).astype(np.float64)
        squares = np.trace(gram, axis1=1, axis2=2)
        damping = _DAMPING * squares[:, None, None] / weights.shape[1] + 1e-12
        factor = inverse_factor(gram + damping * np.eye(weights.shape[1]))
        if lost is not None:
            weights = weights + factor.swapaxes(1, 2) @ (factor @ (turned @ lost))
        return Fit(
            weights=weights,
            factor=factor,
            energy=squares - (0 if bias is None else gram[:, -1, -1]),
            bias=bias is not None,
        )

    def _assign(self, name: str, rounded: Rounded, allocator: Allocator) -> None:
        self._move(name, rounded.kernel, rounded.bias)
        assign_weights(self._layers[name], rounded.f, rounded.codes, allocator.weights[name].shared)

    def _move(self, name: str, kernel: np.ndarray, bias: np.ndarray | None) -> None:
        self._layers[name].kernel.assign(kernel)
        if bias is not None:
            self._layers[name].bias.assign(bias)

    def _fast(self, layer: Any) -> Callable[..., Any]:
        """A layer as a compiled function of its weights; operations of Keras as they are."""
        if not isinstance(layer, keras.layers.Layer):
            return layer
        if id(layer) not in self._compiled:
            import jax

            self._compiled[id(layer)] = jax.jit(lambda *given: layer.stateless_call(*given)[0])
        compiled = self._compiled[id(layer)]

        def call(*given: Any) -> Any:
            trained, others = layer.trainable_variables, layer.non_trainable_variables
            return compiled([v.value for v in trained], [v.value for v in others], *given)

        return call


def _obstacle(layer: QLinear) -> str | None:
    """Why a layer's weights are only rounded; None if they are not."""
    try:
        if not isinstance(layer.input, keras.KerasTensor):
            return "several inputs"
    except (AttributeError, ValueError):
        return "called several times"
    terms = kernel_matrices(layer, np.empty(layer.kernel.shape)).shape[1]
    return f"{terms:,} weights per output, more than {TERMS:,}" if terms > TERMS else None


def _weights(layer: QLinear) -> tuple[np.ndarray, np.ndarray | None]:
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float32)
    if not layer.use_bias:
        return kernel, None
    return kernel, np.asarray(keras.ops.convert_to_numpy(layer.bias), np.float32)
