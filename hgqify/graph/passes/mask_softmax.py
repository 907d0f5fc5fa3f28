"""Find masks that models add or select by hand in front of a softmax, and give them to the softmax."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hgqify.graph.model import Call, Graph, Node, Ref
from hgqify.graph.passes.base import Pass, PassResult

_VANISHING = -1e3
"""Constants at most this are masks: beside scores that a network makes, their exponential is zero."""


class MaskSoftmax(Pass):
    """softmax(where(mask, x, -1e9)), softmax(x + (1 - mask) * -1e9) -> softmax(x, mask=mask).

    As a number, -1e9 would have to fit into the same format as the scores.
    """

    name = "mask-softmax"

    def run(self, graph: Graph) -> PassResult:
        """Move every constant mask, as long as no row is masked wholly."""
        replacements: dict[str, tuple[Node, ...]] = {}
        events = []
        for node in graph:
            if node.kind not in ("Softmax", "ops.Softmax") or node.call is not None or node.shared:
                continue
            source = graph[node.inputs[0]]
            found = _masked(source) if graph.only_consumer(source.name) is node else None
            if found is None or not _rows_are_seen(found[1], node):
                continue
            x, mask = found
            if graph[x].shape != node.shape:
                continue
            axis = node.config.get("axis", -1)
            call = Call(args=(Ref(0),), kwargs={"mask": mask[None]})
            softmax = node.with_(kind="Softmax", source=None, config={"axis": axis}, inputs=(x,), call=call)
            replacements |= {source.name: (), node.name: (softmax,)}
            events.append(self.event(node, "lowered", f"with {source.name} as its mask"))
        return self.result(graph, replacements, {}, events)


def _masked(node: Node) -> tuple[str, np.ndarray] | None:
    """The tensor that a node masks, and the constant mask over all its elements."""
    values = [*node.call.args, *node.call.kwargs.values()] if node.call else []
    if node.kind == "ops.Where" and len(values) == 3:
        condition, x, low = values
        if isinstance(x, Ref) and not isinstance(low, Ref) and not isinstance(condition, Ref):
            return _over(node, x, condition, np.asarray(low))
        if isinstance(low, Ref) and not isinstance(x, Ref) and not isinstance(condition, Ref):
            return _over(node, low, ~np.asarray(condition, bool), np.asarray(x))
    if node.kind == "ops.Add" and len(values) == 2 and sum(isinstance(v, Ref) for v in values) == 1:
        x, shift = values if isinstance(values[0], Ref) else values[::-1]
        shift = _numpy(shift)
        if np.all((shift == 0) | (shift <= _VANISHING)):
            return _over(node, x, shift == 0, np.asarray(_VANISHING))
    return None


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def _over(node: Node, x: Ref, keep: Any, low: np.ndarray) -> tuple[str, np.ndarray] | None:
    keep = _numpy(keep).astype(bool)
    if np.max(low) > _VANISHING or (keep.ndim > len(node.shape) and keep.shape[0] != 1):
        return None
    if keep.ndim > len(node.shape):
        keep = keep[0]
    try:
        return node.inputs[x.index], np.broadcast_to(keep, node.shape)
    except ValueError:
        return None


def _rows_are_seen(mask: np.ndarray, node: Node) -> bool:
    """Whether something is left in every row; a row of nothing but masked elements is uniform."""
    axis = node.config.get("axis", -1)
    rank = len(node.shape) + 1
    axes = tuple(a % rank - 1 for a in (axis if isinstance(axis, list | tuple) else (axis,)))
    return -1 not in axes and bool(mask.any(axis=axes).all())
