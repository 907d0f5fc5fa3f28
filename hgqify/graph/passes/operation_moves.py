"""Which layers move values as a Keras operation does: slices, splits, stacks, flips, joins."""

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from hgqify.graph.model import SELECT, Graph, Node, Ref
from hgqify.graph.passes.operation_chain import Chain

MAX_RUNS = 64
"""Pieces a tensor is cut into and joined from at most."""


def _start(graph: Graph, node: Node) -> Chain:
    return Chain(node, node.inputs[0], graph[node.inputs[0]].shape)


def get_item(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``x[:, 1:3, ::2, -1, None]``: integers, slices, new axes; the batch stays whole."""
    call = node.call
    if call is None or len(call.args) != 2 or len(node.inputs) != 1:
        return None
    key = call.args[1] if isinstance(call.args[1], tuple | list) else (call.args[1],)
    shape = graph[node.inputs[0]].shape
    if any(not (item is None or item is Ellipsis or isinstance(item, int | slice)) for item in key):
        return None
    plain = sum(item is not None and item is not Ellipsis for item in key)
    whole = [slice(None)] * (len(shape) + 1 - plain)
    position = next((n for n, item in enumerate(key) if item is Ellipsis), len(key))
    key = [*key[:position], *whole, *key[position + 1 :]]
    axes = [item for item in key if item is not None]
    if axes[0] != slice(None) or key[0] is None or len(axes) != len(shape) + 1:
        return None
    chosen = []
    for item, size in zip(axes[1:], shape, strict=True):
        indices = range(size)[item] if isinstance(item, slice) else [range(size)[item]]
        chosen.append(list(indices))
    return _gathered(graph, node, dict(enumerate(chosen)))


def _gathered(graph: Graph, node: Node, chosen: Mapping[int, list[int]]) -> tuple[Node, ...] | None:
    chain = _start(graph, node)
    for axis, indices in chosen.items():
        if not indices or sum(b != a + 1 for a, b in pairwise(indices)) >= MAX_RUNS:
            return None
        chain.gather(axis, indices)
    return chain.finish() if node.shape else None


def _axes(graph: Graph, node: Node, axis: Any) -> list[int] | None:
    """Axes without the batch, from 0; None where the batch is among them."""
    rank = len(graph[node.inputs[0]].shape) + 1
    found = [int(a) % rank - 1 for a in (axis if isinstance(axis, list | tuple) else (axis,))]
    return found if axis is not None and -1 not in found else None


def flip(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``ops.flip(x, axis)``."""
    axes = _axes(graph, node, node.config.get("axis")) if node.call is None else None
    if axes is None:
        return None
    shape = graph[node.inputs[0]].shape
    return _gathered(graph, node, {axis: list(range(shape[axis]))[::-1] for axis in axes})


def roll(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``ops.roll(x, shift, axis)`` along one axis."""
    axes = _axes(graph, node, node.config.get("axis")) if node.call is None else None
    shift = node.config.get("shift")
    if axes is None or len(axes) != 1 or not isinstance(shift, int):
        return None
    indices = np.roll(np.arange(graph[node.inputs[0]].shape[axes[0]]), shift)
    return _gathered(graph, node, {axes[0]: indices.tolist()})


def tile(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``ops.tile(x, repeats)`` with one repeat for every axis, 1 for the batch."""
    repeats, shape = node.config.get("repeats"), graph[node.inputs[0]].shape
    if node.call is not None or not isinstance(repeats, list | tuple):
        return None
    if len(repeats) != len(shape) + 1 or repeats[0] != 1:
        return None
    return _gathered(
        graph, node, {a: list(range(n)) * r for a, (n, r) in enumerate(zip(shape, repeats[1:], strict=True))}
    )


def take(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``ops.take(x, indices, axis)`` with constant indices within the axis."""
    axes = _axes(graph, node, node.config.get("axis"))
    values = [*node.call.args[1:], *node.call.kwargs.values()] if node.call else []
    if axes is None or len(values) != 1 or isinstance(values[0], Ref):
        return None
    indices, size = np.asarray(values[0]), graph[node.inputs[0]].shape[axes[0]]
    if indices.ndim > 1 or indices.dtype.kind not in "iu" or not indices.size:
        return None
    if indices.min() < 0 or indices.max() >= size:
        return None
    return _gathered(graph, node, {axes[0]: np.atleast_1d(indices).tolist()})


def stack(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``ops.stack([x, y], axis)``: reshapes, and a concatenation along the new axis."""
    axis = node.config["axis"] % (len(node.shape) + 1) - 1
    if node.call is not None or axis < 0 or len(node.inputs) < 2:
        return None
    part = (*node.shape[:axis], 1, *node.shape[axis + 1 :])
    chains = [
        Chain(node, name, graph[name].shape, f"{n}_").reshape(part) for n, name in enumerate(node.inputs)
    ]
    names = tuple(chain.name for chain in chains)
    joined = Chain(node, names[0], part).add("Concatenate", {"axis": axis + 1}, node.shape, names)
    return (*(new for chain in chains for new in chain.nodes), *joined.finish())


def join(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """Tensors and constants along an axis; a constant is so much of a tensor, times zero, plus it."""
    if node.call is None or node.config["axis"] in (0, None):
        return None
    axis = node.config["axis"] % (len(node.shape) + 1) - 1
    source = graph[node.inputs[0]]
    parts, chains = [], []
    for number, part in enumerate(keras.tree.flatten(node.call.args)):
        if isinstance(part, Ref):
            parts.append(node.inputs[part.index])
            continue
        value = np.asarray(part, np.float64)
        if value.shape[0] != 1 or value.ndim != len(node.shape) + 1 or not np.isfinite(value).all():
            return None
        size, wanted = source.shape[axis], value.shape[axis + 1]
        places = list(range(wanted)) if wanted <= size else [0] * wanted
        chain = Chain(node, source.name, source.shape, f"{number}_").gather(axis, places)
        chains.append(chain.affine(0, value[0]))
        parts.append(chain.name)
    joined = Chain(node, source.name, source.shape)
    joined.add("Concatenate", {"axis": axis + 1}, node.shape, parts)
    return (*(new for chain in chains for new in chain.nodes), *joined.finish())


def split(graph: Graph, node: Node) -> dict[str, tuple[Node, ...]] | None:
    """``ops.split``, ``ops.unstack``: the pieces, by the name of the node that selects each; none unused."""
    selected = [each for each in graph.consumers(node.name) if each.kind == SELECT]
    axes = _axes(graph, node, node.config["axis"]) if node.call is None else None
    if axes is None or len(selected) != node.outputs:
        return None
    source, (axis,) = graph[node.inputs[0]], axes
    size, parts = source.shape[axis], node.outputs
    ends = node.config.get("indices_or_sections", parts)
    bounds = [size * n // parts for n in range(parts + 1)] if isinstance(ends, int) else [0, *ends, size]
    found = {}
    for each in selected:
        if not graph.consumers(each.name) and each.name not in graph.outputs:
            found[each.name] = ()
            continue
        first, last = bounds[each.config["index"]], bounds[each.config["index"] + 1]
        if last <= first:
            return None
        chain = Chain(each, source.name, source.shape)
        found[each.name] = chain.gather(axis, list(range(first, last))).finish()
    return found


MOVES: Mapping[str, Any] = MappingProxyType(
    {
        "Flip": flip,
        "GetItem": get_item,
        "JoinWithConstants": join,
        "Roll": roll,
        "Stack": stack,
        "Tile": tile,
    }
)
"""Rules by class name of the operation."""

SPLITS = frozenset({"Split", "Unstack"})
"""Operations with several outputs that `split` lowers."""
