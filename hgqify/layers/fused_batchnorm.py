"""Linear layers with a batch normalization that is folded into their kernel in every training step.

    y = oq(act(op(iq(x), kq(kernel * scale)) + bq(shift)))
    scale = gamma / sqrt(variance + epsilon),   shift = beta - mean * scale

In training mean and variance are those of ``op(iq(x), kernel)`` over the batch, so the quantized kernel is
the one that is deployed: nothing is folded after training, and no multiplication is left for the
normalization. Inference uses moving statistics, as Keras' BatchNormalization does, and the scale and shift
stored for them (`hgqify.layers.derived`).
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import PrecisionError, RuleError
from hgqify.layers.dense import QDense
from hgqify.layers.derived import Derived
from hgqify.layers.einsum_dense import QEinsumDense
from hgqify.layers.full_float32 import full_float32
from hgqify.layers.linear import QLinear


class QNormalizedLinear(QLinear):
    """Base of linear layers with a fused batch normalization along their last output axis.

    Their bias is beta, less the mean; so they have no other.

    Args:
        momentum: of the moving statistics.
        epsilon: added to the variance.
        center, scale: whether beta and gamma are trained; else they are 0 and 1.
        freeze_statistics: keep the moving statistics and use them in training too.
        **kwargs: of `QLinear`.
    """

    def __init__(
        self,
        *args: Any,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        freeze_statistics: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.momentum, self.epsilon = float(momentum), float(epsilon)
        self.center, self.scale = bool(center), bool(scale)
        self.freeze_statistics = bool(freeze_statistics)
        self.bq = self._quantizer(self._bq_conf, "bq")
        self.gamma: Any = None
        self.beta: Any = None
        self.stored: Any = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernel, gamma, beta, statistics, widths and the stored constants."""
        self._channels = int(self.compute_output_shape(input_shape)[-1])
        super().build(input_shape)
        self._spread_axes()  # refuses an equation that cannot be normalized
        shape = (self._channels,)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", trainable=self.scale)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", trainable=self.center)
        self.moving_mean = self._statistic("moving_mean", "zeros")
        self.moving_variance = self._statistic("moving_variance", "ones")
        self.stored = Derived((2, self._channels), (4, self._channels), name=f"{self.name}_stored")
        self.built = True

    def _statistic(self, name: str, initializer: str) -> Any:
        return self.add_weight(name=name, shape=(self._channels,), initializer=initializer, trainable=False)

    def _bias_sizes(self) -> tuple[int, ...]:
        return (self._channels,)

    def _bias_shape(self, ndim: int) -> tuple[int, ...]:
        return (self._channels,)

    def _spread_axes(self) -> tuple[int, ...]:
        """Shape in which a number per channel broadcasts over the kernel."""
        raise NotImplementedError

    def _weights_for(self, x: Any, training: bool | None) -> tuple[Any, Any]:
        if training and self.trainable and not self.freeze_statistics:
            with full_float32():
                y = self.apply_linear(x, ops.convert_to_tensor(self.kernel))
            moments: Any = ops.moments(y, axes=list(range(len(y.shape) - 1)))
            self._follow(*moments)
            scale, shift = self._scale_shift(self._sources(*moments))
        else:
            sources = self._current_sources()
            scale, shift = self._scale_shift(sources)
            if not training:
                stored = self.stored.select(sources, ops.stack([scale, shift]))
                scale, shift = stored[0], stored[1]
        return self.kernel * ops.reshape(scale, self._spread_axes()), shift

    def _follow(self, mean: Any, variance: Any) -> None:
        rate = 1.0 - self.momentum
        pairs: Any = ((self.moving_mean, mean), (self.moving_variance, variance))
        for moving, value in pairs:
            moving.assign(moving * self.momentum + ops.stop_gradient(value * rate))

    def _sources(self, mean: Any, variance: Any) -> Any:
        """(4, channels): gamma, beta, mean, variance."""
        # TensorFlow stacks its own variables, not those of Keras around them.
        parts = (
            v.value if isinstance(v, keras.Variable) else v for v in (self.gamma, self.beta, mean, variance)
        )
        return ops.stack([ops.convert_to_tensor(v) for v in parts])

    def _current_sources(self) -> Any:
        return self._sources(self.moving_mean, self.moving_variance)

    def _scale_shift(self, sources: Any) -> tuple[Any, Any]:
        gamma, beta, mean, variance = sources[0], sources[1], sources[2], sources[3]
        scale = gamma / ops.sqrt(variance + self.epsilon)
        return scale, beta - mean * scale

    def refresh(self) -> None:
        """Compute scale and shift from the weights as they are (in float64) and store them."""
        sources = self._current_sources()
        gamma, beta, mean, variance = np.asarray(ops.convert_to_numpy(sources), np.float64)
        scale = gamma / np.sqrt(variance + self.epsilon)
        self.stored.store(np.stack([scale, beta - mean * scale]).astype(np.float32), sources)

    def constants(self) -> tuple[Any, Any]:
        """The kernel with the scale in it, and the shift, before quantization.

        Raises:
            PrecisionError: not built, or the stored scale is older than the weights (call `refresh`).
        """
        if not self.built:
            raise PrecisionError("layer has no weights yet", where=self.path, remedy="call it once")
        scale, shift = self.stored.read(self._current_sources(), self.path)
        kernel = np.asarray(ops.convert_to_numpy(self.kernel), np.float32)
        # One rounded product, as in the graph.
        kernel = ops.convert_to_tensor(kernel * scale.reshape(self._spread_axes()))
        return kernel, ops.convert_to_tensor(shift)

    def _kernel_in_graph(self) -> Any:
        scale, _ = self._scale_shift(self._current_sources())
        return self.kernel * ops.reshape(scale, self._spread_axes())

    def save_own_variables(self, store: Any) -> None:
        """Save, with constants that belong to the weights: a saved layer is always fresh."""
        if self.built and not self.stored.is_fresh(self._current_sources()):
            self.refresh()
        # Not those of keras.layers.Dense, which know kernel and bias only.
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Load all variables in the order in which they were made."""
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "freeze_statistics": self.freeze_statistics,
        }


@keras.saving.register_keras_serializable("hgqify")
class QBatchNormDense(QNormalizedLinear, QDense):
    """`QDense` with a batch normalization of its output folded into kernel and bias while it trains.

    Args:
        units: output channels.
        **kwargs: of `QNormalizedLinear` and of `QDense`, but for ``use_bias``.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        if kwargs.pop("use_bias", False):
            raise _no_bias(kwargs.get("name"), "use_bias=True")
        super().__init__(units, use_bias=False, **kwargs)

    def _spread_axes(self) -> tuple[int, ...]:
        return (1, self._channels)


