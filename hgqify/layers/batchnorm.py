"""Quantized batch normalization: a scale and a shift per channel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import PrecisionError, RuleError
from hgqify.layers.base import Conf, QLayer
from hgqify.layers.derived import Derived
from hgqify.layers.ebops import span, span_in_graph
from hgqify.quantizers import Place, resolve, straight_through


@keras.saving.register_keras_serializable("hgqify")
class QBatchNormalization(QLayer, keras.layers.BatchNormalization):
    """``y = oq(iq(x) * kq(scale) + bq(shift))`` along one axis.

    ``scale = gamma / sqrt(variance + epsilon)`` and ``shift = beta - mean * scale``, each (channels,).
    In training mean and variance are those of the batch (and the moving ones follow, as in Keras);
    otherwise, and always with ``freeze_statistics``, they are the moving ones. The scale and shift of
    inference are stored (see `hgqify.layers.derived`), refreshed by `refresh` and on saving.

    Args:
        freeze_statistics: keep the moving statistics and use them in training too.
        kq_conf, bq_conf: quantizers of scale and shift; None for the scope's default.
        **kwargs: of `QLayer` and of `keras.layers.BatchNormalization`, except renorm and synchronized.

    Raises:
        RuleError: renorm or synchronized.
    """

    def __init__(
        self,
        *args: Any,
        freeze_statistics: bool = False,
        kq_conf: Conf = None,
        bq_conf: Conf = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.renorm or self.synchronized:
            raise RuleError(
                "renorm and synchronized statistics are not supported",
                where=self.name,
                received=f"renorm={self.renorm}, synchronized={self.synchronized}",
                remedy="train with them off, or freeze the statistics",
            )
        self.freeze_statistics = bool(freeze_statistics)
        self._kq_conf = resolve(kq_conf, Place.WEIGHT)
        self._bq_conf = resolve(bq_conf, Place.BIAS)
        self.kq = self._quantizer(self._kq_conf, "kq")
        self.bq = self._quantizer(self._bq_conf, "bq")
        self.stored: Any = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make statistics, gamma, beta, widths and the stored constants."""
        super().build(input_shape)
        channels: Any = input_shape[self.axis]
        self._shape: tuple[Any, ...] = tuple(input_shape[1:])
        self.stored = Derived((2, channels), (4, channels), name=f"{self.name}_stored")
        self._build_data_quantizers(input_shape)
        self.kq.build((channels,))
        self.bq.build((channels,))
        self.built = True

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Apply the layer; masks are passed on, not used in the statistics."""
        x = self._quantize_input(inputs, training)
        if training and self.trainable and not self.freeze_statistics:
            axes = [a for a in range(len(x.shape)) if a != self.axis % len(x.shape)]
            moments: Any = ops.moments(x, axes=axes)
            mean, variance = moments
            self._follow(mean, variance)
            scale, shift = self._scale_shift(self._sources(mean, variance))
        else:
            sources = self._sources(self.moving_mean, self.moving_variance)
            scale, shift = self._scale_shift(sources)
            if not training:
                stored = self.stored.select(sources, ops.stack([scale, shift]))
                scale, shift = stored[0], stored[1]
        shape = [-1 if a == self.axis % len(x.shape) else 1 for a in range(len(x.shape))]
        y = x * ops.reshape(self.kq(scale, training=training), shape)
        y = y + ops.reshape(self.bq(shift, training=training), shape)
        y = self._quantize_output(y, training)
        self._add_ebops_loss(training)
        return y

    def _follow(self, mean: Any, variance: Any) -> None:
        rate = 1.0 - self.momentum
        pairs: Any = ((self.moving_mean, mean), (self.moving_variance, variance))
        for moving, value in pairs:
            moving.assign(moving * self.momentum + ops.stop_gradient(value * rate))

    def _sources(self, mean: Any, variance: Any) -> Any:
        """(4, channels): gamma, beta, mean, variance."""
        mean = ops.convert_to_tensor(mean)
        gamma = ops.ones_like(mean) if self.gamma is None else self.gamma
        beta = ops.zeros_like(mean) if self.beta is None else self.beta
        # TensorFlow stacks its own variables, not those of Keras around them.
        parts = (v.value if isinstance(v, keras.Variable) else v for v in (gamma, beta, mean, variance))
        return ops.stack([ops.convert_to_tensor(v) for v in parts])

    def _scale_shift(self, sources: Any) -> tuple[Any, Any]:
        gamma, beta, mean, variance = sources[0], sources[1], sources[2], sources[3]
        scale = gamma / ops.sqrt(variance + self.epsilon)
        return scale, beta - mean * scale

    def _current_sources(self) -> Any:
        if not self.built:
            raise PrecisionError("layer has no weights yet", where=self.path, remedy="call it once")
        return self._sources(
            ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        )

    def refresh(self) -> None:
        """Compute scale and shift from the weights as they are (in float64) and store them."""
        sources = self._current_sources()
        gamma, beta, mean, variance = np.asarray(ops.convert_to_numpy(sources), np.float64)
        scale = gamma / np.sqrt(variance + self.epsilon)
        self.stored.store(np.stack([scale, beta - mean * scale]).astype(np.float32), sources)

    def scale_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """The stored scale and shift before quantization, float32, each (channels,).

        Raises:
            PrecisionError: not built, or older than the weights (call `refresh`).
        """
        scale, shift = self.stored.read(self._current_sources(), self.path) if self.built else (None, None)
        if scale is None or shift is None:
            raise PrecisionError("layer has no weights yet", where=self.path, remedy="call it once")
        return scale, shift

    def quantized_weights(self) -> dict[str, np.ndarray]:
        """``{"scale": ..., "shift": ...}`` as deployed, each (channels,).

        Raises:
            PrecisionError: as `scale_shift`.
        """
        scale, shift = self.scale_shift()
        return {
            "scale": np.asarray(ops.convert_to_numpy(self.kq(ops.convert_to_tensor(scale), training=False))),
            "shift": np.asarray(ops.convert_to_numpy(self.bq(ops.convert_to_tensor(shift), training=False))),
        }

    def ebops(self) -> int:
        """Exact EBOPs: input bits times span of the scale, over all elements."""
        bits = np.moveaxis(self._input_bits(0, self._shape), self._data_axis, -1)
        scale = span(self.quantized_weights()["scale"])
        return int(bits.reshape(-1, bits.shape[-1]).sum(axis=0) @ scale)

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`."""
        if self._is_off(self.iq, self.kq) or None in self._shape:
            return None
        scale, _ = self._scale_shift(self._sources(self.moving_mean, self.moving_variance))
        scale: Any = ops.stop_gradient(scale)
        quantized = self.kq(scale, training=False)
        declared = ops.broadcast_to(self.kq.bits(scale, quantized), scale.shape)
        bits = straight_through(ops.cast(span_in_graph(quantized), "float32"), declared)
        shape = [-1 if a == self._data_axis + 1 else 1 for a in range(len(self._shape) + 1)]
        return ops.sum(self._input_bits_in_graph(0, self._shape) * ops.reshape(bits, shape))

    @property
    def _data_axis(self) -> int:
        """The channel axis, batch excluded, counted from 0."""
        return self.axis % (len(self._shape) + 1) - 1

    def save_own_variables(self, store: Any) -> None:
        """Save, with constants that belong to the weights: a saved layer is always fresh."""
        if self.built and not self.stored.is_fresh(self._current_sources()):
            self.refresh()
        super().save_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {
            **super().get_config(),
            "freeze_statistics": self.freeze_statistics,
            "kq_conf": self._kq_conf.get_config(),
            "bq_conf": self._bq_conf.get_config(),
        }
