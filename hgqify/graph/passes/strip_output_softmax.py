"""Move a final softmax off the device: the model outputs logits."""

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult

REASON = "moved to the host: the order of the classes is unchanged; the model outputs logits"


class StripOutputSoftmax(Pass):
    """Remove a softmax over the last axis that is a model output and nothing else."""

    name = "strip-output-softmax"

    def run(self, graph: Graph) -> PassResult:
        """Remove every such softmax; one that other layers read stays."""
        stripped = [node for node in graph if is_final_softmax(graph, node)]
        return self.result(
            graph,
            {node.name: () for node in stripped},
            {node.name: node.inputs[0] for node in stripped},
            [self.event(node, "removed", REASON) for node in stripped],
        )


def is_final_softmax(graph: Graph, node: Node) -> bool:
    """Whether a node is a softmax over the last axis that is a model output and nothing else."""
    if node.name not in graph.outputs or graph.consumers(node.name) or node.call is not None:
        return False
    if node.kind == "Activation":
        return node.config["activation"] == "softmax"
    return node.kind == "Softmax" and node.config["axis"] in (-1, len(node.shape))
