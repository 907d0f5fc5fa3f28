"""The kernel of the active Keras backend."""

from collections.abc import Callable
from typing import Any

import keras


def active_kernel() -> Callable[..., Any]:
    """The fused kernel where there is one for the backend, else the one on keras.ops.

    All of them compute :func:`~hgqify.quantizers.arithmetic.quantize` with the gradient of
    :func:`~hgqify.quantizers.arithmetic.width_gradients`.
    """
    if keras.backend.backend() == "jax":
        from hgqify.quantizers.jax_kernel import jax_kernel

        return jax_kernel
    from hgqify.quantizers.ops_kernel import ops_kernel

    return ops_kernel
