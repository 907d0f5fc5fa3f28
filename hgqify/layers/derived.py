"""Constants computed from weights by inexact functions, stored so that everyone holds the same ones.

A compiled and an eager exp, division or rsqrt may differ in the last bit. What hardware holds must not
depend on that: such a constant is computed once, rounded to its grid and *stored* in a non-trainable
weight next to a record of what it was computed from. Inference uses the stored constant while the
record matches; between training steps, when it does not, it computes the constant on the fly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import PrecisionError
from hgqify.quantizers import Quantizer


class Derived(keras.layers.Layer):
    """A stored constant and the record of its sources. Owned by a layer as an attribute.

    Args:
        shape: of the constant.
        source_shape: of the record.
    """

    def __init__(self, shape: tuple[int, ...], source_shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = self.add_weight(name="value", shape=shape, initializer="zeros", trainable=False)
        # NaN equals nothing: a fresh record matches no source.
        self.source = self.add_weight(
            name="source",
            shape=source_shape,
            trainable=False,
            initializer=keras.initializers.Constant(float("nan")),
        )
        self.built = True

    def store(self, value: Any, source: Any) -> None:
        """Keep a constant and what it was computed from; in a training step or eagerly."""
        self.value.assign(ops.stop_gradient(ops.convert_to_tensor(value)))
        self.source.assign(ops.stop_gradient(ops.convert_to_tensor(source)))

    def select(self, source: Any, computed: Any) -> Any:
        """The stored constant where ``source`` is its record, else ``computed``."""
        recorded, stored = ops.convert_to_tensor(self.source), ops.convert_to_tensor(self.value)
        return ops.where(ops.all(ops.equal(recorded, source)), stored, computed)

    def current(self, source: Any, compute: Callable[[], Any]) -> Any:
        """`select` where computing costs much: it is done only if the record does not match."""
        recorded, stored = ops.convert_to_tensor(self.source), ops.convert_to_tensor(self.value)
        return ops.cond(ops.all(ops.equal(recorded, source)), lambda: stored, compute)

    def is_fresh(self, source: Any) -> bool:
        """Whether the stored constant belongs to ``source`` (eager)."""
        recorded, now = (np.asarray(ops.convert_to_numpy(v), np.float32) for v in (self.source, source))
        return bool(np.array_equal(recorded, now))

    def read(self, source: Any, where: str | None) -> np.ndarray:
        """The stored constant (eager), float32.

        Raises:
            PrecisionError: it is older than its sources.
        """
        if not self.is_fresh(source):
            raise PrecisionError(
                "stored constants are older than the weights or formats they are computed from",
                where=where,
                remedy="call the layer's refresh(), or hgqify.layers.refresh(model) after training",
            )
        return np.asarray(ops.convert_to_numpy(self.value), np.float32)


def width_record(*quantizers: Quantizer) -> list[Any]:
    """All widths of the quantizers as they act, as float32 vectors: part of a record."""
    return [
        ops.reshape(ops.round(ops.convert_to_tensor(width)), (-1,))
        for quantizer in quantizers
        for width in (
            quantizer.k,
            quantizer.b,
            quantizer.i,
            quantizer.f,
            quantizer.m,
            quantizer.e,
            quantizer.e0,
        )
        if width is not None
    ]
