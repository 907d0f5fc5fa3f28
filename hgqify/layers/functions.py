"""Functions of single elements that softmax, normalizations and bins look up in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("hgqify")
def exp_of_negative(x: Any) -> Any:
    """``exp(-x)``."""
    return ops.exp(-x)


@keras.saving.register_keras_serializable("hgqify")
def reciprocal_from_one(x: Any) -> Any:
    """``1 / max(x, 1)``: the sum of a softmax is never below 1, but for what is rounded or masked."""
    top: Any = ops.maximum(x, 1.0)
    return 1.0 / top


@keras.saving.register_keras_serializable("hgqify")
def scaled_exp(x: Any, scale: float = 1.0) -> Any:
    """``min(exp(x * scale), 2**60)``: finite for every x, for tables that saturate far below."""
    return ops.minimum(ops.exp(x * scale), 2.0**60)


@keras.saving.register_keras_serializable("hgqify")
def shifted_reciprocal(x: Any, epsilon: float = 0.0) -> Any:
    """``1 / (x + epsilon)``."""
    return 1.0 / (x + epsilon)


@keras.saving.register_keras_serializable("hgqify")
def inverse_sqrt(x: Any, epsilon: float = 0.0, least: float = 0.0) -> Any:
    """``1 / sqrt(max(x, 0, least) + epsilon)``: what a normalization multiplies with."""
    held: Any = ops.maximum(x, max(least, 0.0))
    return ops.rsqrt(held + epsilon)


@keras.saving.register_keras_serializable("hgqify")
def bin_index(x: Any, boundaries: Sequence[float] = ()) -> Any:
    """How many of the ascending ``boundaries`` are at most x: the number of its bin."""
    index = ops.digitize(x, ops.convert_to_tensor(list(boundaries), dtype="float32"))
    return ops.cast(index, "float32")
