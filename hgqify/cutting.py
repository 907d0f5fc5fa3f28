"""Keras models that stay float in places: what their exact parts see and give.

Program and model are one function cut at the same places: the inputs and outputs that a program has besides
the model's are tensors inside the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from hgqify import graph
from hgqify.calling import predict
from hgqify.errors import DataError, UnsupportedLayerError
from hgqify.graph import Graph, Node
from hgqify.graph.model import INPUT, SELECT
from hgqify.layers import KeptFloat, copied
from hgqify.precision import Program

Arrays = Sequence[np.ndarray]


class Taps:
    """A model run whole, with a look at what its exact parts take from float layers and give to them.

    Entries and exits of one run belong together: a float layer that is compiled alone may differ in the last
    bit from itself in the model.

    Args:
        model: with layers that stay in float.
        program: what it was lowered to.
    """

    def __init__(self, model: keras.Model, program: Program) -> None:
        self._program = program
        places = _places(model, program)
        wanted = [*program.entries, *program.exits]
        self._entries = len(program.entries)
        outputs = [*keras.tree.flatten(model.outputs), *(places[name] for name in wanted)]
        self._model = keras.Model(model.inputs, outputs, name="tapped")
        self._count = len(model.outputs)

    def __call__(self, inputs: Arrays) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Inputs and outputs of the program for one batch of model inputs.

        Raises:
            DataError: a float layer gives infinite numbers, or none.
        """
        found = predict(self._model, inputs)
        split = self._count + self._entries
        entries = [np.asarray(value, np.float32) for value in found[self._count : split]]
        for name, value in zip(self._program.entries, entries, strict=True):
            if not np.isfinite(value).all():
                raise DataError(
                    "a layer that is kept in float gives numbers that are not finite",
                    where=self._program.by_name[name].layer,
                    remedy="check the data, and the layer",
                )
        return [*inputs, *entries], [*found[: self._count], *found[split:]]

    def inputs(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Inputs of the program for batches of model inputs."""
        return (self(batch)[0] for batch in batches)


def program_inputs(model: keras.Model, program: Program, batches: Iterable[Arrays]) -> Iterable[Arrays]:
    """Batches of a program's inputs from batches of a model's; the same where nothing stays in float."""
    return Taps(model, program).inputs(batches) if program.entries else batches


def _places(model: keras.Model, program: Program) -> dict[str, Any]:
    """The tensors inside a model that float layers read and give, by node of its program."""
    layers = {layer.name: layer for layer in model.layers if isinstance(layer, KeptFloat)}
    found: dict[str, Any] = {}
    for kept in program.kept:
        layer = layers.get(kept.layer)
        if layer is None:
            raise UnsupportedLayerError(
                "a layer inside a nested model stays in float",
                where=kept.layer,
                received=kept.kind,
                remedy="put its layers into the outer model",
            )
        found |= dict(zip(kept.reads, keras.tree.flatten(layer.input), strict=True))
        found |= dict(zip(kept.gives, keras.tree.flatten(layer.output), strict=True))
    return found


def cut_model(
    model: keras.Model, program: Program, inputs: Sequence[str], outputs: Sequence[str]
) -> keras.Model:
    """The layers between some inputs and outputs of a model's program, as a model of their own.

    Args:
        model: of quantized layers, and such that stay in float.
        program: what it was lowered to.
        inputs, outputs: of the program, or of one of its `exact_parts`.

    Returns:
        A model with new layers and the weights of the old ones; none of them stays in float.
    """
    read = graph.read(model)
    named = _graph_names(read, program)
    starts = {named[name] for name in inputs}
    nodes: list[Node] = []
    for node in read:
        if node.name in starts and node.kind != INPUT:
            config = {"dtype": "float32"}
            node = Node(name=node.name, kind=INPUT, config=config, shape=node.shape, origin=node.origin)
        nodes.append(node)
    ends = [named[name] for name in outputs]
    needed = {*starts, *ends}
    for node in reversed(nodes):
        if node.name in needed:
            needed |= {*node.inputs}
    cut = Graph(
        nodes=tuple(node for node in nodes if node.name in needed),
        input_structure=[named[name] for name in inputs],
        output_structure=ends,
        name=model.name,
    )
    cut.validate()
    layers = {layer.name: layer for layer in model.layers}

    def again(node: Node) -> keras.layers.Layer:
        return copied(layers[node.origin[0]])

    def assign(layer: keras.layers.Layer, node: Node) -> None:
        layer.set_weights(layers[node.origin[0]].get_weights())

    return graph.build(cut, again, assign=assign)


def _graph_names(read: Graph, program: Program) -> dict[str, str]:
    """Nodes of a model's graph by the nodes of its program that are inputs and outputs."""
    kept = {kept.layer: kept for kept in program.kept}
    found = dict(zip(program.model_inputs, read.inputs, strict=True))
    for node in read:
        layer = kept.get(node.origin[0])
        if layer is None:
            continue
        if node.kind == SELECT:
            found[layer.gives[node.config["index"]]] = node.name
            continue
        if node.outputs == 1:
            found[layer.gives[0]] = node.name
        found |= dict(zip(layer.reads, node.inputs, strict=True))
    return found | dict(zip(program.model_outputs, read.outputs, strict=True))
