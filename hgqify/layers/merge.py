"""Quantized merges: sum, difference, product, extremes and average of several tensors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import RuleError
from hgqify.layers.base import QLayer
from hgqify.layers.ebops import span
from hgqify.layers.reciprocal import RECIPROCAL_BITS, reciprocal, reciprocal_values
from hgqify.quantizers import resolve


class QMerge(QLayer):
    """Base of layers with several inputs; placed before the Keras merge in the list of base classes.

    Args:
        iq_conf: one quantizer config for all inputs, or a list with one per input (entries as for a single
            input); None for the scope's default, False for none.
        **kwargs: of `QLayer`.
    """

    def _resolve_input(self, conf: Any) -> Any:
        # The number of inputs is known in build; the scope holds now.
        if isinstance(conf, (list, tuple)):
            return [None if c is False else resolve(c, self.input_place) for c in conf]
        return None if conf is False else resolve(conf, self.input_place)

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Make one quantizer per input."""
        super().build(input_shape)
        self._shapes: list[tuple[Any, ...]] = [tuple(shape[1:]) for shape in input_shape]
        self._check_shapes()
        configs = self._iq_conf
        if not isinstance(configs, list):
            configs = [configs] * len(self._shapes)
        if len(configs) != len(self._shapes):
            raise RuleError(
                "one input quantizer config per input is needed",
                where=self.path,
                received=f"{len(configs)} configs, {len(self._shapes)} inputs",
                remedy="give a list of that length, or a single config for all",
            )
        if any(config is None for config in configs) != all(config is None for config in configs):
            raise RuleError(
                "input quantizers are on for all inputs or off for all",
                where=self.path,
                received=configs,
                remedy="give a config for every input, or iq_conf=False",
            )
        self.iqs = [
            self._quantizer(config, f"iq{j}") for j, config in enumerate(configs) if config is not None
        ]
        for quantizer, shape in zip(self.iqs, input_shape, strict=False):
            quantizer.build(tuple(shape))
        if self.oq is not None:
            self.oq.build(tuple(self.compute_output_shape(input_shape)))
        self.built = True

    def _check_shapes(self) -> None:
        """RuleError unless the inputs' shapes, without the batch, go together."""
        if len({len(shape) for shape in self._shapes}) > 1:
            raise RuleError(
                "inputs of a merge must have the same rank",
                where=self.path,
                received=self._shapes,
                remedy="reshape them first",
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer to a list of tensors."""
        if self.iqs:
            inputs = [q(x, training=training) for q, x in zip(self.iqs, inputs, strict=True)]
        y = self._quantize_output(self._merge(list(inputs)), training)
        self._add_ebops_loss(training)
        return y

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> keras.KerasTensor:
        """Shape and dtype of the output."""
        return keras.KerasTensor(
            self.compute_output_shape([x.shape for x in inputs]), dtype=self.compute_dtype
        )

    def _merge(self, inputs: list[Any]) -> Any:
        """Combine quantized tensors of one rank."""
        raise NotImplementedError

    def _output_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*self._shapes)

    def _input_config(self) -> Any:
        if not isinstance(self._iq_conf, list):
            return super()._input_config()
        return [False if config is None else config.get_config() for config in self._iq_conf]


@keras.saving.register_keras_serializable("hgqify")
class QAdd(QMerge, keras.layers.Add):
    """``y = oq(sum_j iq_j(x_j))``; shapes broadcast. Arguments: `QMerge`."""

    def _merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.add, inputs)


@keras.saving.register_keras_serializable("hgqify")
class QSubtract(QMerge, keras.layers.Subtract):
    """``y = oq(iq_0(x_0) - iq_1(x_1))`` of exactly two inputs; shapes broadcast. Arguments: `QMerge`."""

    def _merge(self, inputs: list[Any]) -> Any:
        return ops.subtract(*inputs)


@keras.saving.register_keras_serializable("hgqify")
class QMaximum(QMerge, keras.layers.Maximum):
    """``y = oq(max_j iq_j(x_j))``, element by element; shapes broadcast. Arguments: `QMerge`."""

    def _merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.maximum, inputs)


@keras.saving.register_keras_serializable("hgqify")
class QMinimum(QMerge, keras.layers.Minimum):
    """``y = oq(min_j iq_j(x_j))``, element by element; shapes broadcast. Arguments: `QMerge`."""

    def _merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.minimum, inputs)


@keras.saving.register_keras_serializable("hgqify")
class QMultiply(QMerge, keras.layers.Multiply):
    """``y = oq(prod_j iq_j(x_j))``, element by element, from left to right; shapes broadcast.

    EBOPs: each product counts the bits of the running product (the sum of its factors' bits) times the
    bits of the next factor. Arguments: `QMerge`.
    """

    def _merge(self, inputs: list[Any]) -> Any:
        return functools.reduce(ops.multiply, inputs)

    def ebops(self) -> int:
        """Exact EBOPs of one inference."""
        bits = [self._input_bits(j, shape) for j, shape in enumerate(self._shapes)]
        total, running = 0, bits[0]
        for factor in bits[1:]:
            total += int(
                np.sum(np.broadcast_to(running * factor, np.broadcast_shapes(running.shape, factor.shape)))
            )
            running = running + factor
        return total

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`."""
        if not self.iqs or self._is_off(*self.iqs):
            return None
        bits = [self._input_bits_in_graph(j, shape) for j, shape in enumerate(self._shapes)]
        total: Any = 0.0
        running = bits[0]
        for factor in bits[1:]:
            total = total + ops.sum(running * factor)
            running = running + factor
        return total


@keras.saving.register_keras_serializable("hgqify")
class QAverage(QMerge, keras.layers.Average):
    """``y = oq(sum_j iq_j(x_j) * r)`` with r the fixed-point reciprocal of the number of inputs.

    r is exact for powers of two (a shift, which counts no EBOPs); else it has ``reciprocal_bits``
    significant bits, see `hgqify.layers.reciprocal`.

    Args:
        reciprocal_bits: 1 to 24.
        **kwargs: of `QMerge`.
    """

    def __init__(self, *args: Any, reciprocal_bits: int = RECIPROCAL_BITS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        reciprocal(1, reciprocal_bits)
        self.reciprocal_bits = int(reciprocal_bits)

    def reciprocal_values(self) -> np.ndarray:
        """The constant the sum is multiplied by, float32, 0-d."""
        return reciprocal_values(np.asarray(len(self._shapes)), self.reciprocal_bits)

    def _merge(self, inputs: list[Any]) -> Any:
        return ops.multiply(functools.reduce(ops.add, inputs), self.reciprocal_values())

    def ebops(self) -> int:
        """Bits of the sum (widest input plus growth) times the constant's span; shifts count 0."""
        factor = int(span(self.reciprocal_values()))
        if factor <= 1:
            return 0
        bits = [
            np.broadcast_to(self._input_bits(j, s), self._output_shape()) for j, s in enumerate(self._shapes)
        ]
        return int(np.sum(np.maximum.reduce(bits) + self._growth)) * factor

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`."""
        factor = float(span(self.reciprocal_values()))
        if factor <= 1 or not self.iqs or self._is_off(*self.iqs):
            return None
        shape = self._output_shape()
        bits = [self._input_bits_in_graph(j, s) for j, s in enumerate(self._shapes)]
        widest: Any = ops.broadcast_to(functools.reduce(ops.maximum, bits), (1, *shape))
        return ops.sum((widest + float(self._growth)) * factor)

    @property
    def _growth(self) -> int:
        """Bits a sum of all inputs may have more than the widest of them."""
        return (len(self._shapes) - 1).bit_length()

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "reciprocal_bits": self.reciprocal_bits}
