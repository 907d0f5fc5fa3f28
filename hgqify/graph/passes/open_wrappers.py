"""Open layers that do at inference what another layer does."""

from __future__ import annotations

import keras

from hgqify.graph.describe import cleaned
from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult


class OpenWrappers(Pass):
    """SpectralNormalization(layer) -> layer, ReversibleEmbedding -> Embedding.

    Spectral normalization divides the kernel while it trains, and the quotient is what the layer holds. A
    ReversibleEmbedding that is called backwards too stays: its two directions share their weights.
    """

    name = "open-wrappers"

    def run(self, graph: Graph) -> PassResult:
        """Open every such layer."""
        backwards = {node.shared or node.name for node in graph if node.call is not None}
        replacements, events = {}, []
        for node in graph:
            if node.call is not None or (node.shared or node.name) in backwards:
                continue
            opened = _opened(node)
            if opened is not None:
                replacements[node.name] = (opened,)
                events.append(self.event(node, "lowered", f"{opened.kind} at inference"))
        return self.result(graph, replacements, {}, events)


def _opened(node: Node) -> Node | None:
    if node.kind == "SpectralNormalization":
        inner = node.config["layer"]
        kind = inner["class_name"]
        if inner["module"] != "keras.layers" or not hasattr(keras.layers, kind):
            return None
        weights = {key: value for key, value in node.weights.items() if key != "vector_u"}
        return node.with_(kind=kind, config=cleaned(inner["config"]), weights=weights)
    if node.kind == "ReversibleEmbedding":
        own = ("input_dim", "output_dim", "mask_zero")
        config = {key: node.config[key] for key in own if key in node.config}
        weights = {"embeddings": node.weights["embeddings"]}
        return node.with_(kind="Embedding", config=config, weights=weights)
    return None
