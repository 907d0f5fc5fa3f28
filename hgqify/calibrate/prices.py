"""What one bit of an operand costs in EBOPs: the bits of all it is multiplied with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.layers import QLinear

ops: Any = keras.ops


@dataclass(frozen=True, kw_only=True)
class Prices:
    """EBOPs are bilinear in the bits of a layer's input and the spans of its kernel: two gradients.

    Attributes:
        of_weights: from the input's bits (the widths' shape) to the price of one bit of every weight.
        of_data: from the kernel's spans to the price of one bit of every width of the input.
    """

    of_weights: Callable[[np.ndarray], np.ndarray]
    of_data: Callable[[np.ndarray], np.ndarray]


def prices(layer: QLinear) -> Prices:
    """The price functions of a dense or convolution layer; the layer's own operation does the counting.

    Where the whole input shares one width, both are multiples of one array: how often each weight is used.
    """
    import jax

    shape, widths = layer.data_shape, layer.iqs[0].state().f.shape
    kernel_ones = np.ones(tuple(layer.kernel.shape), np.float32)

    def total(bits: Any, spans: Any) -> Any:
        return ops.sum(layer.apply_linear(bits[None], spans))

    of_weight = jax.jit(jax.grad(total, argnums=1))
    if all(n == 1 for n in widths):
        uses = np.asarray(of_weight(np.ones(shape, np.float32), kernel_ones), np.float64)
        return Prices(
            of_weights=lambda bits: uses * float(bits.reshape(())),
            of_data=lambda spans: np.full(widths, np.sum(uses * spans)),
        )
    of_data = jax.jit(jax.grad(total, argnums=0))
    ones = np.ones(shape, np.float32)
    shared = tuple(n for n, size in enumerate(widths) if size == 1)

    def weight_price(bits: np.ndarray) -> np.ndarray:
        full = np.broadcast_to(bits, shape).astype(np.float32)
        return np.asarray(of_weight(full, kernel_ones), np.float64)

    def data_price(spans: np.ndarray) -> np.ndarray:
        each = np.asarray(of_data(ones, spans.astype(np.float32)), np.float64)
        return each.sum(axis=shared, keepdims=True).reshape(widths)

    return Prices(of_weights=weight_price, of_data=data_price)
