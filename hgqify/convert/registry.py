"""Which function converts which kind of node."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import keras

from hgqify.convert.remedies import REMEDIES
from hgqify.convert.slots import Slots
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node

Converter = Callable[[Node, Slots], keras.layers.Layer]
"""Makes the (unbuilt) quantized layer of a node; raises UnsupportedLayerError where it cannot."""


class Registry(Mapping[str, Converter]):
    """Converters by kind of node. An instance, not a global: `copy` it, add to the copy, pass it on."""

    def __init__(self, converters: Mapping[str, Converter] | None = None) -> None:
        self._converters = dict(converters or {})

    def __getitem__(self, kind: str) -> Converter:
        return self._converters[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._converters)

    def __len__(self) -> int:
        return len(self._converters)

    def copy(self) -> Registry:
        """An independent registry with the same converters."""
        return Registry(self._converters)

    def register(self, *kinds: str) -> Callable[[Converter], Converter]:
        """Decorator: this function converts these kinds (a later one replaces an earlier one)."""

        def add(function: Converter) -> Converter:
            self._converters.update(dict.fromkeys(kinds, function))
            return function

        return add

    def with_(self, converters: Mapping[str, Converter]) -> Registry:
        """A registry with some converters added or replaced."""
        return Registry({**self._converters, **converters})

    def find(self, node: Node) -> Converter:
        """The converter of a node.

        Raises:
            UnsupportedLayerError: there is none; says what to do instead.
        """
        if node.kind in self._converters:
            return self._converters[node.kind]
        if node.closed:
            raise UnsupportedLayerError(
                f"it cannot be opened into Keras operations: {node.closed}",
                where=node.name,
                received=node.kind,
                remedy=REMEDIES["Lambda" if node.kind == "Lambda" else "custom"],
            )
        known = MappingProxyType(REMEDIES)
        near = difflib.get_close_matches(node.kind, self._converters, n=1, cutoff=0.8)
        generic = "replace it, or convert the part of the model before it: keras.Model(inputs, tensor_before)"
        remedy = known.get(node.kind) or (f"a similar layer is supported: {near[0]}" if near else generic)
        raise UnsupportedLayerError(
            "there is no fixed-point form of this layer", where=node.name, received=node.kind, remedy=remedy
        )
