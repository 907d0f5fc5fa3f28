"""Compute what is the same for every input, such as masks made of shapes, once and for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from hgqify.graph.build import float_factory, invoke
from hgqify.graph.model import OPERATION_PREFIX, Call, Graph, Node, Ref
from hgqify.graph.operations import JoinWithConstants
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.unread import unread

# Operations of which only the shape of the input matters.
_OF_SHAPES = frozenset({"ops.OnesLike", "ops.ZerosLike", "ops.FullLike"})

_SAMPLES = 2
"""Samples in a batch of constants: of one alone nothing tells whether an operation mixes samples."""


class FoldConstants(Pass):
    """Operations on ones_like, zeros_like, full_like of a tensor -> constants in calls that read them."""

    name = "fold-constants"

    def run(self, graph: Graph) -> PassResult:
        """Fold every constant that all its readers can hold."""
        values = _constants(graph)
        kept = {name for name in values if name in graph.outputs}
        for node in reversed(graph.nodes):
            if node.name in values and node.name not in kept:
                continue
            # A layer's arguments without a call are tensors; so are those of a constant that stays.
            fits = node.call is not None or _is_concatenation(node)
            if not fits or node.name in kept or node.shared or not set(node.inputs) - values.keys():
                kept |= values.keys() & set(node.inputs)
        folded = values.keys() - kept
        replacements: dict[str, tuple[Node, ...]] = dict.fromkeys(unread(graph, folded), ())
        for node in graph:
            if node.name not in replacements and folded & set(node.inputs):
                replacements[node.name] = (_with_constants(node, {n: values[n] for n in folded}),)
        events = [self.event(graph[name], "removed", "a constant, whatever the input") for name in folded]
        return self.result(graph, replacements, {}, events)


def _constants(graph: Graph) -> dict[str, np.ndarray]:
    """Values (for one sample, with batch axis) of the nodes that do not depend on data."""
    values: dict[str, np.ndarray] = {}
    for node in graph:
        if not node.kind.startswith(OPERATION_PREFIX) or node.outputs != 1 or not node.inputs:
            continue
        if node.kind in _OF_SHAPES:
            given = [np.zeros((1, *graph[name].shape), np.float32) for name in node.inputs]
        elif all(name in values for name in node.inputs):
            given = [values[name] for name in node.inputs]
        else:
            continue
        batch = [keras.ops.convert_to_tensor(np.repeat(value, _SAMPLES, axis=0)) for value in given]
        found = np.asarray(keras.ops.convert_to_numpy(invoke(float_factory(node), node, batch)))
        if found.shape == (_SAMPLES, *node.shape) and np.array_equal(
            *found, equal_nan=found.dtype.kind == "f"
        ):
            values[node.name] = found[:1]
    return values


def _with_constants(node: Node, values: Mapping[str, np.ndarray]) -> Node:
    """The node with constants in its call where tensors were."""
    left = [name for name in node.inputs if name not in values]

    def placed(value: Any) -> Any:
        if not isinstance(value, Ref):
            return value
        name = node.inputs[value.index]
        if name in values:
            return values[name]
        # Every use of a tensor is an input of its own.
        return Ref(sum(n not in values for n in node.inputs[: value.index]))

    if _is_concatenation(node):
        node = node.with_(
            kind=f"{OPERATION_PREFIX}{JoinWithConstants.__name__}",
            source=JoinWithConstants,
            config={"axis": node.config["axis"]},
            call=Call(args=([Ref(index) for index in range(len(node.inputs))],)),
        )
    call = node.call or Call(args=())
    placed_call: Any = keras.tree.map_structure(placed, (call.args, dict(call.kwargs)))
    return node.with_(inputs=tuple(left), call=Call(args=placed_call[0], kwargs=placed_call[1]))


def _is_concatenation(node: Node) -> bool:
    return node.call is None and node.kind in ("Concatenate", f"{OPERATION_PREFIX}Concatenate")
