"""Drop masks that no layer reads: firmware works on full sequences."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import keras

from hgqify.graph.build import float_factory
from hgqify.graph.model import INPUT, OPERATION_PREFIX, SELECT, Graph, Node
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.unread import unread

# It takes a mask, and averages over what is not masked while it trains only.
_READ_IN_TRAINING = "BatchNormalization"


class DropMasks(Pass):
    """Masking(0) -> nothing, Embedding(mask_zero=True) -> Embedding, where nobody reads the mask.

    What Masking(0) masks is zero already, so it changes no value. With another value it sets steps to zero
    that hold it, and stays.
    """

    name = "drop-masks"

    def run(self, graph: Graph) -> PassResult:
        """Drop every mask that only travels."""
        given, graph = graph, _without_masks_of_training(graph)
        makers = [node for node in graph if _makes_mask(node)]
        readers = {node.name: reader(graph, node) for node in makers}
        # One layer has one config: it keeps its mask if the mask of any of its calls is read.
        read = {node.shared or node.name for node in makers if readers[node.name]}
        replacements: dict[str, tuple[Node, ...]] = {}
        redirect: dict[str, str] = {}
        events = []
        for node in makers:
            if (node.shared or node.name) in read:
                events.append(self.event(node, "kept", f"{readers[node.name] or 'a layer'} reads its mask"))
            elif node.kind == "Masking":
                replacements[node.name] = ()
                redirect[node.name] = node.inputs[0]
                events.append(self.event(node, "removed", "no layer reads its mask"))
            else:
                replacements[node.name] = (node.with_(config={**node.config, "mask_zero": False}),)
                events.append(self.event(node, "lowered", "without its mask, which no layer reads"))
        result = self.result(graph, replacements, redirect, events)
        return dataclasses.replace(result, modified=result.graph is not given)


def _without_masks_of_training(graph: Graph) -> Graph:
    """The graph without the masks that matter in training only, and without what computes them."""
    replacements: dict[str, tuple[Node, ...]] = {}
    for node in graph:
        if node.kind == _READ_IN_TRAINING and node.call and set(node.call.kwargs) == {"mask"}:
            replacements[node.name] = (node.with_(call=None, inputs=node.inputs[:1]),)
    if not replacements:
        return graph
    graph = graph.rewrite(replacements)
    dead: set[str] = set()
    for node in graph:
        if node.kind.startswith(OPERATION_PREFIX) and not graph.consumers(node.name):
            dead |= set() if node.name in graph.outputs else {node.name}
    return graph.rewrite(dict.fromkeys(unread(graph, dead), ()))


def _makes_mask(node: Node) -> bool:
    if node.kind == "Masking":
        return node.call is None and is_zero(node.config.get("mask_value", 0))
    return node.kind in ("Embedding", "ReversibleEmbedding") and bool(node.config.get("mask_zero"))


def is_zero(value: Any) -> bool:
    """Whether a mask's value is the number 0."""
    return isinstance(value, int | float) and value == 0


def reader(graph: Graph, maker: Node) -> str:
    """Name of a layer that the mask of a node reaches and that reads it; empty if there is none."""
    masked = {maker.name}
    for node in graph:
        if node.kind == INPUT or not masked & set(node.inputs):
            continue
        if node.kind == SELECT:
            masked.add(node.name)
            continue
        if node.kind.startswith(OPERATION_PREFIX):
            continue  # an operation knows nothing of masks
        if _reads(node):
            return node.name
        if float_factory(node).supports_masking:
            masked.add(node.name)
    return ""


def _reads(node: Node) -> bool:
    """Whether the values of a layer depend on a mask at inference."""
    source = node.source or getattr(keras.layers, node.kind)
    if node.kind == "TimeDistributed":
        inner: Mapping[str, Any] = node.config["layer"]
        source = getattr(keras.layers, inner["class_name"], source)
    if source.__name__ == _READ_IN_TRAINING:
        return False
    return any(name == "mask" or name.endswith("_mask") for name in inspect.signature(source.call).parameters)
