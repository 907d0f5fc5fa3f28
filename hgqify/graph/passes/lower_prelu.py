"""Lower PReLU to its two halves: what is positive passes, what is negative is scaled."""

import numpy as np

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.affine import scale_shift_nodes
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.part_nodes import part_node


class LowerPrelu(Pass):
    """PReLU -> relu(x) + alpha * min(x, 0), with slopes along any axes.

    Both halves are exact on every grid; the slopes become the scale of a BatchNormalization node. A slope
    multiplies once, and nothing multiplies what is positive.
    """

    name = "lower-prelu"

    def run(self, graph: Graph) -> PassResult:
        """Lower every PReLU; the sum keeps the node's name."""
        replacements, events = {}, []
        for node in graph:
            if node.kind != "PReLU" or node.call is not None:
                continue
            replacements[node.name] = _lower(node)
            events.append(self.event(node, "lowered", "relu(x) + slopes * min(x, 0)"))
        return self.result(graph, replacements, {}, events)


def _lower(node: Node) -> tuple[Node, ...]:
    positive = _part(node, "positive", "Activation", {"activation": "relu"})
    # At most zero, with slope one below it: min(x, 0).
    negative = _part(node, "negative", "ReLU", {"max_value": 0.0, "negative_slope": 1.0, "threshold": 0.0})
    place = node.with_(name=f"{node.name}/slopes", inputs=(negative.name,))
    slopes = scale_shift_nodes(place, node.weights["alpha"], np.zeros(()))
    if node.shared:
        slopes = tuple(
            part.with_(shared=f"{node.shared}{part.name.removeprefix(node.name)}") for part in slopes
        )
    total = _part(node, "sum", "Add", {}).with_(name=node.name, inputs=(positive.name, slopes[-1].name))
    return positive, negative, *slopes, total


def _part(node: Node, label: str, kind: str, config: dict) -> Node:
    return part_node(node, label, kind, node.inputs, node.shape, config)
