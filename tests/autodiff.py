"""Gradients and compiled functions under whichever backend Keras runs on, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()


def numpy(x: Any) -> np.ndarray:
    """A tensor as an array, gradient or not."""
    return np.asarray(ops.convert_to_numpy(x))


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by XLA; on PyTorch the function itself."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    return function


def value_and_gradients(
    function: Callable[..., Any], *arrays: np.ndarray, weight: np.ndarray | float = 1.0
) -> tuple[np.ndarray, list[np.ndarray]]:
    """``function(*tensors)``, and the gradients of ``sum(weight * function(*tensors))``; zeros where none."""
    if BACKEND == "jax":
        import jax

        def total(*tensors: Any) -> Any:
            with keras.StatelessScope():  # what the function assigns goes nowhere
                value = function(*tensors)
            return ops.sum(value * weight), value

        inputs = tuple(jax.numpy.asarray(a) for a in arrays)
        found, value = jax.grad(total, argnums=tuple(range(len(inputs))), has_aux=True)(*inputs)
        return numpy(value), [numpy(g) for g in found]
    tensors = [ops.convert_to_tensor(a) for a in arrays]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
            loss = ops.sum(value * ops.convert_to_tensor(weight))
        return numpy(value), _dense(tape.gradient(loss, tensors), arrays)
    leaves: Any = [t.clone().requires_grad_() for t in tensors]
    value = function(*leaves)
    ops.sum(value * ops.convert_to_tensor(weight)).backward()
    return numpy(value), _dense([leaf.grad for leaf in leaves], arrays)


def variable_gradients(function: Callable[[], Any], variables: Sequence[Any]) -> list[np.ndarray]:
    """Gradients of ``sum(function())`` by Keras variables; zeros where there is none."""
    if BACKEND == "jax":
        import jax

        def total(values: Any) -> Any:
            with keras.StatelessScope(
                state_mapping=list(zip(variables, values, strict=True)), collect_losses=True
            ):
                return ops.sum(function())

        return [numpy(g) for g in jax.grad(total)([v.value for v in variables])]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        values = [v.value for v in variables]
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = ops.sum(function())
        return _dense(tape.gradient(loss, values), values)
    import torch

    leaves: Any = [v.value for v in variables]
    found = torch.autograd.grad(ops.sum(function()), leaves, allow_unused=True)
    return _dense(found, leaves)


def _dense(gradients: Sequence[Any], like: Sequence[Any]) -> list[np.ndarray]:
    return [
        np.zeros(tuple(v.shape), np.float32) if g is None else numpy(g)
        for g, v in zip(gradients, like, strict=True)
    ]
