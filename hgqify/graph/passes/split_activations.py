"""Split fused activations off their layers."""

from typing import Any

import keras

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.drop_inference_identities import is_linear

_FUSED = frozenset(
    {
        "Conv1D",
        "Conv1DTranspose",
        "Conv2D",
        "Conv2DTranspose",
        "Conv3D",
        "Conv3DTranspose",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "EinsumDense",
        "SeparableConv1D",
        "SeparableConv2D",
    }
)

# Weights of the layer itself; others belong to an activation that is a layer (PReLU).
_WEIGHTS = frozenset({"bias", "depthwise_kernel", "kernel", "pointwise_kernel"})


class SplitActivations(Pass):
    """Dense(activation='relu') -> Dense, then Activation('relu') named '<layer>/<activation>'."""

    name = "split-activations"

    def run(self, graph: Graph) -> PassResult:
        """Split every fused activation that is not linear."""
        replacements, redirect, events = {}, {}, []
        for node in graph:
            if node.kind not in _FUSED or is_linear(node.config.get("activation")):
                continue
            linear, activation = _split(node)
            replacements[node.name] = (linear, activation)
            redirect[node.name] = activation.name
            events.append(self.event(node, "split", f"layer and {activation.name.rpartition('/')[2]}"))
        return self.result(graph, replacements, redirect, events)


def _split(node: Node) -> tuple[Node, Node]:
    activation = node.config["activation"]
    own = {key: value for key, value in node.weights.items() if key in _WEIGHTS}
    linear = node.with_(config={**node.config, "activation": "linear"}, weights=own)
    kind, config, label = "Activation", {"activation": activation}, str(activation)
    if isinstance(activation, dict):
        label = str(activation.get("config") if activation.get("class_name") == "function" else "activation")
        layer = _as_layer(activation)
        if layer is not None:
            kind, config, label = layer
    part = Node(
        name=f"{node.name}/{label}",
        kind=kind,
        config=config,
        weights={key: value for key, value in node.weights.items() if key not in _WEIGHTS},
        inputs=(node.name,),
        shape=node.shape,
        shared=f"{node.shared}/{label}" if node.shared else None,
        origin=node.origin,
    )
    return linear, part


def _as_layer(activation: dict[str, Any]) -> tuple[str, dict[str, Any], str] | None:
    """Kind, config and label of an activation that is a Keras layer object (Dense(activation=ReLU(6)))."""
    kind = activation.get("class_name")
    if not isinstance(kind, str) or not hasattr(keras.layers, kind):
        return None
    config = {k: v for k, v in activation["config"].items() if k not in ("name", "trainable", "dtype")}
    return kind, config, kind.lower()
