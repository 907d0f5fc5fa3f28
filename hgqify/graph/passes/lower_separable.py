"""Lower separable convolutions to what they are defined as: a depthwise and a pointwise convolution."""

from typing import Any

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult

_KEPT = ("padding", "data_format", "dilation_rate", "strides", "kernel_size", "depth_multiplier")


class LowerSeparable(Pass):
    """SeparableConv1D/2D -> DepthwiseConv1D/2D without bias, then Conv1D/2D with kernel size 1."""

    name = "lower-separable"

    def run(self, graph: Graph) -> PassResult:
        """Lower every separable convolution; the second part keeps the node's name."""
        replacements, events = {}, []
        for node in graph:
            if node.kind not in ("SeparableConv1D", "SeparableConv2D") or node.call is not None:
                continue
            replacements[node.name] = _lower(graph, node)
            events.append(self.event(node, "lowered", "depthwise convolution and pointwise convolution"))
        return self.result(graph, replacements, {}, events)


def _lower(graph: Graph, node: Node) -> tuple[Node, Node]:
    rank = int(node.kind[-2])
    config: dict[str, Any] = {key: node.config[key] for key in _KEPT}
    depthwise_kernel = node.weights["depthwise_kernel"]
    channels = depthwise_kernel.shape[-2] * depthwise_kernel.shape[-1]
    first = node.config["data_format"] == "channels_first"
    shape = (channels, *node.shape[1:]) if first else (*node.shape[:-1], channels)
    depthwise = node.with_(
        name=f"{node.name}/depthwise",
        kind=f"DepthwiseConv{rank}D",
        config={**config, "use_bias": False, "activation": "linear"},
        weights={"kernel": depthwise_kernel},
        shape=shape,
        shared=f"{node.shared}/depthwise" if node.shared else None,
    )
    weights = {key: value for key, value in node.weights.items() if key == "bias"}
    pointwise = node.with_(
        kind=f"Conv{rank}D",
        config={
            "filters": node.config["filters"],
            "kernel_size": (1,) * rank,
            "strides": (1,) * rank,
            "padding": "valid",
            "data_format": node.config["data_format"],
            "dilation_rate": (1,) * rank,
            "groups": 1,
            "use_bias": node.config["use_bias"],
            "activation": node.config["activation"],
        },
        weights={"kernel": node.weights["pointwise_kernel"], **weights},
        inputs=(depthwise.name,),
    )
    return depthwise, pointwise
