"""What dense and convolution layers share: y = oq(act(op(iq(x), kq(kernel)) + bq(bias)))."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import PrecisionError
from hgqify.layers.activations import Activation, get_activation, require_exact
from hgqify.layers.base import Conf, QLayer
from hgqify.layers.ebops import span, span_in_graph
from hgqify.layers.full_float32 import full_float32
from hgqify.quantizers import Place, leading, resolve, straight_through


class QLinear(QLayer):
    """Base of layers with a kernel; placed before the Keras layer in the list of base classes.

    Attributes:
        needs_input_gradient: False where nothing before the layer is trained (`hgqify.graph.first_trained`):
            of the gradient towards the input only the part is computed that widths are trained with.

    Args:
        kq_conf, bq_conf: quantizers of kernel and bias; None for the scope's default.
        activation: exact (piecewise linear) ones only, see `hgqify.layers.activations`.
        activation_params: its keyword arguments, such as ``{"negative_slope": 0.125}``.
        **kwargs: of `QLayer` and of the Keras layer.

    Raises:
        UnsupportedLayerError: an activation that needs a table.
    """

    def __init__(
        self,
        *args: Any,
        kq_conf: Conf = None,
        bq_conf: Conf = None,
        activation: str | Callable[..., Any] | Activation | None = None,
        activation_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, activation=None, **kwargs)
        self.activation = require_exact(
            get_activation(activation, activation_params, where=self.name), self.name
        )
        self._kq_conf = resolve(kq_conf, Place.WEIGHT)
        self._bq_conf = resolve(bq_conf, Place.BIAS)
        self.needs_input_gradient = True
        self.kq = self._quantizer(self._kq_conf, "kq")
        if self.use_bias:
            self.bq = self._quantizer(self._bq_conf, "bq")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make kernel, bias and the quantizers' widths."""
        super().build(input_shape)
        # Of the input, without the batch axis.
        self.data_shape: tuple[Any, ...] = tuple(input_shape[1:])
        self._build_data_quantizers(input_shape)
        self.kq.build(tuple(self.kernel.shape))
        if self.bq is not None:
            self.bq.build(self._bias_sizes())
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        kernel, bias = self._weights_for(x, training)
        kernel = self.kq(kernel, training=training)
        with full_float32():
            y = self._apply_in_training(x, kernel) if training else self.apply_linear(x, kernel)
        if self.bq is not None:
            y = y + ops.reshape(self.bq(bias, training=training), self._bias_shape(len(y.shape)))
        y = self._quantize_output(self.activation(y), training)
        self._add_ebops_loss(training)
        return y

    def apply_linear(self, x: Any, kernel: Any) -> Any:
        """The bilinear operation, without bias."""
        raise NotImplementedError

    def _apply_in_training(self, x: Any, kernel: Any) -> Any:
        """The same; of its gradient towards ``x`` only what somebody reads."""
        part = 1 if self.iq is None else self.iq.config.width_gradient_part
        if self.needs_input_gradient or part == 1:
            return self.apply_linear(x, kernel)
        batch: Any = ops.shape(x)
        size = batch[0]
        rows = leading(size, part)
        y = self.apply_linear(ops.stop_gradient(x), kernel)
        through = self.apply_linear(x[:rows], ops.stop_gradient(kernel))
        nothing = straight_through(ops.zeros_like(through), through)
        shape: Any = ops.shape(through)
        rest = ops.zeros((size - rows, *shape[1:]), dtype=y.dtype)
        return y + ops.concatenate([nothing, rest], axis=0)

    def _weights_for(self, x: Any, training: bool | None) -> tuple[Any, Any]:
        """Kernel and bias (None if there is none) before quantization, for quantized inputs ``x``."""
        del x, training
        return self.kernel, self.bias if self.bq is not None else None

    def constants(self) -> tuple[Any, Any]:
        """Kernel and bias of inference before quantization; None for a bias the layer lacks.

        Raises:
            PrecisionError: the layer is not built, or they are stored and older than the weights.
        """
        if not self.built:
            raise PrecisionError("layer has no weights yet", where=self.path, remedy="call it once")
        return self.kernel, self.bias if self.bq is not None else None

    def _bias_sizes(self) -> tuple[int, ...]:
        return tuple(self.bias.shape)

    def _bias_shape(self, ndim: int) -> tuple[int, ...]:
        channels_first = getattr(self, "data_format", "channels_last") == "channels_first"
        axis = 1 if channels_first else ndim - 1
        return tuple(-1 if a == axis else 1 for a in range(ndim))

    def quantized_weights(self) -> dict[str, np.ndarray]:
        """``{"kernel": ..., "bias": ...}`` as deployed; no bias where the layer has none.

        Raises:
            PrecisionError: the layer is not built.
        """
        kernel, bias = self.constants()
        weights = {"kernel": _numpy(self.kq(kernel, training=False))}
        if self.bq is not None:
            weights["bias"] = _numpy(self.bq(bias, training=False))
        return weights

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`.

        A sum of products factors: every kernel element meets the same inputs whichever filter it belongs to.
        """
        if self._is_off(self.iq, self.kq) or None in self.data_shape:
            return None
        kernel: Any = self._kernel_in_graph()
        quantized = self.kq(kernel, training=False)
        declared = ops.broadcast_to(self.kq.bits(kernel, quantized), kernel.shape)
        # Integers are summed fast, in any order.
        exact = ops.cast(self._over_filters(span_in_graph(quantized)), "float32")
        bits = straight_through(exact, self._over_filters(declared))
        with full_float32():
            met = self._met_by_kernel(self._input_bits_in_graph(0, self.data_shape))
            return ops.sum(met * bits)

    def _kernel_in_graph(self) -> Any:
        """The kernel of inference before quantization, as a tensor."""
        return ops.convert_to_tensor(self.kernel)

    def _over_filters(self, kernel: Any) -> Any:
        """A tensor like the kernel, summed over the filters that see the same input channel."""
        raise NotImplementedError

    def _met_by_kernel(self, x: Any) -> Any:
        """A tensor like one input sample (1, ...), summed over the positions at which a kernel element meets
        it; shaped as `_over_filters` gives.
        """
        raise NotImplementedError

    def input_bits(self) -> np.ndarray:
        """Bits without sign of every element of the input, int64, no batch axis.

        Raises:
            PrecisionError: there is no input quantizer, or no fixed shape.
        """
        return self._input_bits(0, self.data_shape)

    def ebops(self) -> int:
        """Exact EBOPs of one inference."""
        return self.count_ebops(self.input_bits(), span(self.quantized_weights()["kernel"]))

    def count_ebops(self, bits: np.ndarray, kernel_span: np.ndarray) -> int:
        """Exact sum of products of input bits (no batch axis) and kernel spans."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        # Keras serialises `activation` as a function; ours is data, added by the base class.
        return {
            **super().get_config(),
            "kq_conf": self._kq_conf.get_config(),
            "bq_conf": self._bq_conf.get_config(),
        }


def _numpy(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x), np.float32)
