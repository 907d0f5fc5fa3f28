"""A graph built again from what takes the place of its layers, and one error for all that cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from hgqify.errors import HgqifyError, UnsupportedLayerError
from hgqify.graph import Graph, layer_name
from hgqify.graph.model import INPUT
from hgqify.hgq2.placed import Apply


def rebuilt(graph: Graph, made: Mapping[str, Apply]) -> keras.Model:
    """A functional model of the graph's structure.

    Args:
        graph: it.
        made: by the path of a layer, what is applied to the inputs of each of its calls.
    """
    tensors: dict[str, Any] = {}
    for node in graph:
        if node.kind == INPUT:
            dtype = node.config.get("dtype")
            tensors[node.name] = keras.Input(node.shape, dtype=dtype, name=layer_name(node))
        else:
            tensors[node.name] = made[node.origin[0]]([tensors[name] for name in node.inputs])
    return keras.Model(
        keras.tree.map_structure(tensors.__getitem__, graph.input_structure),
        keras.tree.map_structure(tensors.__getitem__, graph.output_structure),
        name=re.sub(r"\W", "_", graph.name, flags=re.ASCII),
    )


def refused(problems: Sequence[HgqifyError], done: str, where: str) -> UnsupportedLayerError:
    """One error that names all layers.

    Args:
        problems: at least one.
        done: what they cannot be.
        where: the model's name.
    """
    if len(problems) == 1:
        return UnsupportedLayerError(str(problems[0]))
    lines = "\n  ".join(map(str, problems))
    return UnsupportedLayerError(f"{len(problems)} layers cannot be {done}:\n  {lines}", where=where)
