"""Move a scale and shift behind a reshape, where the next linear layer can absorb it."""

import numpy as np

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.affine import batchnorm_axis, batchnorm_scale_shift, scale_shift_nodes
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.linear_algebra import LINEAR

_RESHAPES = ("Flatten", "Reshape")


class SinkAffine(Pass):
    """BatchNormalization -> Flatten/Reshape -> linear layer: swap the first two.

    Reshaping moves no values, so the swap is exact; the scale and shift become per element of the new
    last axis. Folding into the linear layer is then possible.
    """

    name = "sink-affine"

    def run(self, graph: Graph) -> PassResult:
        """Swap wherever a linear layer that could absorb the scale and shift follows."""
        replacements, redirect, events = {}, {}, []
        for node in graph:
            if node.kind != "BatchNormalization" or not node.is_plain:
                continue
            reshape = graph.only_consumer(node.name)
            if reshape is None or reshape.kind not in _RESHAPES or not _helps(graph, node, reshape):
                continue
            if reshape.config.get("data_format") == "channels_first":
                continue  # Flatten moves the channels last first
            moved = _moved(node, reshape)
            if moved is None:
                continue
            replacements[node.name] = ()
            replacements[reshape.name] = (reshape.with_(inputs=node.inputs), moved)
            redirect[node.name] = node.inputs[0]
            redirect[reshape.name] = moved.name
            events.append(self.event(node, "moved", f"behind {reshape.origin[0]}"))
        return self.result(graph, replacements, redirect, events)


def _helps(graph: Graph, node: Node, reshape: Node) -> bool:
    consumer = graph.only_consumer(reshape.name)
    producer = graph[node.inputs[0]]
    before = producer.kind in LINEAR and graph.only_consumer(producer.name) is node
    return not before and reshape.is_plain and consumer is not None and consumer.kind in LINEAR


def _moved(node: Node, reshape: Node) -> Node | None:
    shape = [1] * len(node.shape)
    shape[batchnorm_axis(node)] = -1
    values = []
    for value in batchnorm_scale_shift(node):
        full = np.broadcast_to(value.reshape(shape), node.shape).reshape(reshape.shape)
        # Constant along all but the last axis, or the linear layer cannot absorb it.
        last = full.reshape(-1, full.shape[-1])
        if not np.array_equal(last, np.broadcast_to(last[:1], last.shape)):
            return None
        values.append(last[0])
    name = f"{reshape.name}/{node.name.rpartition('/')[2]}"
    position = Node(
        name=name, kind=node.kind, inputs=(reshape.name,), shape=reshape.shape, origin=node.origin
    )
    return scale_shift_nodes(position, *values)[0]
