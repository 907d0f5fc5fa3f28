"""Where a model's inputs and outputs get quantizers of their own."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from hgqify.convert.structure import QUANTIZE, STRUCTURAL
from hgqify.graph import Graph, Node

INPUT = "InputLayer"


@dataclass(frozen=True, kw_only=True, eq=False)
class Edges:
    """A graph whose inputs and outputs are quantized.

    Attributes:
        graph: with a 'Quantize' node behind every input, and one before every output whose producer
            cannot carry an output quantizer itself.
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


def quantize_edges(graph: Graph) -> Edges:
    """Insert quantizers at the model's edges.

    A producer carries the output quantizer itself (`oq`) only if it computes (no moved values, no
    input), is called once, and nothing else reads or returns its tensor: hardware gives one tensor one
    type, and the type a consumer needs is not the one an output needs.
    """
    inside: dict[str, str] = {}
    nodes: list[Node] = []
    tensor: dict[str, str] = {}
    for node in graph:
        tensor[node.name] = node.name
        nodes.append(node.with_(inputs=tuple(inside.get(name, name) for name in node.inputs)))
        if node.kind == INPUT and not _is_index(graph, node):
            quantizer = _quantizer(node, "input", _free(f"{node.name}_quantize", graph, tensor))
            nodes.append(quantizer)
            inside[node.name] = quantizer.name
            tensor[quantizer.name] = node.name
    outputs = list(graph.outputs)
    own = {name for name in outputs if _can_carry(graph, name)}
    outside: list[str] = []
    for name in outputs:
        if name in own:
            outside.append(name)
            continue
        source = graph[name].with_(name=inside.get(name, name))
        quantizer = _quantizer(source, "output", _free(f"{name}_output", graph, tensor))
        nodes.append(quantizer)
        tensor[quantizer.name] = name
        outside.append(quantizer.name)
    result = Graph(
        nodes=tuple(nodes),
        input_structure=graph.input_structure,
        output_structure=keras.tree.pack_sequence_as(graph.output_structure, outside),
        name=graph.name,
    )
    result.validate()
    return Edges(graph=result, own_output=frozenset(own), tensor=tensor)


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
