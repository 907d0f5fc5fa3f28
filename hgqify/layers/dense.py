"""Quantized dense layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.layers.linear import QLinear


@keras.saving.register_keras_serializable("hgqify")
class QDense(QLinear, keras.layers.Dense):
    """``y[..., o] = oq(act(sum_c iq(x)[..., c] * kq(kernel)[c, o] + bq(bias)[o]))``.

    ``x``: (batch, ..., channels), ``kernel``: (channels, units), ``bias``: (units,).

    Args:
        units: output channels.
        use_bias: add a bias.
        **kwargs: of `QLinear` (iq_conf, kq_conf, bq_conf, oq_conf, activation, ...) and of
            `keras.layers.Dense`.
    """

    def apply_linear(self, x: Any, kernel: Any) -> Any:
        return ops.matmul(x, kernel)

    def _over_filters(self, kernel: Any) -> Any:
        return ops.sum(kernel, axis=-1)

    def _met_by_kernel(self, x: Any) -> Any:
        return ops.sum(x, axis=tuple(range(len(x.shape) - 1)))

    def count_ebops(self, bits: np.ndarray, kernel_span: np.ndarray) -> int:
        return int(bits.reshape(-1, bits.shape[-1]).sum(axis=0) @ kernel_span.sum(axis=1))
