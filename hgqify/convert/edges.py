"""Where a model's inputs and outputs get quantizers of their own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import keras

from hgqify.convert.structure import ENTRY, EXIT, INPUT_ROLE, OUTPUT_ROLE, QUANTIZE, STRUCTURAL
from hgqify.graph import Graph, Node
from hgqify.graph.model import SELECT

INPUT = "InputLayer"


@dataclass(frozen=True, kw_only=True, eq=False)
class Edges:
    """A graph whose inputs and outputs are quantized.

    Attributes:
        graph: with a 'Quantize' node behind every input, one before every output whose producer
            cannot carry an output quantizer itself, and one before and behind what stays in float.
        own_output: names of nodes that carry the quantizer of a model output.
        tensor: for every node, the node of the original graph that gives its float value.
    """

    graph: Graph
    own_output: frozenset[str]
    tensor: dict[str, str]

    def from_input(self, name: str) -> bool:
        """Whether a node's value is a model input, moved around at most."""
        node = self.graph[name]
        while node.kind in STRUCTURAL and len(node.inputs) == 1:
            node = self.graph[node.inputs[0]]
        return node.kind == QUANTIZE


def quantize_edges(graph: Graph, kept: Collection[str] = ()) -> Edges:
    """Insert quantizers at the edges of what is fixed point.

    A producer carries the output quantizer itself (`oq`) only if it computes (no moved values, no
    input), is called once, and nothing else reads or returns its tensor: hardware gives one tensor one
    type, and the type a consumer needs is not the one an output needs.

    A tensor that a float layer reads gets a quantizer for that (as a model output does), one that a float
    layer gives (as a model input does). What float layers hand to each other, and read of model inputs,
    stays as it is.

    Args:
        graph: canonical.
        kept: names of nodes that stay in float.
    """
    real = _real(graph, kept)
    inside: dict[str, str] = {}
    left: dict[str, str] = {}
    nodes: list[Node] = []
    tensor: dict[str, str] = {}

    def quantized(node: Node, role: str, label: str, origin: str) -> str:
        quantizer = _quantizer(node, role, _free(f"{origin}_{label}", graph, tensor))
        nodes.append(quantizer)
        tensor[quantizer.name] = origin
        return quantizer.name

    for node in graph:
        tensor[node.name] = node.name
        if node.name in kept:
            for name in node.inputs:
                if name not in real and name not in left:
                    source = graph[name].with_(name=inside.get(name, name))
                    left[name] = quantized(source, EXIT, "exit", name)
            # Its arguments, if it takes any, and its weights are its own from here on.
            inputs = tuple(left.get(name, name) for name in node.inputs)
            nodes.append(node.with_(inputs=inputs, call=None, shared=None))
        else:
            select = node.kind == SELECT and node.name in real
            inputs = tuple(name if select else inside.get(name, name) for name in node.inputs)
            nodes.append(node.with_(inputs=inputs))
        if node.name in real and node.outputs == 1 and _needs_entry(graph, node, kept):
            role = INPUT_ROLE if node.kind == INPUT else ENTRY
            inside[node.name] = quantized(node, role, "quantize", node.name)
    outputs = list(graph.outputs)
    own = {name for name in outputs if name not in real and _can_carry(graph, name)}
    outside: list[str] = []
    for name in outputs:
        if name in own:
            outside.append(name)
            continue
        direct = name in real and graph[name].kind != INPUT
        source = graph[name].with_(name=name if direct else inside.get(name, name))
        outside.append(quantized(source, OUTPUT_ROLE, "output", name))
    result = Graph(
        nodes=tuple(nodes),
        input_structure=graph.input_structure,
        output_structure=keras.tree.pack_sequence_as(graph.output_structure, outside),
        name=graph.name,
    )
    result.validate()
    return Edges(graph=result, own_output=frozenset(own), tensor=tensor)


def _real(graph: Graph, kept: Collection[str]) -> frozenset[str]:
    """Names of the nodes that give real numbers: model inputs, layers in float, and their outputs."""
    found = {node.name for node in graph if node.kind == INPUT or node.name in kept}
    found |= {node.name for node in graph if node.kind == SELECT and node.inputs[0] in found}
    return frozenset(found)


def _needs_entry(graph: Graph, node: Node, kept: Collection[str]) -> bool:
    """Whether something exact reads a node that gives real numbers, or, of a model input, returns it."""
    readers = [reader for reader in graph.consumers(node.name) if reader.name not in kept]
    if node.kind != INPUT:
        return bool(readers)
    if not kept:
        return not _is_index(graph, node)
    returned = node.name in graph.outputs
    return (bool(readers) or returned) and (returned or any(r.kind != "Embedding" for r in readers))


def _is_index(graph: Graph, node: Node) -> bool:
    """Whether only tables read an input: they make an integer of it, whatever the data has shown so far."""
    readers = graph.consumers(node.name)
    return bool(readers) and node.name not in graph.outputs and all(r.kind == "Embedding" for r in readers)


def _can_carry(graph: Graph, name: str) -> bool:
    node = graph[name]
    return (
        node.kind not in STRUCTURAL
        and node.kind != INPUT
        and node.is_plain
        and not graph.consumers(name)
        and graph.outputs.count(name) == 1
    )


def _quantizer(node: Node, role: str, name: str) -> Node:
    return Node(
        name=name,
        kind=QUANTIZE,
        config={"role": role},
        inputs=(node.name,),
        shape=node.shape,
        origin=node.origin,
    )


def _free(name: str, graph: Graph, taken: dict[str, str]) -> str:
    while name in graph.by_name or name in taken:
        name += "_"
    return name
