"""Quantized max pooling: values pass unchanged, so no quantizer is needed unless one is given."""

from __future__ import annotations

from typing import Any

import keras

from hgqify.layers.base import Conf, QLayer


class _QMaxPooling(QLayer):
    """Base of max pooling layers; padded places never win.

    Args:
        iq_conf: input quantizer; False (the default) for none: a maximum needs no rounding.
        **kwargs: of `QLayer` and of the Keras layer.
    """

    def __init__(self, *args: Any, iq_conf: Conf | bool = False, **kwargs: Any) -> None:
        super().__init__(*args, iq_conf=iq_conf, **kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the quantizers' widths."""
        self._build_data_quantizers(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        return self._quantize_output(super().call(self._quantize_input(inputs, training)), training)


@keras.saving.register_keras_serializable("hgqify")
class QMaxPooling1D(_QMaxPooling, keras.layers.MaxPooling1D):
    """``y[p, c] = oq(max_o iq(x)[p * stride + o, c])``. Arguments: those of the Keras layer and `QLayer`."""


@keras.saving.register_keras_serializable("hgqify")
class QMaxPooling2D(_QMaxPooling, keras.layers.MaxPooling2D):
    """As `QMaxPooling1D` over two spatial axes."""


@keras.saving.register_keras_serializable("hgqify")
class QMaxPooling3D(_QMaxPooling, keras.layers.MaxPooling3D):
    """As `QMaxPooling1D` over three spatial axes."""


@keras.saving.register_keras_serializable("hgqify")
class QGlobalMaxPooling1D(_QMaxPooling, keras.layers.GlobalMaxPooling1D):
    """``y[c] = oq(max_p iq(x)[p, c])``. Arguments: those of the Keras layer, and `QLayer`'s."""


@keras.saving.register_keras_serializable("hgqify")
class QGlobalMaxPooling2D(_QMaxPooling, keras.layers.GlobalMaxPooling2D):
    """As `QGlobalMaxPooling1D` over two spatial axes."""


@keras.saving.register_keras_serializable("hgqify")
class QGlobalMaxPooling3D(_QMaxPooling, keras.layers.GlobalMaxPooling3D):
    """As `QGlobalMaxPooling1D` over three spatial axes."""
