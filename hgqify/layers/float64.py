"""A quantized model in float64: the same layers, with 53 bits for what lies between two quantizers.

Training needs float32; an accumulator of more than 24 bits needs more. The same layers, made again with
dtype float64 and given the same weights, compute the same formulas with 53 bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras

from hgqify.errors import PrecisionError

_on: ContextVar[bool] = ContextVar("float64", default=False)


def float64_is_on() -> bool:
    """Whether layers may be made in float64: within `float64_on`, on JAX wherever x64 is enabled.

    TensorFlow could do it always, but what is built and trained must be the same on every backend. On PyTorch
    Keras' own operations make float32 of two float64 tensors (its table of promotions says so), so there it
    is never on.
    """
    return bool(_jax().config.jax_enable_x64) if keras.backend.backend() == "jax" else _on.get()


@contextlib.contextmanager
def _marked() -> Iterator[None]:
    token = _on.set(True)
    try:
        yield
    finally:
        _on.reset(token)


def float64_on() -> contextlib.AbstractContextManager[Any]:
    """Context in which the backend computes in float64 where it is asked to.

    Raises:
        PrecisionError: on PyTorch, where Keras does not.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        raise PrecisionError(
            "Keras on PyTorch makes float32 of float64",
            where="hgqify.float64",
            received="backend torch",
            remedy="evaluate the saved model with KERAS_BACKEND=jax or tensorflow: the codes are the same",
        )
    if backend != "jax":
        return _marked()
    jax = _jax()
    # Before JAX 0.8 it was experimental.
    return jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64()


def _jax() -> Any:
    """JAX, whose declarations lack what depends on its version."""
    import jax
    import jax.experimental

    return jax


def in_float64(model: keras.Model) -> keras.Model:
    """The same model in float64, with the weights as they are; to be made and called within `float64_on`.

    Args:
        model: Sequential or Functional, of registered layers. It is left as it is.
    """
    config: Any = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    clone = keras.saving.deserialize_keras_object(_widened(config))
    for mine, theirs in zip(clone.variables, model.variables, strict=True):
        mine.assign(keras.ops.convert_to_numpy(theirs))
    return clone


def _widened(config: Any) -> Any:
    """A serialized model with float64 in place of float32 wherever a dtype is meant."""
    if isinstance(config, list | tuple):
        return type(config)(_widened(item) for item in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and config["config"] == {"name": "float32"}:
        return config | {"config": {"name": "float64"}}
    return {
        key: "float64" if key == "dtype" and value == "float32" else _widened(value)
        for key, value in config.items()
    }
