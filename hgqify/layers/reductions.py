"""Reductions over any axes that keep their rank: the result broadcasts back over what it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import RuleError
from hgqify.layers.base import Conf, QLayer
from hgqify.layers.ebops import span
from hgqify.layers.masking import mask_config, mask_over
from hgqify.layers.reciprocal import RECIPROCAL_BITS, reciprocal, reciprocal_values

_NEVER = -(2.0**100)
"""Less than any code: what stands for a masked element in a maximum."""


class QReduction(QLayer):
    """Base of layers that reduce ``axis`` of one input.

    Args:
        axis: one or several axes, counted as Keras does: the batch is axis 0, -1 the last.
        **kwargs: of `QLayer`.

    Raises:
        RuleError: an axis that the input lacks, or the batch.
    """

    def __init__(self, *, axis: int | Sequence[int] = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = [int(a) for a in axis] if isinstance(axis, list | tuple) else int(axis)  # type: ignore[arg-type]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the quantizers' widths."""
        self._shape: tuple[Any, ...] = tuple(input_shape[1:])
        self.axes = self._resolve_axes(len(input_shape))
        self._build_data_quantizers(input_shape)
        self.built = True

    def _resolve_axes(self, rank: int) -> tuple[int, ...]:
        """The axes without the batch, counted from 0, ascending."""
        given = self.axis if isinstance(self.axis, list) else [self.axis]
        found = {a + rank if a < 0 else a for a in given}
        if not found or len(found) != len(given) or not all(0 < a < rank for a in found):
            raise RuleError(
                "the axes must be axes of the input, each once, and not the batch",
                where=self.path,
                received=f"axis={self.axis} of {rank} axes",
                remedy="count from the end: -1 is the last axis",
            )
        return tuple(sorted(a - 1 for a in found))

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """The input's shape without the batch."""
        return self._shape

    @property
    def batched_axes(self) -> tuple[int, ...]:
        """The axes with the batch counted."""
        return tuple(a + 1 for a in self.axes)

    def reduced_count(self) -> int:
        """How many elements make one of the result."""
        return math.prod(self._shape[a] for a in self.axes)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape with 1 along the axes."""
        axes = {a + 1 for a in self._resolve_axes(len(input_shape))}
        return tuple(1 if a in axes else size for a, size in enumerate(input_shape))

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable("hgqify")
class QSum(QReduction):
    """``y = oq(sum over the axes of iq(x))``, the axes kept with size 1. Arguments: `QReduction`."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        return self._quantize_output(ops.sum(x, axis=self.batched_axes, keepdims=True), training)


@keras.saving.register_keras_serializable("hgqify")
class QMean(QReduction):
    """``y = oq(sum over the axes of iq(x), times r)``, the axes kept with size 1.

    r is the reciprocal of the number of elements, exact for powers of two (`hgqify.layers.reciprocal`).
    EBOPs: bits of the sum (widest element plus growth) times the span of r; a shift counts 0.

    Args:
        reciprocal_bits: 1 to 24.
        **kwargs: of `QReduction`.
    """

    def __init__(self, *, reciprocal_bits: int = RECIPROCAL_BITS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        reciprocal(1, reciprocal_bits)
        self.reciprocal_bits = int(reciprocal_bits)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        y: Any = ops.sum(x, axis=self.batched_axes, keepdims=True)
        y = ops.multiply(y, self.reciprocal_values())
        y = self._quantize_output(y, training)
        self._add_ebops_loss(training)
        return y

    def reciprocal_values(self) -> np.ndarray:
        """The constant the sum is multiplied by, float32, 0-d."""
        return reciprocal_values(np.asarray(self.reduced_count()), self.reciprocal_bits)

    def _factor(self) -> int:
        """Span of r, a shift as 0."""
        factor = int(span(self.reciprocal_values()))
        return factor if factor > 1 else 0

    @property
    def _growth(self) -> int:
        return (self.reduced_count() - 1).bit_length()

    def ebops(self) -> int:
        """Exact EBOPs of one inference, every sum as wide as its widest element and the growth."""
        if not self._factor():
            return 0
        widest = self._input_bits(0, self._shape).max(axis=self.axes)
        return int(np.sum(widest + self._growth)) * self._factor()

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`."""
        if not self._factor() or self._is_off(self.iq):
            return None
        widest: Any = ops.max(self._input_bits_in_graph(0, self._shape), axis=self.batched_axes)
        return ops.sum((widest + float(self._growth)) * float(self._factor()))

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "reciprocal_bits": self.reciprocal_bits}


@keras.saving.register_keras_serializable("hgqify")
class QBelowMaximum(QReduction):
    """``y = oq(max over the axes of iq(x), minus iq(x))``: how far each element lies below the largest.

    Never negative, and exact. It is the argument of a stable softmax. Masked elements take no part in the
    maximum and give 0; of a row that is masked as a whole every element gives 0.

    Args:
        mask: constant booleans that broadcast to the input without its batch; False is masked. None: no
            mask.
        **kwargs: of `QReduction`.

    Raises:
        RuleError: a mask without an input quantizer, whose lowest value stands for what is masked.
    """

    def __init__(self, *, mask: Any = None, iq_conf: Conf | bool = None, **kwargs: Any) -> None:
        super().__init__(iq_conf=iq_conf, **kwargs)
        self.mask = mask_config(mask)
        if mask is not None and iq_conf is False:
            raise RuleError(
                "a masked maximum needs an input quantizer",
                where=self.name,
                received="iq_conf=False",
                remedy="leave iq_conf out or give a config",
            )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return tuple(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        mask = self.mask_values()
        if mask is None:
            y = ops.max(x, axis=self.batched_axes, keepdims=True) - x
        else:
            low: Any = ops.where(mask[None], x, _NEVER)
            # Of a row without any element the maximum is _NEVER; `where` drops it.
            y = ops.where(mask[None], ops.max(low, axis=self.batched_axes, keepdims=True) - x, 0.0)
        return self._quantize_output(y, training)

    def mask_values(self) -> np.ndarray | None:
        """The mask in the input's shape, or None where nothing is masked."""
        return mask_over(self.mask, self._shape, self.path)

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "mask": self.mask}
