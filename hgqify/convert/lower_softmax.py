"""Lower a softmax to what fixed-point arithmetic can compute, and train, one step at a time."""

from __future__ import annotations

import keras
import numpy as np

from hgqify.convert.parts import BELOW, MASK, SUM, Parts, positive_axes
from hgqify.graph import Graph, Node, Pass, PassResult, Ref
from hgqify.graph.passes.strip_output_softmax import is_final_softmax
from hgqify.layers import exp_of_negative, reciprocal_from_one


class LowerSoftmax(Pass):
    """Softmax(x) -> e * reciprocal(sum(e)), e = exp(-(max(x) - x)), as layers of their own.

    A mask must be constant. The last part keeps the node's name.

    Args:
        final: also one that ends the model; else it stays a Softmax, which has no converter.
    """

    name = "lower-softmax"

    def __init__(self, *, final: bool = True) -> None:
        self._final = final

    def run(self, graph: Graph) -> PassResult:
        """Lower every softmax; one whose mask is no constant stays."""
        replacements, events = {}, []
        for node in graph:
            if node.kind != "Softmax" or (is_final_softmax(graph, node) and not self._final):
                continue
            constant, mask = constant_mask(node)
            if constant:
                replacements[node.name] = _parts(node, mask)
                events.append(self.event(node, "lowered", "tables of exp and 1/x, a sum and a product"))
        return self.result(graph, replacements, {}, events)


def constant_mask(node: Node) -> tuple[bool, np.ndarray | None]:
    """(whether the mask is the same for every sample, the mask without the batch axis or None)."""
    if node.call is None:
        return True, None
    args, kwargs = node.call.args, dict(node.call.kwargs)
    given = [*args[1:2], *(kwargs[key] for key in ("mask",) if key in kwargs)]
    if len(args) > 2 or set(kwargs) - {"mask"} or tuple(args[:1]) != (Ref(0),):
        return False, None
    if not given or given[0] is None:
        return True, None
    leaves = keras.tree.flatten(given[0])
    if any(isinstance(leaf, Ref | str) for leaf in leaves):
        return False, None
    values = np.asarray(keras.ops.convert_to_numpy(given[0]))
    mask = values if values.dtype == bool else values > 0.5
    if mask.ndim > len(node.shape):
        if len(mask) != 1:  # one mask for each sample of a batch of known size
            return False, None
        mask = mask[0]
    return True, mask


def exponentials(parts: Parts, mask: np.ndarray | None) -> str:
    """The parts up to exp(x - max(x)), 0 where it is masked."""
    node = parts.origin
    masked = None if mask is None or mask.all() else mask.tolist()
    axes = list(positive_axes(node))
    x = parts.add("below", BELOW, node.inputs, node.shape, {"axis": axes, "mask": masked})
    x = parts.table("exp", exp_of_negative, x)
    if masked is not None:
        x = parts.add("masked", MASK, (x,), node.shape, {"mask": masked})
    return x


def _parts(node: Node, mask: np.ndarray | None) -> tuple[Node, ...]:
    axes = positive_axes(node)
    parts = Parts(node)
    x = exponentials(parts, mask)
    total = parts.reduced("sum", SUM, x, node.shape, axes)
    parts.product("product", x, parts.table("reciprocal", reciprocal_from_one, total), node.shape)
    return parts.done()
