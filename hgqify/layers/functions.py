"""Functions of single elements that softmax, normalizations and bins look up in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hgqify.quantizers import exponent, pow2


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


@keras.saving.register_keras_serializable("hgqify")
def power_scale(x: Any, lowest: int = 0, highest: int = 0) -> Any:
    """``2**-e`` that brings ``x * 2**-e`` nearest to [1, 2), e an integer from ``lowest`` to ``highest``.

    It has no gradient: what is scaled by it is divided by as much later on.
    """
    held: Any = ops.clip(ops.stop_gradient(x), 2.0**lowest, 2.0**highest)
    return pow2(1 - exponent(held), keras.backend.standardize_dtype(held.dtype))


@keras.saving.register_keras_serializable("hgqify")
def scaled_epsilon(x: Any, epsilon: float = 0.0, lowest: int = 0, highest: int = 0) -> Any:
    """``epsilon * power_scale(x)**2``: what an epsilon becomes beside squares that were scaled."""
    scale = power_scale(x, lowest, highest)
    return epsilon * scale * scale
