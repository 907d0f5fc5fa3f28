"""Quantized convolutions in one, two and three dimensions, dense, grouped and depthwise."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.layers.ebops import conv_ebops, positions_met
from hgqify.layers.linear import QLinear
from hgqify.layers.windows import window_padding


class _QConv(QLinear):
    """Padding and counting, the same for all convolutions."""

    def _explicit_causal(self, x: Any) -> tuple[Any, str]:
        """Keras' convolution operation has no 'causal': put the zeros in front by hand."""
        if self.padding != "causal":
            return x, self.padding
        zeros = (self.dilation_rate[0] * (self.kernel_size[0] - 1), 0)
        pads = [(0, 0), (0, 0), zeros] if self.data_format == "channels_first" else [(0, 0), zeros, (0, 0)]
        return ops.pad(x, pads), "valid"

    def apply_linear(self, x: Any, kernel: Any) -> Any:
        x, padding = self._explicit_causal(x)
        return ops.conv(
            x,
            kernel,
            strides=self.strides,
            padding=padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )

    def _over_filters(self, kernel: Any) -> Any:
        """(*window, channels)."""
        *window, inputs, filters = kernel.shape
        groups = self._groups(inputs)
        if groups == 1:
            return ops.sum(kernel, axis=-1)
        # Filters are ordered group by group, and so are channels.
        split: Any = ops.sum(ops.reshape(kernel, (*window, inputs, groups, filters // groups)), axis=-1)
        return ops.reshape(ops.swapaxes(split, -1, -2), (*window, inputs * groups))

    def _met_by_kernel(self, x: Any) -> Any:
        """(*window, channels)."""
        met: Any = ops.squeeze(x, axis=0)
        if self.data_format == "channels_first":
            met = ops.moveaxis(met, 0, -1)
        spatial = met.shape[:-1]
        pads = window_padding(spatial, self.kernel_size, self.strides, self.dilation_rate, self.padding)
        axes = zip(spatial, self.kernel_size, self.strides, self.dilation_rate, pads, strict=True)
        for axis, sizes in enumerate(axes):
            meets = positions_met(*sizes).astype(np.float32)
            contracted: Any = ((1,), (axis,))  # Keras declares a number
            met = ops.moveaxis(ops.tensordot(meets, met, axes=contracted), 0, axis)
        return met

    def count_ebops(self, bits: np.ndarray, kernel_span: np.ndarray) -> int:
        if self.data_format == "channels_first":
            bits = np.moveaxis(bits, 0, -1)
        pads = window_padding(
            bits.shape[:-1], self.kernel_size, self.strides, self.dilation_rate, self.padding
        )
        return conv_ebops(
            bits,
            kernel_span,
            strides=self.strides,
            dilation=self.dilation_rate,
            padding=pads,
            groups=self._groups(bits.shape[-1]),
        )

    def _groups(self, channels: int) -> int:
        return self.groups


class _QDepthwise(_QConv):
    """``kernel``: (*window, channels, depth_multiplier); output channel c * depth_multiplier + m."""

    def apply_linear(self, x: Any, kernel: Any) -> Any:
        return ops.depthwise_conv(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )

    def _groups(self, channels: int) -> int:
        return channels

    def _over_filters(self, kernel: Any) -> Any:
        return ops.sum(kernel, axis=-1)

    def count_ebops(self, bits: np.ndarray, kernel_span: np.ndarray) -> int:
        # As a grouped convolution: one input channel per group, filters ordered group by group.
        grouped = kernel_span.reshape(*kernel_span.shape[:-2], 1, -1)
        return super().count_ebops(bits, grouped)


@keras.saving.register_keras_serializable("hgqify")
class QConv1D(_QConv, keras.layers.Conv1D):
    """``y[p, n] = oq(act(sum_{o, c} xq[p * stride + o * dilation, c] * wq[o, c, n] + bq(bias)[n]))``.

    ``xq = iq(x)``, ``wq = kq(kernel)``.

    ``x``: (batch, steps, channels), ``kernel``: (window, channels // groups, filters). Padding 'valid',
    'same' or 'causal'.

    Args:
        filters, kernel_size, **kwargs: of `QLinear` and of `keras.layers.Conv1D`.
    """


@keras.saving.register_keras_serializable("hgqify")
class QConv2D(_QConv, keras.layers.Conv2D):
    """As `QConv1D` over two spatial axes: ``x``: (batch, rows, columns, channels).

    ``kernel``: (*window, channels // groups, filters). Padding 'valid' or 'same'.

    Args:
        filters, kernel_size, **kwargs: of `QLinear` and of `keras.layers.Conv2D`.
    """


@keras.saving.register_keras_serializable("hgqify")
class QConv3D(_QConv, keras.layers.Conv3D):
    """As `QConv1D` over three spatial axes: ``x``: (batch, depth, rows, columns, channels).

    ``kernel``: (*window, channels // groups, filters). Padding 'valid' or 'same'.

    Args:
        filters, kernel_size, **kwargs: of `QLinear` and of `keras.layers.Conv3D`.
    """


@keras.saving.register_keras_serializable("hgqify")
class QDepthwiseConv1D(_QDepthwise, keras.layers.DepthwiseConv1D):
    """``y[p, n] = oq(act(sum_o xq[p * stride + o * dilation, c] * wq[o, c, j] + bq(bias)[n]))``.

    ``xq = iq(x)``, ``wq = kq(kernel)``, ``n = c * depth_multiplier + j``.

    ``x``: (batch, steps, channels), ``kernel``: (window, channels, depth_multiplier m).

    Args:
        kernel_size, **kwargs: of `QLinear` and of `keras.layers.DepthwiseConv1D`.
    """


@keras.saving.register_keras_serializable("hgqify")
class QDepthwiseConv2D(_QDepthwise, keras.layers.DepthwiseConv2D):
    """As `QDepthwiseConv1D` over two spatial axes: ``x``: (batch, rows, columns, channels).

    Args:
        kernel_size, **kwargs: of `QLinear` and of `keras.layers.DepthwiseConv2D`.
    """
