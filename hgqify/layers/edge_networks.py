"""A small network on every edge of a dense layer: one input, one output, weights of its own."""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras
from keras import ops

from hgqify.layers.activations import Activation
from hgqify.layers.full_float32 import full_float32


class EdgeNetworks(keras.layers.Layer):
    """``h_0 = x;  h_m = activation(h_(m-1) @ W_m + b_m);  y = h_depth @ w + b``, edge by edge.

    Owned by a layer as an attribute. Input and output: (batch, n_in, n_out).

    Args:
        edges: (n_in, n_out).
        depth, units: hidden layers of each network (0: a straight line), and their units.
        activation: of the hidden layers.
        use_bias: whether units have biases.
    """

    def __init__(
        self,
        edges: tuple[int, int],
        depth: int,
        units: int,
        activation: Activation,
        use_bias: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = activation
        self.kernels: list[Any] = []
        self.biases: list[Any] = []
        sizes = (1, *(units,) * depth, 1)
        for number, (given, made) in enumerate(itertools.pairwise(sizes)):
            # Glorot's, edge by edge; what n_in edges give adds up.
            summed = edges[0] if number == depth else 1
            limit = math.sqrt(6.0 / ((given + made) * summed))
            self.kernels.append(
                self.add_weight(
                    name=f"kernel_{number}",
                    shape=(*edges, given, made),
                    initializer=keras.initializers.RandomUniform(-limit, limit),
                )
            )
            if use_bias:
                self.biases.append(
                    self.add_weight(name=f"bias_{number}", shape=(*edges, made), initializer="zeros")
                )
        self.built = True

    def call(self, x: Any) -> Any:
        """What every network makes of its input."""
        h = ops.expand_dims(x, -1)
        last = len(self.kernels) - 1
        for number in range(last + 1):
            h = self._product(h, ops.convert_to_tensor(self.kernels[number]))
            if self.biases:
                h = h + self.biases[number]
            if number < last:
                h = self.activation(h)
        return ops.squeeze(h, axis=-1)

    @staticmethod
    def _product(h: Any, kernel: Any) -> Any:
        """``h @ kernel`` on the last axis of each edge; where either size is 1, no matrix product."""
        if kernel.shape[-2] == 1:
            return h * kernel[:, :, 0]
        if kernel.shape[-1] == 1:
            return ops.sum(h * kernel[..., 0], axis=-1, keepdims=True)
        with full_float32():
            return ops.einsum("bjod,jode->bjoe", h, kernel)
