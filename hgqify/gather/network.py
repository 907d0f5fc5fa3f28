"""The layers of a program as a graph, with the format on every edge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from hgqify.precision import Node, Program, operand_bits, ops

MOST_NODES = 500
"""What a picture can show; larger graphs are drawn by layers of the float model, or not at all."""


def network(
    program: Program, origins: Mapping[str, str] | None = None, *, most: int = MOST_NODES
) -> dict[str, Any]:
    """Layers and edges of a program.

    Operations of one layer that read each other are one node; quantizers between layers are formats of edges.

    Args:
        program: annotated.
        origins: layer of the float model by layer of the quantized one: nodes of very large graphs.
        most: nodes of a graph that is not very large.

    Returns:
        ``nodes``: id, layer, operations, shape of the output; ``edges``: source and target (ids), and
        ``bits``: smallest, mean and largest width of the elements, sign included, ``format``: k, i, f of the
        quantizer, each [smallest, largest], with rounding and overflow; None where no quantizer stands, and
        the width is what the exact result takes. ``bits`` is None for the real numbers of a model input.
        ``omitted``: number of nodes, where there are too many; then there are no others.
    """
    names = [lambda node: node.layer]
    if origins:
        names.append(lambda node: origins.get(node.layer, node.layer))
    for name in names:
        groups = _acyclic(program, name)
        count = len(set(groups.values()))
        if count <= most:
            return {**_drawn(program, groups, name), "omitted": 0}
    return {"nodes": [], "edges": [], "omitted": count}


def _acyclic(program: Program, name: Callable[[Node], str]) -> dict[str, str]:
    """By node the first node of its group; nodes alone where groups would read each other in a circle."""
    groups = _groups(program, name)
    return groups if _has_order(program, groups) else {node: node for node in groups}


def _groups(program: Program, name: Callable[[Node], str]) -> dict[str, str]:
    alone = {node.layer for node in program.nodes} - {
        node.layer for node in program.nodes if not isinstance(node.op, ops.Quantize)
    }
    groups: dict[str, str] = {}
    outputs = set(program.outputs)
    for node in program.nodes:
        if isinstance(node.op, ops.Quantize) and node.layer not in alone and node.name not in outputs:
            continue
        groups[node.name] = node.name
        for producer in _producers(program, node, groups):
            if name(program.by_name[producer]) == name(node):
                first, second = _root(groups, producer), _root(groups, node.name)
                groups[second] = first
    return {node: _root(groups, node) for node in groups}


def _root(groups: dict[str, str], node: str) -> str:
    while groups[node] != node:
        node = groups[node]
    return node


def _producers(program: Program, node: Node, kept: Mapping[str, str]) -> Iterator[str]:
    for name in node.inputs:
        while name not in kept:
            name = program.by_name[name].inputs[0]  # a quantizer has one input
        yield name


def _has_order(program: Program, groups: Mapping[str, str]) -> bool:
    """Whether no group reads another one that reads it."""
    reads: dict[str, set[str]] = {group: set() for group in groups.values()}
    for node in groups:
        for producer in _producers(program, program.by_name[node], groups):
            if groups[producer] != groups[node]:
                reads[groups[node]].add(groups[producer])
    try:
        TopologicalSorter(reads).prepare()
    except CycleError:
        return False
    return True


def _drawn(program: Program, groups: Mapping[str, str], name: Callable[[Node], str]) -> dict[str, Any]:
    ids = {group: n for n, group in enumerate(dict.fromkeys(groups.values()))}
    members: dict[str, list[Node]] = {group: [] for group in ids}
    for node in program.nodes:
        if node.name in groups:
            members[groups[node.name]].append(node)
    nodes = [
        {
            "id": ids[group],
            "layer": name(nodes[0]),
            "operations": list(dict.fromkeys(type(node.op).__name__ for node in nodes)),
            "shape": [int(n) for n in nodes[-1].shape],
        }
        for group, nodes in members.items()
    ]
    edges: list[dict[str, Any]] = []
    for group, own in members.items():
        for node in own:
            for name_in in node.inputs:
                source, format_ = _walked(program, name_in, groups)
                if groups[source] == group:
                    continue
                if isinstance(node.op, ops.Quantize):
                    format_ = _format(program, node)
                edges.append({"source": ids[groups[source]], "target": ids[group], **format_})
    edges += _outputs(program, groups, ids, nodes)
    return {"nodes": nodes, "edges": _distinct(edges)}


def _outputs(
    program: Program, groups: Mapping[str, str], ids: Mapping[str, int], nodes: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A node for every output of the model, and the edge to it."""
    edges = []
    for position, name in enumerate(program.outputs):
        number = len(nodes)
        label = "output" if len(program.outputs) == 1 else f"output {position}"
        shape = [int(n) for n in program.by_name[name].shape]
        nodes.append({"id": number, "layer": label, "operations": ["Output"], "shape": shape})
        edges.append(
            {"source": ids[groups[name]], "target": number, **_format(program, program.by_name[name])}
        )
    return edges


def _walked(program: Program, name: str, groups: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """From what an operation reads back to the node that gives it, and the format it arrives in."""
    format_ = _format(program, program.by_name[name])
    while name not in groups:
        name = program.by_name[name].inputs[0]
    return name, format_


def _format(program: Program, node: Node) -> dict[str, Any]:
    if isinstance(node.op, ops.Input):
        return {"bits": None, "format": None}
    if isinstance(node.op, ops.Quantize):
        op = node.op
        parts = {"k": op.k, "i": op.i, "f": op.f}
        if op.digits is None:
            widths = np.broadcast_to(np.maximum(op.k + op.i + op.f, 0), node.shape)
        else:
            parts["digits"] = op.digits
            widths = operand_bits(program, node.name)
        format_ = {
            **{part: [int(np.min(a)), int(np.max(a))] for part, a in parts.items()},
            "rounding": str(op.rounding),
            "overflow": str(op.overflow),
        }
    else:
        low = np.zeros(1) if node.info is None else node.info.low
        widths, format_ = operand_bits(program, node.name) + (low < 0), None
    bits = [int(np.min(widths)), round(float(np.mean(widths)), 3), int(np.max(widths))]
    return {"bits": bits, "format": format_}


def _distinct(edges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each edge once, though several operations of a layer read it."""
    found: list[dict[str, Any]] = []
    for edge in edges:
        if edge not in found:
            found.append(edge)
    return found
