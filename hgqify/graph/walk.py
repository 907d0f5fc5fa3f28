"""Run a model layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from hgqify.graph.build import float_factory, invoke
from hgqify.graph.model import INPUT, SELECT
from hgqify.graph.read import read


def walk(
    model: keras.Model,
    inputs: Sequence[Any],
    replace: Callable[[Any], Callable[..., Any]] = lambda layer: layer,
) -> Iterator[tuple[Any, list[Any]]]:
    """Every layer with the values it is called with, in topological order, before it is called.

    The layer is called when the iteration goes on, as it is by then. Values nobody needs any more are
    dropped, so that memory is that of the widest cut through the model.

    Args:
        model: Sequential or Functional, without nested models.
        inputs: arrays, one for each model input in flat order.
        replace: from a layer to what is called in its place, with the same arguments.

    Yields:
        The layer (or operation), and its input tensors; one pair for each call of a shared layer.
    """
    graph = read(model, opened=False)
    layers = {layer.name: layer for layer in model.layers}
    needed = Counter(name for node in graph for name in node.inputs)
    values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph:
        if node.kind == INPUT:
            continue
        given = [values[name] for name in node.inputs]
        if node.kind == SELECT:
            values[node.name] = keras.tree.flatten(given[0])[node.config["index"]]
        else:
            layer = layers.get(node.origin[0]) or float_factory(node)
            yield layer, given
            values[node.name] = invoke(replace(layer), node, given)
        needed.subtract(node.inputs)
        for name in node.inputs:
            if not needed[name]:
                values.pop(name, None)
