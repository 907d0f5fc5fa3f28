"""A lone quantizer as a layer."""

from __future__ import annotations

from typing import Any

import keras

from hgqify.layers.base import QLayer


@keras.saving.register_keras_serializable("hgqify")
class Quantize(QLayer):
    """``y = iq(x)``, element by element: stands directly behind a model's inputs, and around
    layers that stay in float.

    Args:
        iq_conf: the quantizer; None for the scope's default.
        **kwargs: of `QLayer`.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the quantizers' widths."""
        self._build_data_quantizers(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Quantize; whole numbers and truth values become the numbers they stand for."""
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(inputs.dtype)):
            inputs = keras.ops.cast(inputs, self.compute_dtype)
        return self._quantize_output(self._quantize_input(inputs, training), training)

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        """The input's shape, in float."""
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return tuple(input_shape)
