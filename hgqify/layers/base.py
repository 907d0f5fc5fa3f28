"""What all quantized layers share: quantizers, the EBOPs penalty, exact float32, configuration."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import PrecisionError, RuleError
from hgqify.layers.activations import Activation
from hgqify.layers.float64 import float64_is_on
from hgqify.layers.scope import LayerConfig, current_layer_config
from hgqify.quantizers import Place, Quantizer, QuantizerConfig, resolve

Conf = QuantizerConfig | Mapping[str, Any] | None
"""What a constructor takes for a quantizer: a config, its entries as a dict, or None for the scope's."""


@keras.saving.register_keras_serializable("hgqify")
class EbopsPenalty(keras.layers.Layer):
    """The price of EBOPs, a weight, so that a controller may move it between training steps.

    Beside it stands what was counted in the last training step, for whoever sets the price.

    Args:
        beta0: initial price in units of the loss.
    """

    def __init__(self, beta0: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta = self.add_weight(
            name="beta", shape=(), initializer=keras.initializers.Constant(beta0), trainable=False
        )
        self.counted = self.add_weight(name="counted", shape=(), initializer="zeros", trainable=False)
        self.built = True

    def call(self, ebops: Any) -> Any:
        """``beta * ebops``."""
        self.counted.assign(ops.stop_gradient(ebops))
        return self.beta * ebops


class QLayer(keras.layers.Layer):
    """Base of the quantized layers; placed before a Keras layer in the list of base classes.

    Args:
        iq_conf: quantizer of each input; None for the scope's default, False for none (then the values
            must arrive on a grid).
        oq_conf: quantizer of the output; None for none.
        enable_ebops: add ``beta * EBOPs`` to the loss in training; None for the scope's default.
        beta0: initial beta, which may be 0 until a controller raises it; None for the scope's default.
        **kwargs: of the Keras layer.

    Raises:
        RuleError: a dtype policy other than float32, which could not hold the codes; float64 is allowed
            where the backend has it on (see `hgqify.float64`).
    """

    input_place = Place.DATALANE
    output_place = Place.DATALANE

    def __init__(
        self,
        *args: Any,
        iq_conf: Conf | bool = None,
        oq_conf: Conf = None,
        enable_ebops: bool | None = None,
        beta0: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        dtypes = {self.compute_dtype, self.variable_dtype}
        if dtypes != {"float32"} and not (dtypes == {"float64"} and float64_is_on()):
            raise RuleError(
                "quantized layers compute in float32, whose 24 bits hold the codes",
                where=self.name,
                received=f"dtype policy {self.dtype_policy.name}",
                remedy="pass dtype='float32'; hgqify.float64 evaluates a model in float64",
            )
        if iq_conf is True:
            raise RuleError(
                "iq_conf is a quantizer config, None or False",
                where=self.name,
                received=iq_conf,
                remedy="leave it out for the scope's default",
            )
        defaults = current_layer_config()
        self.layer_config = LayerConfig(
            enable_ebops=defaults.enable_ebops if enable_ebops is None else bool(enable_ebops),
            beta0=defaults.beta0 if beta0 is None else float(beta0),
        )
        self.penalty: EbopsPenalty | None = None
        if self.layer_config.enable_ebops:
            self.penalty = EbopsPenalty(self.layer_config.beta0, name=f"{self.name}_penalty")
        # Quantizers of weights; None in layers without such weights.
        self.kq: Any = None
        self.bq: Any = None
        self.iqs: list[Quantizer] = []
        self.oq: Quantizer | None = None
        self._iq_conf = self._resolve_input(iq_conf)
        if oq_conf is not None:
            self.oq = self._quantizer(resolve(oq_conf, self.output_place), "oq")

    # Quantizers

    def _resolve_input(self, conf: Any) -> Any:
        """The input quantizer's config, or None; made at once for a layer of one input."""
        if conf is False:
            return None
        config = resolve(conf, self.input_place)
        self.iqs = [self._quantizer(config, "iq")]
        return config

    def _input_config(self) -> Any:
        """The constructor's ``iq_conf`` as JSON values."""
        return False if self._iq_conf is None else self._iq_conf.get_config()

    def _quantizer(self, config: QuantizerConfig, role: str) -> Quantizer:
        name = f"{self.name}_{role}"
        # With one seed for all, stochastic rounding would go up and down everywhere alike.
        return Quantizer(config, seed=zlib.crc32(name.encode()), name=name, dtype=self.compute_dtype)

    @property
    def iq(self) -> Quantizer | None:
        """The input quantizer of a layer with one input."""
        return self.iqs[0] if len(self.iqs) == 1 else None

    def _quantize_input(self, x: Any, training: bool | None) -> Any:
        return self.iqs[0](x, training=training) if self.iqs else x

    def _quantize_output(self, y: Any, training: bool | None) -> Any:
        return y if self.oq is None else self.oq(y, training=training)

    def _build_data_quantizers(self, input_shape: tuple[int | None, ...]) -> None:
        """Build iq on the input's and oq on the output's shape, batch axis included."""
        for quantizer in self.iqs:
            quantizer.build(tuple(input_shape))
        if self.oq is not None:
            self.oq.build(tuple(self.compute_output_shape(input_shape)))

    def quantized_weights(self) -> dict[str, np.ndarray]:
        """The constants of the deployed layer, float32, each on its quantizer's grid; by name."""
        return {}

    def refresh(self) -> None:
        """Bring stored constants up to date with the weights and widths, where the layer has any."""

    # EBOPs

    def ebops(self) -> int:
        """Exact EBOPs of one inference with the weights as they are (see `hgqify.layers.ebops`).

        Raises:
            PrecisionError: the layer is not built, or a quantizer it counts is off.
        """
        return 0

    def ebops_value(self) -> Any:
        """EBOPs as a differentiable scalar tensor: exact spans as value, relu(i + f) as gradient.

        None where the layer counts nothing or a quantizer it needs is off.
        """
        return None

    def _add_ebops_loss(self, training: bool | None) -> None:
        # As with Keras' regularizers, what is not trained adds no loss.
        if training and self.penalty is not None and self.penalty.trainable:
            value = self.ebops_value()
            if value is not None:
                self.add_loss(self.penalty(value))

    def _input_bits(self, index: int, shape: tuple[Any, ...]) -> np.ndarray:
        """Bits without sign of every element of an input, int64 of ``shape`` (no batch axis)."""
        if not self.built or index >= len(self.iqs):
            raise PrecisionError(
                "EBOPs need an input quantizer on a built layer",
                where=self.path,
                remedy="call the layer once, and leave iq_conf on",
            )
        if None in shape:
            raise PrecisionError(
                "EBOPs need a fixed input shape", where=self.path, received=shape, remedy="fix all sizes"
            )
        state = self.iqs[index].state()
        return np.broadcast_to(state.operand_bits, shape).astype(np.int64)

    def _input_bits_in_graph(self, index: int, shape: tuple[int, ...]) -> Any:
        """The same as a differentiable tensor (1, *shape)."""
        return ops.broadcast_to(self.iqs[index].bits(), (1, *shape))

    @staticmethod
    def _is_off(*quantizers: Quantizer | None) -> bool:
        """Whether a needed quantizer is missing or the identity."""
        return any(q is None or q.is_dummy for q in quantizers)

    # Configuration

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        config = super().get_config()
        config.update(
            iq_conf=self._input_config(),
            oq_conf=None if self.oq is None else self.oq.config.get_config(),
            enable_ebops=self.layer_config.enable_ebops,
            beta0=self.layer_config.beta0,
        )
        if isinstance(getattr(self, "activation", None), Activation):
            config.update(self.activation.get_config())
        return config
