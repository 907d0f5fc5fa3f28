"""Constant masks: elements that a layer never looks at, the same for every sample."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hgqify.errors import RuleError
from hgqify.layers.base import Conf, QLayer


def mask_config(mask: Any) -> Any:
    """A mask as JSON values: nested lists of booleans, or None."""
    return None if mask is None else np.asarray(mask, bool).tolist()


def mask_over(mask: Any, shape: tuple[Any, ...], where: str | None) -> np.ndarray | None:
    """A mask in the shape of what it masks (without the batch), or None where nothing is masked.

    Raises:
        RuleError: shapes that do not broadcast.
    """
    if mask is None:
        return None
    values = np.asarray(mask, bool)
    try:
        values = np.broadcast_to(values, shape)
    except ValueError:
        raise RuleError(
            "the mask does not broadcast to the input",
            where=where,
            received=f"mask {values.shape}, input {shape}",
            remedy="give one entry for each element of a sample, or 1 along an axis",
        ) from None
    return None if values.all() else values


@keras.saving.register_keras_serializable("hgqify")
class QMask(QLayer):
    """``y = oq(iq(x) * mask)`` with a constant mask of 0 and 1, which costs nothing.

    Args:
        mask: constant booleans that broadcast to the input without its batch; False gives 0.
        iq_conf: input quantizer; False (the default) for none: nothing is rounded.
        **kwargs: of `QLayer`.
    """

    def __init__(self, *, mask: Any, iq_conf: Conf | bool = False, **kwargs: Any) -> None:
        super().__init__(iq_conf=iq_conf, **kwargs)
        self.mask = mask_config(mask)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the quantizers' widths."""
        self._shape: tuple[Any, ...] = tuple(input_shape[1:])
        self.mask_values()
        self._build_data_quantizers(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        return self._quantize_output(keras.ops.where(self.mask_values()[None], x, 0.0), training)

    def mask_values(self) -> np.ndarray:
        """The mask in the input's shape."""
        found = mask_over(self.mask, self._shape, self.path)
        return np.ones(self._shape, bool) if found is None else found

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "mask": self.mask}
