"""Give each activation one spelling: 'Activation' where a name says it all, else its own layer."""

from typing import Any

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult


class NormalizeActivations(Pass):
    """ReLU() -> Activation('relu'), ReLU(6) -> 'relu6', ELU() -> 'elu', Activation('softmax') -> Softmax().

    LeakyReLU, PReLU, ELU and ReLU with other parameters, and Softmax, stay layers of their own.
    """

    name = "normalize-activations"

    def run(self, graph: Graph) -> PassResult:
        """Respell every activation; no events, as nothing about the model changes."""
        replacements = {}
        for node in graph:
            spelling = _spelling(node)
            if spelling is not None:
                kind, config = spelling
                replacements[node.name] = (node.with_(kind=kind, config=config),)
        return self.result(graph, replacements, {}, [])


def _spelling(node: Node) -> tuple[str, dict[str, Any]] | None:
    config = node.config
    if node.kind == "Activation":
        # Keras' function and layer differ in their default slope: 0.2 and 0.3.
        if config["activation"] == "leaky_relu":
            return "LeakyReLU", {"negative_slope": 0.2}
        if config["activation"] == "softmax":
            return "Softmax", {"axis": -1}
    if node.kind == "ReLU" and not config.get("negative_slope") and not config.get("threshold"):
        limit = config.get("max_value")
        if limit is None:
            return "Activation", {"activation": "relu"}
        if limit == 6:
            return "Activation", {"activation": "relu6"}
    if node.kind == "ELU" and config.get("alpha") == 1:
        return "Activation", {"activation": "elu"}
    return None
