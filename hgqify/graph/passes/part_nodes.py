"""Nodes that a node is lowered to: named after it, with its origin, shared where it is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hgqify.graph.model import Node


def part_node(
    origin: Node,
    label: str,
    kind: str,
    inputs: Sequence[str],
    shape: Sequence[int],
    config: Mapping[str, Any] | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    **rest: Any,
) -> Node:
    """One part of a node.

    Args:
        origin: the node.
        label: behind its name; empty for the part that takes the node's own name (and key of sharing).
        kind, inputs, shape, config, weights: of the part.
        rest: other attributes of `Node`; ``shared`` in place of the origin's key with the label.
    """
    path = f"/{label}" if label else ""
    rest.setdefault("shared", f"{origin.shared}{path}" if origin.shared else None)
    return Node(
        name=f"{origin.name}{path}",
        kind=kind,
        config=config or {},
        weights=weights or {},
        inputs=tuple(inputs),
        shape=tuple(shape),
        origin=origin.origin,
        **rest,
    )


def named(origin: Node, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The parts of a node, the last one with the node's own name and key of sharing."""
    return (*nodes[:-1], nodes[-1].with_(name=origin.name, shared=origin.shared))


class PartWriter:
    """The parts of one node, in order.

    Attributes:
        origin: the node.
        nodes: its parts so far.
        shapes: of their outputs, by name.
    """

    def __init__(self, origin: Node) -> None:
        self.origin = origin
        self.nodes: list[Node] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

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
        """Append a part (arguments as for `part_node`); its name."""
        node = part_node(self.origin, label, kind, inputs, shape, config, weights, **rest)
        self.nodes.append(node)
        self.shapes[node.name] = node.shape
        return node.name

    def reshape(self, label: str, source: str, shape: Sequence[int]) -> str:
        """The same values in another shape."""
        return self.add(label, "Reshape", (source,), shape, {"target_shape": tuple(shape)})

    def permute(self, label: str, source: str, given: Sequence[int], order: Sequence[int]) -> str:
        """Axis ``order[n]`` (batch excluded, from 0) of a tensor of shape ``given`` becomes axis n."""
        if list(order) == sorted(order):
            return source
        dims = tuple(axis + 1 for axis in order)
        return self.add(label, "Permute", (source,), [given[axis] for axis in order], {"dims": dims})

    def done(self) -> tuple[Node, ...]:
        """The parts; the last one has the name of the node itself."""
        return named(self.origin, self.nodes)
