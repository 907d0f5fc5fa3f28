"""Build a Keras model from a `Graph`."""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras

from hgqify.graph.describe import weight_variables
from hgqify.graph.model import INPUT, SELECT, Graph, Node, Ref

_CONSTANTS = (keras.initializers.Zeros, keras.initializers.Ones, keras.initializers.Constant)

Factory = Callable[[Node], keras.layers.Layer]
"""Makes the (unbuilt) layer of a node, named `layer_name(node)`; called once for a shared layer."""


def layer_name(node: Node) -> str:
    """The Keras name of a node's layer: its path made a legal identifier.

    Hardware tools make C++ identifiers of layer names, so everything but letters, digits and '_' becomes
    '_', a leading digit gets a letter before it, and the bare word 'input' is avoided. `build` sees to it
    that the nodes it hands to a factory get distinct names.
    """
    if node.layer:
        return node.layer
    name = re.sub(r"\W", "_", node.shared or node.name, flags=re.ASCII)
    if name[:1].isdigit():
        name = f"l_{name}"
    return f"{name}_1" if name in ("", "input") else name


def float_factory(node: Node) -> keras.layers.Layer:
    """The plain Keras layer (or operation) a node stands for, in float32."""
    source: Any = node.source or getattr(keras.layers, node.kind)
    config = dict(node.config)
    if issubclass(source, keras.layers.Layer):
        config.setdefault("dtype", "float32")
        if node.weights:
            # They are assigned anyway; random initial values would cost a compilation per shape.
            arguments = inspect.signature(source).parameters
            config |= {key: "zeros" for key in arguments if key.endswith("_initializer")}
    config["name"] = layer_name(node)
    if source is keras.layers.Lambda:  # its function was in memory when the graph was read
        return source.from_config(config, safe_mode=False)
    return source.from_config(config)


def assign_weights(layer: keras.layers.Layer, node: Node) -> None:
    """Copy a node's weights into a built layer, by name.

    Raises:
        ValueError: the layer lacks a weight of the node, or has another shape for it.
    """
    if not node.weights:
        return
    variables = weight_variables(layer)
    for key, value in node.weights.items():
        if key not in variables:
            raise ValueError(f"{node.name}: layer {type(layer).__name__} has no weight {key!r}")
        variables[key].assign(value)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


def build(
    graph: Graph,
    factory: Factory = float_factory,
    *,
    assign: Callable[[keras.layers.Layer, Node], None] = assign_weights,
) -> keras.Model:
    """Build a functional model with the graph's structure of inputs and outputs.

    Args:
        graph: the graph.
        factory: makes each node's layer; calls of one shared layer get one layer.
        assign: gives a freshly built layer the node's weights.

    Returns:
        A functional Keras model; layer names are `layer_name(node)`, made unique.

    Raises:
        ValueError: a weight does not fit its layer.
    """
    tensors: dict[str, Any] = {}
    layers: dict[str, Any] = {}
    names: set[str] = set()
    for node in graph:
        if node.kind == INPUT:
            name = unique_name(layer_name(node), names)
            tensors[node.name] = keras.Input(node.shape, dtype=node.config.get("dtype"), name=name)
            continue
        if node.kind == SELECT:
            tensors[node.name] = keras.tree.flatten(tensors[node.inputs[0]])[node.config["index"]]
            continue
        key = node.shared or node.name
        fresh = key not in layers
        if fresh:
            layers[key] = factory(node.with_(layer=unique_name(layer_name(node), names)))
        with _undrawn(layers[key]) if fresh else contextlib.nullcontext():
            tensors[node.name] = invoke(layers[key], node, [tensors[name] for name in node.inputs])
        if fresh and isinstance(layers[key], keras.layers.Layer):
            assign(layers[key], node)
    return keras.Model(
        keras.tree.map_structure(tensors.__getitem__, graph.input_structure),
        keras.tree.map_structure(tensors.__getitem__, graph.output_structure),
        name=re.sub(r"\W", "_", graph.name, flags=re.ASCII),
    )


@contextlib.contextmanager
def _undrawn(layer: Any) -> Iterator[None]:
    """Build the layer with zeros where it would draw random weights; its settings are as before afterwards.

    The weights are assigned right after, and drawing takes longer than all else here: JAX compiles a
    program for every shape.
    """
    attributes = vars(layer) if isinstance(layer, keras.layers.Layer) else {}
    drawn = {
        name: value
        for name, value in attributes.items()
        if isinstance(value, keras.initializers.Initializer) and not isinstance(value, _CONSTANTS)
    }
    for name in drawn:
        setattr(layer, name, keras.initializers.Zeros())
    try:
        yield
    finally:
        for name, value in drawn.items():
            setattr(layer, name, value)


def invoke(layer: Any, node: Node, inputs: list[Any]) -> Any:
    """Call a layer as the node says."""
    if node.call is None:
        return layer(inputs[0] if len(inputs) == 1 else inputs)

    def resolve(structure: Any) -> Any:
        return keras.tree.map_structure(
            lambda value: inputs[value.index] if isinstance(value, Ref) else value, structure
        )

    return layer(*resolve(node.call.args), **resolve(dict(node.call.kwargs)))


def unique_name(name: str, taken: set[str]) -> str:
    """The name, with a number behind it if it is taken; takes it."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate
