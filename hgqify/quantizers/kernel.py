"""The kernel of the active Keras backend, and straight-through gradients."""

from collections.abc import Callable
from typing import Any

import keras


def active_kernel() -> Callable[..., Any]:
    """The fused kernel where there is one for the backend, else the one on keras.ops.

    All of them compute :func:`~hgqify.quantizers.arithmetic.quantize` with the gradient of
    :func:`~hgqify.quantizers.arithmetic.width_gradients`.
    """
    match keras.backend.backend():
        case "jax":
            from hgqify.quantizers.jax_kernel import jax_kernel

            return jax_kernel
        case "tensorflow":
            from hgqify.quantizers.tensorflow_kernel import tensorflow_kernel

            return tensorflow_kernel
        case "torch":
            from hgqify.quantizers.torch_kernel import torch_kernel

            return torch_kernel
    from hgqify.quantizers.ops_kernel import ops_kernel

    return ops_kernel


def straight_through(value: Any, through: Any) -> Any:
    """``value`` going forward, exactly; the gradient of ``through``, of the same shape, going back."""
    match keras.backend.backend():
        case "jax":
            from hgqify.quantizers.jax_kernel import jax_straight_through

            return jax_straight_through(keras.ops.stop_gradient(value), through)
        case "tensorflow":
            from hgqify.quantizers.tensorflow_kernel import tensorflow_straight_through

            return tensorflow_straight_through(keras.ops.stop_gradient(value), through)
        case "torch":
            from hgqify.quantizers.torch_kernel import torch_straight_through

            return torch_straight_through(keras.ops.stop_gradient(value), through)
    from hgqify.quantizers.ops_kernel import ops_straight_through

    return ops_straight_through(value, through)


def ste_round(x: Any) -> Any:
    """Nearest integer (ties to even) with the gradient of the identity."""
    return straight_through(keras.ops.round(x), x)
