"""The parts a layer is lowered to: nodes named after it, with float layers that quantize nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

import hgqify.layers as q
from hgqify.graph import Node
from hgqify.graph.passes.part_nodes import PartWriter
from hgqify.quantizers import Place, QType, QuantizerConfig

BELOW, MASK, SUM, MEAN, TABLE = "QBelowMaximum", "QMask", "QSum", "QMean", "QActivation"
SCALED, DIVIDED, BY_POWER, LARGEST = "QMultiply", "QMultiply by 1/x", "QMultiplyPow2", "QLargest"
"""Kinds of parts for which Keras has no layer."""

_FLOAT: Mapping[str, type] = MappingProxyType(
    {
        BELOW: q.QBelowMaximum,
        MASK: q.QMask,
        SUM: q.QSum,
        MEAN: q.QMean,
        TABLE: q.QActivation,
        SCALED: q.QMultiply,
        DIVIDED: q.QMultiply,
        BY_POWER: q.QMultiplyPow2,
        LARGEST: q.QLargest,
    }
)
FACTOR_BITS = 12
"""Of both factors where rows are scaled, at least: one format serves all of them, and their sizes differ by
orders of magnitude. Together that fills a float32 significand."""
FULL_RECIPROCAL = 24
"""Bits of the reciprocal in a float mean."""


class Exponents(NamedTuple):
    """Sizes of rows, as floored binary logarithms: those below and above count as these."""

    lowest: int
    highest: int


class Parts(PartWriter):
    """The parts of one node, in order; those without a Keras layer quantize nothing.

    Args:
        origin: the node.
    """

    def __init__(self, origin: Node) -> None:
        super().__init__(origin)
        self._off = {place: QuantizerConfig(QType.DUMMY, place).get_config() for place in Place}

    def add(
        self,
        label: str,
        kind: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        config: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
        **rest: Any,
    ) -> str:
        """Append a part; returns its name."""
        settings = dict(config or {})
        if kind in _FLOAT:
            settings |= {"iq_conf": self._off[Place.DATALANE], "enable_ebops": False}
            rest["source"] = _FLOAT[kind]
        if kind in (SCALED, DIVIDED, BY_POWER):
            settings["iq_conf"] = [self._off[Place.DATALANE]] * len(inputs)
        if kind == TABLE:
            settings["oq_conf"] = self._off[Place.TABLE]
        return super().add(label, kind, inputs, shape, settings, weights, **rest)

    def reduced(self, label: str, kind: str, source: str, shape: tuple[int, ...], axes: Sequence[int]) -> str:
        """A sum or mean over axes (batch included), which stay with size 1."""
        kept = tuple(1 if n + 1 in axes else size for n, size in enumerate(shape))
        config: dict[str, Any] = {"axis": list(axes) if len(axes) > 1 else axes[0]}
        if kind == MEAN:
            config["reciprocal_bits"] = FULL_RECIPROCAL
        return self.add(label, kind, (source,), kept, config)

    def table(self, label: str, function: Any, source: str, **params: Any) -> str:
        """A function of single elements."""
        config = {**q.get_activation(function, params, where=self.origin.name).get_config()}
        return self.add(label, TABLE, (source,), self.shapes[source], config)

    def product(self, label: str, a: str, b: str, shape: tuple[int, ...]) -> str:
        """Element by element; shapes broadcast."""
        return self.add(label, "Multiply", (a, b), shape)

    def scaled(self, label: str, x: str, factor: str, shape: tuple[int, ...]) -> str:
        """Element by element times a factor that differs from sample to sample by orders of magnitude."""
        return self.add(label, SCALED, (x, factor), shape)

    def divided(self, label: str, x: str, reciprocal: str, shape: tuple[int, ...]) -> str:
        """Element by element times a reciprocal between 1/2 and 1."""
        return self.add(label, DIVIDED, (x, reciprocal), shape)

    def power(self, label: str, source: str, exponents: Exponents) -> str:
        """The power of two that brings each element of a tensor near 1 (`hgqify.layers.power_scale`)."""
        return self.table(label, q.power_scale, source, **exponents._asdict())

    def by_power(self, label: str, x: str, power: str, shape: tuple[int, ...], exponents: Exponents) -> str:
        """Element by element times what `power` gave."""
        config = {"lowest": -exponents.highest, "highest": -exponents.lowest}
        return self.add(label, BY_POWER, (x, power), shape, config)


def positive_axes(node: Node) -> tuple[int, ...]:
    """A node's axes, the batch counted as 0, ascending."""
    axis = node.config["axis"]
    rank = len(node.shape) + 1
    return tuple(sorted(int(a) % rank for a in (axis if isinstance(axis, list | tuple) else (axis,))))
