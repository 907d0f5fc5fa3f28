"""Adam whose steps are relative to the size of what they move, and two optimizers as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np


class RelativeAdam(keras.optimizers.Adam):
    """Adam with ``step = learning_rate * scale * m / (sqrt(v) + epsilon)``, scale being a weight's own size.

    The scale is the root mean square of the weights of one output channel (of a bias: of the whole
    vector), as it was at the start. Folding normalizations into kernels, and inputs like 0..255, leave
    channels of very different size in one model: one absolute step would destroy the small ones before
    it moves the large ones.

    Args:
        variables: what will be trained.
        scales: of those that have one scale, known beforehand: by path, such as of a trained width.
        **kwargs: of `keras.optimizers.Adam`; ``learning_rate`` is a fraction of the weights' size.
    """

    def __init__(
        self, variables: Sequence[keras.Variable], scales: Mapping[str, float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        known = scales or {}
        self._scales = {
            id(v): np.float32(known[v.path])
            if v.path in known
            else relative_scale(np.asarray(keras.ops.convert_to_numpy(v)))
            for v in variables
        }

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        scale = self._scales.get(id(variable))
        # A variable this was not made for (Keras may add some of its own) moves by the plain rate.
        super().update_step(gradient, variable, learning_rate if scale is None else learning_rate * scale)


class SplitOptimizer(keras.optimizers.Optimizer):
    """Two optimizers, each for variables of its own.

    Args:
        most: of all other variables.
        some: of those with ``paths``.
        paths: of variables.
    """

    def __init__(
        self, most: keras.optimizers.Optimizer, some: keras.optimizers.Optimizer, paths: Collection[str]
    ) -> None:
        super().__init__(learning_rate=0.0)
        self._parts = (most, some)
        self._paths = frozenset(paths)
        self._places: tuple[list[int], list[int]] = [], []

    def build(self, variables: list[Any]) -> None:
        """Make the variables of both."""
        super().build(variables)
        chosen = [v.path in self._paths for v in variables]
        self._places = [n for n, c in enumerate(chosen) if not c], [n for n, c in enumerate(chosen) if c]
        for part, places in zip(self._parts, self._places, strict=True):
            part.build([variables[n] for n in places])

    @property
    def variables(self) -> list[Any]:
        """Those of both, after its own."""
        return [*super().variables, *(v for part in self._parts for v in part.variables)]

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> Any:
        """One step of both."""
        for part, places in zip(self._parts, self._places, strict=True):
            own = None if trainable_variables is None else [trainable_variables[n] for n in places]
            if places:
                part.apply([grads[n] for n in places], own)
        return self.iterations


def relative_scale(weight: np.ndarray) -> np.ndarray:
    """Root mean square per output channel (last axis), float32, broadcasting to the weight.

    A vector has one scale. A channel of zeros takes the tensor's; a tensor of zeros 0: it stays.
    """
    squares = np.square(np.asarray(weight, np.float64))
    whole = np.sqrt(squares.mean()) if squares.size else 0.0
    if squares.ndim < 2:
        return np.asarray(whole, np.float32)
    channel = np.sqrt(squares.mean(axis=tuple(range(squares.ndim - 1)), keepdims=True))
    return np.where(channel > 0, channel, whole).astype(np.float32)
