"""Where products must keep the 24 bits of float32, whatever the user or the device prefers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


def full_float32() -> contextlib.AbstractContextManager[Any]:
    """Context in which float32 products and their sums keep 24 bits on any device.

    By default JAX and TensorFlow multiply float32 matrices in TF32 (11 bits) on recent GPUs, and PyTorch
    convolves in it; PyTorch can be told to use bfloat16 (8 bits) on CPUs too. Either would round codes.

    JAX: its context for what is traced inside. PyTorch: its settings are changed for the block and put back;
    like those settings, this holds for all threads. TensorFlow knows no context: its setting is read when a
    kernel *runs*, long after a graph was traced, so TF32 is switched off for good, for the whole process.
    """
    match keras.backend.backend():
        case "jax":
            import jax

            return jax.default_matmul_precision("float32")
        case "torch":
            return _torch_ieee()
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(False)
    return contextlib.nullcontext()


@contextlib.contextmanager
def _torch_ieee() -> Iterator[None]:
    from torch import backends  # pyright: ignore[reportMissingImports]

    settings: tuple[Any, ...] = (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
    )
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
