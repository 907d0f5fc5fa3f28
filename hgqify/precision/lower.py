"""Lowering: a Keras model of quantized layers becomes a fixed program."""

from __future__ import annotations

import keras

from hgqify.errors import HgqifyError, PrecisionError, UnsupportedLayerError
from hgqify.graph import layers_by_path, read
from hgqify.graph.model import INPUT, SELECT
from hgqify.graph.model import Node as GraphNode
from hgqify.layers import KeptFloat
from hgqify.precision import (
    lower_edge_tables,
    lower_einsum,
    lower_einsum_dense,
    lower_embedding,
    lower_linear,
    lower_merge,
    lower_pooling,
    lower_reduction,
    lower_structure,
)
from hgqify.precision.forward import annotate
from hgqify.precision.lowering import LayerLowering, Lowering, LoweringFunction, Registry, refused
from hgqify.precision.ops import Input
from hgqify.precision.program import Program
from hgqify.quantizers import Quantizer


def default_registry() -> Registry:
    """A new registry with all layers hgqify knows; extend it and pass it to `lower`."""
    registry = Registry()
    for module in (
        lower_edge_tables,
        lower_einsum,
        lower_einsum_dense,
        lower_embedding,
        lower_linear,
        lower_merge,
        lower_pooling,
        lower_reduction,
        lower_structure,
    ):
        module.register(registry)
    return registry


def lower(model: keras.Model, registry: Registry | None = None) -> Program:
    """The fixed program that computes what ``model`` computes at inference.

    Every quantizer becomes a node of its own on its edge, constants are the codes the layers' own
    quantizers give, and shared layers give nodes for each call. The program carries bounds.

    Args:
        model: Sequential or Functional, of quantized layers, layers that only move values, and such as stay
            in float (`hgqify.layers.KeptFloat`), at which the program is cut.
        registry: of lowering functions; `default_registry` by default.

    Raises:
        UnsupportedLayerError: layers without exact integer form, all at once.
        PrecisionError: a quantizer that is off, values that are not quantized, stored constants that are
            older than the weights, or codes beyond 62 bits.
    """
    return annotate(trace(model, registry)[0])


def trace(model: keras.Model, registry: Registry | None = None) -> tuple[Program, dict[str, Quantizer]]:
    """What `lower` gives, without bounds yet, and the Keras quantizer behind each `Quantize` node by name.

    Raises:
        UnsupportedLayerError, PrecisionError: as `lower`.
    """
    registry = default_registry() if registry is None else registry
    graph = read(model, opened=False)
    layers = layers_by_path(model)
    _check_supported(graph.nodes, layers, registry)
    lowering = Lowering()
    names: dict[str, str] = {}
    for node in graph.nodes:
        if node.kind == INPUT:
            names[node.name] = lowering.add(node.name, Input(), (), node.shape)
            continue
        if node.kind == SELECT:
            path = node.origin[0]
            names[node.name] = lowering.given(path, node.shape, node.name)
            continue
        layer = layers[node.origin[0]]
        if isinstance(layer, KeptFloat):
            path = node.origin[0]
            lowering.keep(path, layer.kind, tuple(names[source] for source in node.inputs))
            if node.outputs == 1:
                names[node.name] = lowering.given(path, node.shape, node.name)
            continue
        function = registry.find(type(layer))
        if function is None:
            raise _unsupported(node)
        names[node.name] = function(
            LayerLowering(
                lowering,
                layer,
                path=node.origin[0],
                name=node.name,
                inputs=tuple(names[source] for source in node.inputs),
                shape=node.shape,
            )
        )
    outputs = tuple(names[name] for name in graph.outputs)
    for name, output in zip(graph.outputs, outputs, strict=True):
        if lowering.is_real(output):
            raise PrecisionError(
                "a model output holds real numbers that were never quantized",
                where=name,
                remedy="put a Quantize layer between them",
            )
    inputs = tuple(names[name] for name in graph.inputs)
    return lowering.program(inputs, outputs, model.name), lowering.quantizers


def _check_supported(
    nodes: tuple[GraphNode, ...], layers: dict[str, keras.layers.Layer], registry: Registry
) -> None:
    problems: list[HgqifyError] = []
    for node in nodes:
        layer = layers.get(node.origin[0])
        if node.kind == INPUT or (isinstance(layer, KeptFloat) and node.call is None):
            if node.shared is not None:
                problems.append(_called_twice(node))
            continue
        function: LoweringFunction | None = None if layer is None else registry.find(type(layer))
        if function is None:
            problems.append(_unsupported(node))
        elif node.call is not None or node.outputs != 1:
            problems.append(
                UnsupportedLayerError(
                    "the layer is called with more than its input tensors",
                    where=node.name,
                    received=node.kind,
                    remedy="call it as layer(x) or layer([x, y, ...])",
                )
            )
    if problems:
        raise refused(problems)


def _called_twice(node: GraphNode) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        "a layer that stays in float is called several times",
        where=node.name,
        received=node.kind,
        remedy="give each call a KeptFloat of its own; they may hold the same layer",
    )


def _unsupported(node: GraphNode) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        "no exact integer form is known for this layer",
        where=node.name,
        received=node.kind,
        remedy="use the quantized layer of hgqify.layers for it, or convert the float model with hgqify",
    )
