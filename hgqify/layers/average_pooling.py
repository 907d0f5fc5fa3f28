"""Quantized average pooling: an exact sum times a fixed-point reciprocal."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.layers.base import QLayer
from hgqify.layers.ebops import span
from hgqify.layers.reciprocal import RECIPROCAL_BITS, reciprocal, reciprocal_values
from hgqify.layers.windows import window_counts, window_padding, window_sum


class _QAveragePooling(QLayer):
    """Base of average pooling layers: ``y[p, c] = oq(sum_o iq(x)[p * stride + o, c] * r[p])``.

    r[p] is the reciprocal of the number of real elements in window p ('same' padding counts no zeros),
    exact for powers of two, else of ``reciprocal_bits`` significant bits (`hgqify.layers.reciprocal`).

    Args:
        reciprocal_bits: 1 to 24.
        **kwargs: of `QLayer` and of the Keras layer.
    """

    def __init__(self, *args: Any, reciprocal_bits: int = RECIPROCAL_BITS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        reciprocal(1, reciprocal_bits)
        self.reciprocal_bits = int(reciprocal_bits)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the quantizers' widths."""
        self._shape: tuple[Any, ...] = tuple(input_shape[1:])
        self._build_data_quantizers(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        y: Any = ops.multiply(self._sum(x), self._spread(self.reciprocal_values()))
        y = self._quantize_output(y, training)
        self._add_ebops_loss(training)
        return y

    def _sum(self, x: Any) -> Any:
        """Sum of each window."""
        window, strides, pads = self._windows()
        axes = [a + 1 for a in self._spatial_axes]
        return window_sum(x, axes, window, strides, pads)

    def _spread(self, per_window: np.ndarray) -> np.ndarray:
        """Put an array over the output's spatial axes on all its axes, batch included."""
        axes = self._spatial_axes
        shape = [1] * (len(self._shape) + 1)
        for axis, size in zip(axes, per_window.shape, strict=True):
            shape[axis + 1] = size
        return per_window.reshape(shape)

    @property
    def _spatial_axes(self) -> tuple[int, ...]:
        """Spatial axes, batch excluded, counted from 0."""
        first = 1 if self.data_format == "channels_first" else 0
        return tuple(range(first, first + len(self._shape) - 1))

    @property
    def _spatial(self) -> tuple[int, ...]:
        return tuple(self._shape[a] for a in self._spatial_axes)

    def _windows(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
        """(window, strides, padding) per spatial axis."""
        ones = (1,) * len(self.pool_size)
        pads = window_padding(self._spatial, self.pool_size, self.strides, ones, self.padding)
        return tuple(self.pool_size), tuple(self.strides), pads

    def window_counts(self) -> np.ndarray:
        """Number of real elements each output averages; int64 of the output's spatial shape."""
        return window_counts(self._spatial, *self._windows())

    def reciprocal_values(self) -> np.ndarray:
        """The constant each window's sum is multiplied by; float32 of the output's spatial shape."""
        return reciprocal_values(self.window_counts(), self.reciprocal_bits)

    # EBOPs: bits of the sum (widest element plus growth) times the span of r; a shift counts 0.

    def _shared_terms(self) -> tuple[int, np.ndarray]:
        """(growth in bits of the largest sum, span of r per window with shifts as 0)."""
        spans = span(self.reciprocal_values())
        return int(self.window_counts().max() - 1).bit_length(), np.where(spans == 1, 0, spans)

    def ebops(self) -> int:
        """Exact EBOPs of one inference, every sum taken as wide as the channel's widest element."""
        growth, spans = self._shared_terms()
        if not spans.any():
            return 0
        widest = self._input_bits(0, self._shape).max(axis=self._spatial_axes)
        return int(np.sum(widest + growth)) * int(spans.sum())

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`."""
        growth, spans = self._shared_terms()
        if not spans.any() or self._is_off(self.iq):
            return None
        bits = self._input_bits_in_graph(0, self._shape)
        widest: Any = ops.max(bits, axis=[a + 1 for a in self._spatial_axes])
        return ops.sum((widest + float(growth)) * float(spans.sum()))

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "reciprocal_bits": self.reciprocal_bits}


class _QGlobalAveragePooling(_QAveragePooling):
    """One window over all spatial places."""

    def _windows(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
        spatial = self._spatial
        return spatial, (1,) * len(spatial), ((0, 0),) * len(spatial)

    def _sum(self, x: Any) -> Any:
        return ops.sum(x, axis=[a + 1 for a in self._spatial_axes], keepdims=self.keepdims)

    def _spread(self, per_window: np.ndarray) -> np.ndarray:
        return per_window.reshape(())


@keras.saving.register_keras_serializable("hgqify")
class QAveragePooling1D(_QAveragePooling, keras.layers.AveragePooling1D):
    """``y[p, c] = oq(sum_o iq(x)[p * stride + o, c] * r[p])`` over windows of one axis.

    Args:
        pool_size, strides, padding, **kwargs: of `keras.layers.AveragePooling1D` and `QLayer`.
        reciprocal_bits: significant bits of r where the count is no power of two; 1 to 24, default 12.
    """


@keras.saving.register_keras_serializable("hgqify")
class QAveragePooling2D(_QAveragePooling, keras.layers.AveragePooling2D):
    """As `QAveragePooling1D` over two spatial axes."""


@keras.saving.register_keras_serializable("hgqify")
class QAveragePooling3D(_QAveragePooling, keras.layers.AveragePooling3D):
    """As `QAveragePooling1D` over three spatial axes."""


@keras.saving.register_keras_serializable("hgqify")
class QGlobalAveragePooling1D(_QGlobalAveragePooling, keras.layers.GlobalAveragePooling1D):
    """``y[c] = oq(sum_p iq(x)[p, c] * r)``; masks are not used.

    Args:
        keepdims, **kwargs: of `keras.layers.GlobalAveragePooling1D` and `QLayer`.
        reciprocal_bits: significant bits of r where the count is no power of two; 1 to 24, default 12.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Apply the layer."""
        return super().call(inputs, training=training)


@keras.saving.register_keras_serializable("hgqify")
class QGlobalAveragePooling2D(_QGlobalAveragePooling, keras.layers.GlobalAveragePooling2D):
    """As `QGlobalAveragePooling1D` over two spatial axes."""


@keras.saving.register_keras_serializable("hgqify")
class QGlobalAveragePooling3D(_QGlobalAveragePooling, keras.layers.GlobalAveragePooling3D):
    """As `QGlobalAveragePooling1D` over three spatial axes."""
