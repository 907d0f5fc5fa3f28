"""An embedding whose rows are constants: one table of integers for each output channel."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from hgqify.errors import RuleError
from hgqify.layers.base import Conf, QLayer
from hgqify.quantizers import Place, resolve

MAX_ROWS = 2**12
"""Rows of a table at most, as many as an activation's table has entries."""


@keras.saving.register_keras_serializable("hgqify")
class QEmbedding(QLayer):
    """``y[..., :] = oq(embeddings[index])`` with ``index = min(max(floor(x), 0), input_dim - 1)``.

    What lies outside of the table takes its first or last row. The input is a number, whole or not, so no
    quantizer stands before it. The output's quantizer, one format for all rows, is the rows' as well.

    Args:
        input_dim: number of rows, 1 to 4096.
        output_dim: their length.
        iq_conf: False; there for the sake of the other layers.
        oq_conf: quantizer of the rows; None for the scope's default.
        embeddings_initializer: of the rows.
        **kwargs: of `QLayer`.

    Raises:
        RuleError: too many rows, or an input quantizer.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        *,
        iq_conf: bool = False,
        oq_conf: Conf = None,
        embeddings_initializer: Any = "uniform",
        **kwargs: Any,
    ) -> None:
        name = kwargs.get("name") or "QEmbedding"
        if not 1 <= input_dim <= MAX_ROWS:
            raise RuleError(
                f"a table has 1 to {MAX_ROWS} rows",
                where=name,
                received=f"input_dim={input_dim}",
                remedy="look the vectors up before the firmware and feed them as input",
            )
        if iq_conf is not False:
            raise RuleError(
                "an index is not quantized", where=name, received=iq_conf, remedy="leave iq_conf out"
            )
        super().__init__(iq_conf=False, oq_conf=None, **kwargs)
        self.input_dim = int(input_dim)
        self.output_dim = int(output_dim)
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        rows = resolve(oq_conf, Place.DATALANE).replace(heterogeneous_axis=())
        self.oq = self._quantizer(rows, "oq")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the rows and the width."""
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
        )
        self._build_data_quantizers(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Look the rows up and quantize them."""
        index = ops.clip(ops.floor(ops.cast(inputs, self.compute_dtype)), 0, self.input_dim - 1)
        rows = ops.take(self.embeddings, ops.cast(index, "int32"), axis=0)
        return self._quantize_output(rows, training)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape and the length of a row."""
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }
