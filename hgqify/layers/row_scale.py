"""Rows of very different sizes in one format: each is scaled by a power of two of its own.

    m = max |x| over the row,   p = 2**-floor(log2 m),   x * p

A table gives p (`hgqify.layers.functions.power_scale`). A product with a power of two has no more significant
bits than its other factor: floats compute it exactly, however many binary places it moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from hgqify.errors import RuleError
from hgqify.layers.merge import QMultiply
from hgqify.layers.reductions import QReduction
from hgqify.quantizers import Place, QType, QuantizerConfig


@keras.saving.register_keras_serializable("hgqify")
class QLargest(QReduction):
    """``y = oq(max over the axes of |iq(x)|)``, the axes kept with size 1. Arguments: `QReduction`."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        return self._quantize_output(ops.max(ops.abs(x), axis=self.batched_axes, keepdims=True), training)


@keras.saving.register_keras_serializable("hgqify")
class QMultiplyPow2(QMultiply):
    """``y = oq(iq_0(x) * p)`` where p holds powers of two only; shapes broadcast.

    p passes its quantizer unchanged: that one has a fixed format, which holds all powers from
    ``2**lowest`` to ``2**highest``. EBOPs count it with all of its bits.

    Args:
        lowest, highest: least and greatest exponent of p.
        **kwargs: of `QMultiply`.

    Raises:
        RuleError: no exponents between the two, or other than two inputs.
    """

    def __init__(self, *, lowest: int, highest: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if lowest > highest:
            raise RuleError(
                "there is no power of two between these exponents",
                where=self.name,
                received=f"lowest={lowest}, highest={highest}",
                remedy="give the lowest exponent first",
            )
        self.lowest, self.highest = int(lowest), int(highest)
        given = self._iq_conf
        data, powers = given if isinstance(given, list) and len(given) == 2 else (given, given)
        if isinstance(powers, QuantizerConfig) and powers.q_type is QType.FLOAT:
            # A scope's minifloats need not hold these powers.
            self._iq_conf = [data, QuantizerConfig(QType.KIF, Place.DATALANE)]

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Make the quantizers' widths; p's hold every power."""
        super().build(input_shape)
        if len(self.iqs) == 2 and not self.iqs[1].is_dummy:
            self.iqs[1].set_state(0, self.highest + 1, -self.lowest)
            self.iqs[1].trainable = False

    def _check_shapes(self) -> None:
        super()._check_shapes()
        if len(self._shapes) != 2:
            raise RuleError(
                "a product with powers of two has two inputs, the powers second",
                where=self.path,
                received=f"{len(self._shapes)} inputs",
                remedy="use QMultiply for other products",
            )

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "lowest": self.lowest, "highest": self.highest}
