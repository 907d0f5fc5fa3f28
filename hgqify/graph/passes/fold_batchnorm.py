"""Fold BatchNormalization into the linear layer before or after it, where that is exact."""

import numpy as np

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.affine import batchnorm_axis, batchnorm_scale_shift
from hgqify.graph.passes.base import Event, Pass, PassResult
from hgqify.graph.passes.drop_inference_identities import is_linear
from hgqify.graph.passes.linear_algebra import LINEAR, channel_axis, scale_inputs, scale_outputs


class FoldBatchnorm(Pass):
    """Merge scale and shift of BatchNormalization into kernel and bias of a neighbour.

    The neighbour is a Dense, convolution, depthwise or transposed convolution that only the normalization
    reads (layer before) or that alone reads the normalization (layer after); neither may be shared.
    """

    name = "fold-batchnorm"

    def run(self, graph: Graph) -> PassResult:
        """Fold until nothing folds; the layer before goes first, as padding never matters there."""
        events: list[Event] = []
        modified = False
        for step in (self._fold_into_previous, self._fold_into_next):
            result = step(graph)
            while result.modified:
                modified = True
                events += result.events
                graph = result.graph
                result = step(graph)
        for node in graph:
            if node.kind == "BatchNormalization":
                events.append(self.event(node, "kept", f"as a scale and shift: {_why_not(graph, node)}"))
        return PassResult(graph=graph, modified=modified, events=tuple(events))

    def _fold_into_previous(self, graph: Graph) -> PassResult:
        replacements, redirect, events = {}, {}, []
        for node in _normalizations(graph):
            linear = graph[node.inputs[0]]
            if graph.only_consumer(linear.name) is not node or not _is_foldable(linear, node):
                continue
            weights = scale_outputs(linear, *batchnorm_scale_shift(node))
            if not _is_finite(weights):
                continue
            replacements[linear.name] = (_with_weights(linear, weights, linear.origin + node.origin),)
            replacements[node.name] = ()
            redirect[node.name] = linear.name
            events.append(self.event(node, "folded", f"into {linear.origin[0]} before it"))
        return self.result(graph, replacements, redirect, events)

    def _fold_into_next(self, graph: Graph) -> PassResult:
        replacements, redirect, events = {}, {}, []
        for node in _normalizations(graph):
            linear = graph.only_consumer(node.name)
            if linear is None or not _is_foldable(linear, node):
                continue
            weights = scale_inputs(linear, *batchnorm_scale_shift(node))
            if weights is None or not _is_finite(weights):
                continue
            replacements[linear.name] = (_with_weights(linear, weights, node.origin + linear.origin),)
            replacements[node.name] = ()
            redirect[node.name] = node.inputs[0]
            events.append(self.event(node, "folded", f"into {linear.origin[-1]} after it"))
        return self.result(graph, replacements, redirect, events)


def _normalizations(graph: Graph) -> list[Node]:
    return [node for node in graph if node.kind == "BatchNormalization" and node.is_plain]


def _is_foldable(linear: Node, normalization: Node) -> bool:
    return (
        linear.kind in LINEAR
        and linear.is_plain
        and is_linear(linear.config.get("activation"))
        and len(linear.shape) == len(normalization.shape)
        and batchnorm_axis(normalization) == channel_axis(linear)
    )


def _is_finite(weights: dict[str, np.ndarray]) -> bool:
    return all(np.isfinite(value).all() for value in weights.values())


def _with_weights(linear: Node, weights: dict[str, np.ndarray], origin: tuple[str, ...]) -> Node:
    # A bias that is zero throughout is not added, so that scaling alone does not create one.
    if "bias" not in linear.weights and not weights["bias"].any():
        weights = {"kernel": weights["kernel"]}
    config = {**linear.config, "use_bias": "bias" in weights}
    return linear.with_(weights=weights, config=config, origin=origin)


def _why_not(graph: Graph, node: Node) -> str:
    if not node.is_plain:
        return "the layer is shared or called with extra arguments"
    linear = graph.only_consumer(node.name)
    if linear is not None and _is_foldable(linear, node):
        if linear.config.get("padding", "valid") != "valid":
            return f"{linear.origin[-1]} after it pads with zeros, which the shift would change"
        return f"{linear.origin[-1]} after it cannot absorb it exactly"
    return "no linear layer that only it reads before it, or that alone reads it after it"
