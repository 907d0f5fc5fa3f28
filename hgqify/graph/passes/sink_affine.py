"""Move a scale and shift towards the linear layer that can absorb it."""

from collections.abc import Callable

import numpy as np

from hgqify.graph.build import unique_name
from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.affine import batchnorm_axis, batchnorm_scale_shift, scale_shift_nodes
from hgqify.graph.passes.base import Event, Pass, PassResult
from hgqify.graph.passes.linear_algebra import LINEAR

_RANKS = ("1D", "2D", "3D")
_AVERAGES = frozenset(f"{scope}AveragePooling{rank}" for scope in ("", "Global") for rank in _RANKS)
_MAXIMA = frozenset(f"{scope}MaxPooling{rank}" for scope in ("", "Global") for rank in _RANKS)


class SinkAffine(Pass):
    """BatchNormalization -> reshape or pooling -> linear layer: swap the first two.

    Reshaping moves no values. Averages commute with a scale and shift (Keras averages over the elements
    really there, also at padded borders); maxima do where no scale is negative. The swaps are exact, they
    leave fewer elements to scale, and the fold into the linear layer becomes possible.
    """

    name = "sink-affine"

    def run(self, graph: Graph) -> PassResult:
        """Swap, repeatedly, wherever a chain of reshapes and poolings ends in a linear layer."""
        events: list[Event] = []
        modified = False
        result = self._step(graph)
        while result.modified:
            modified = True
            events += result.events
            graph = result.graph
            result = self._step(graph)
        return PassResult(graph=graph, modified=modified, events=tuple(events))

    def _step(self, graph: Graph) -> PassResult:
        for node in graph:
            if node.kind != "BatchNormalization" or not node.is_plain or not _helps(graph, node):
                continue
            follower = graph.only_consumer(node.name)
            rule = _rule(follower) if follower is not None else None
            moved = rule(node, follower) if rule is not None and follower is not None else None
            if moved is None or follower is None:
                continue
            # A part of an operation that ends in the follower has that very name already.
            moved = moved.with_(name=unique_name(moved.name, {other.name for other in graph}))
            return self.result(
                graph,
                {node.name: (), follower.name: (follower.with_(inputs=node.inputs), moved)},
                {node.name: node.inputs[0], follower.name: moved.name},
                [self.event(node, "moved", f"behind {follower.origin[0]}")],
            )
        return PassResult(graph=graph, modified=False)


def _helps(graph: Graph, node: Node) -> bool:
    """Whether no linear layer before takes the scale and shift, but one behind could."""
    producer = graph[node.inputs[0]]
    if producer.kind in LINEAR and producer.is_plain and graph.only_consumer(producer.name) is node:
        return False
    follower = graph.only_consumer(node.name)
    while follower is not None and _rule(follower) is not None:
        follower = graph.only_consumer(follower.name)
    return follower is not None and follower.kind in LINEAR and follower.is_plain


def _rule(node: Node) -> Callable[[Node, Node], Node | None] | None:
    """How a scale and shift moves behind `node`, None if it cannot."""
    if not node.is_plain or node.config.get("data_format") == "channels_first":
        return None  # Flatten, for one, moves the channels last there
    if node.kind in ("Flatten", "Reshape"):
        return _behind_reshape
    return _behind_pooling if node.kind in _AVERAGES | _MAXIMA else None


def _behind_reshape(node: Node, reshape: Node) -> Node | None:
    shape = [1] * len(node.shape)
    shape[batchnorm_axis(node)] = -1
    values = []
    for value in batchnorm_scale_shift(node):
        full = np.broadcast_to(value.reshape(shape), node.shape).reshape(-1, reshape.shape[-1])
        # Constant along all but the last axis, or the linear layer cannot absorb it.
        if not np.array_equal(full, np.broadcast_to(full[:1], full.shape)):
            return None
        values.append(full[0])
    return _placed(node, reshape, *values)


def _behind_pooling(node: Node, pooling: Node) -> Node | None:
    scale, shift = batchnorm_scale_shift(node)
    if batchnorm_axis(node) != len(node.shape) - 1:
        return None
    if pooling.kind in _MAXIMA and (scale < 0).any():
        return None
    return _placed(node, pooling, scale, shift)


def _placed(node: Node, follower: Node, scale: np.ndarray, shift: np.ndarray) -> Node:
    position = Node(
        name=f"{follower.name}/{node.name.rpartition('/')[2]}",
        kind=node.kind,
        inputs=(follower.name,),
        shape=follower.shape,
        origin=node.origin,
    )
    return scale_shift_nodes(position, scale, shift)[0]
