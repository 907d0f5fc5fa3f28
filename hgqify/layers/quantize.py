"""A lone quantizer as a layer."""

from __future__ import annotations

from typing import Any

import keras

from hgqify.layers.base import QLayer


@keras.saving.register_keras_serializable("hgqify")
class Quantize(QLayer):
    """``y = iq(x)``, element by element: stands directly behind a model's inputs.

    Args:
        iq_conf: the quantizer; None for the scope's default.
        **kwargs: of `QLayer`.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the quantizers' widths."""
        self._build_data_quantizers(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Quantize."""
        return self._quantize_output(self._quantize_input(inputs, training), training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return tuple(input_shape)
