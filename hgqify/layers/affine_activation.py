"""A unary function of a trained scale and shift of its input, held by one lookup table."""

from __future__ import annotations

from typing import Any

import keras

from hgqify.layers.activations import Activation
from hgqify.layers.qactivation import QActivation


@keras.saving.register_keras_serializable("hgqify")
class QAffineActivation(QActivation):
    """``y = oq(fn(scale * iq(x) + shift))``, element by element.

    scale and shift are one trained float number each, 1 and 0 at first. They are part of the table's entries
    ``oq(fn(scale * code * 2**-f + shift))``: hardware neither multiplies nor adds, and they are not rounded.
    Every function becomes a table here, piecewise linear ones too. Everything else is as in `QActivation`;
    the table is older than its weights after each training step, until `refresh_table`.

    For a scale and shift of every channel put a `QBatchNormalization` before a `QActivation`.

    Args:
        activation: what `hgqify.layers.activations.get_activation` takes; None for the scale and shift alone.
        activation_params, iq_conf, oq_conf, max_table_bits, **kwargs: of `QActivation`.

    Raises:
        RuleError, UnsupportedLayerError: as `QActivation`.
    """

    @classmethod
    def _is_tabulated(cls, activation: Activation) -> bool:
        return True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make scale, shift, widths and table."""
        self.scale = self.add_weight(name="scale", shape=(1,), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(1,), initializer="zeros")
        super().build(input_shape)

    def evaluate(self, x: Any) -> Any:
        """fn(scale * x + shift), no quantizer before or behind it."""
        return self.activation(x * self.scale + self.shift)

    def _source(self) -> Any:
        weights: list[Any] = [keras.ops.convert_to_tensor(w) for w in (self.scale, self.shift)]
        return keras.ops.concatenate([super()._source(), *weights])