@keras.saving.register_keras_serializable("hgqify")
class QEinsumDenseBatchnorm(QNormalizedLinear, QEinsumDense):
    """`QEinsumDense` with a batch normalization along its last axis folded into kernel and bias.

    Args:
        equation, output_shape: as for `QEinsumDense`; the result's last label is one of the kernel's.
        **kwargs: of `QNormalizedLinear` and of `QEinsumDense`, but for ``bias_axes``.

    Raises:
        RuleError: the last label of the result is not one of the kernel's.
    """

    def __init__(self, equation: str, output_shape: Any, **kwargs: Any) -> None:
        if kwargs.pop("bias_axes", None) is not None:
            raise _no_bias(kwargs.get("name"), "bias_axes")
        super().__init__(equation, output_shape, **kwargs)

    def _spread_axes(self) -> tuple[int, ...]:
        _, kernel, result = self.sample_labels
        if not result or result[-1] not in kernel:
            raise RuleError(
                "the normalized axis is not one of the kernel's, which could not hold the scale",
                where=self.path,
                received=self.equation,
                remedy="end the result with a label of the kernel",
            )
        return tuple(self._channels if label == result[-1] else 1 for label in kernel)


def _no_bias(name: Any, received: str) -> RuleError:
    return RuleError(
        "the batch normalization's beta is the bias",
        where=name,
        received=received,
        remedy="leave it out",
    )
