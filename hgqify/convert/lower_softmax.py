"""Lower a softmax to what fixed-point arithmetic can compute, and train, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

import hgqify.layers as q
from hgqify.graph import Graph, Node, Pass, PassResult, Ref
from hgqify.graph.passes.strip_output_softmax import is_final_softmax
from hgqify.layers.softmax import exp_of_negative, reciprocal_from_one
from hgqify.quantizers import Place, QType, QuantizerConfig

BELOW, MASK, SUM = "QBelowMaximum", "QMask", "QSum"
"""Kinds of the nodes that the pass makes beside tables and the product."""

_FLOAT: Mapping[str, type] = MappingProxyType({BELOW: q.QBelowMaximum, MASK: q.QMask, SUM: q.QSum})


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
    if len(args) > 2 or set(kwargs) - {"mask"} or args[:1] != (Ref(0),):
        return False, None
    if not given or given[0] is None:
        return True, None
    leaves = keras.tree.flatten(given[0])
    if any(isinstance(leaf, Ref | str) for leaf in leaves):
        return False, None
    values = np.asarray(keras.ops.convert_to_numpy(given[0]))
    mask = values if values.dtype == bool else values > 0.5
    if mask.ndim > len(node.shape):
        if mask.shape[0] != 1:  # one mask for each sample of a batch of known size
            return False, None
        mask = mask[0]
    return True, mask


def _parts(node: Node, mask: np.ndarray | None) -> tuple[Node, ...]:
    # As float layers the parts quantize nothing.
    plain: dict[str, Any] = {
        "iq_conf": QuantizerConfig(QType.DUMMY, Place.DATALANE).get_config(),
        "enable_ebops": False,
    }
    axis = node.config["axis"]
    axes = axis if isinstance(axis, list | tuple) else (axis,)
    rank = len(node.shape) + 1
    kept = tuple(1 if n + 1 in {a % rank for a in axes} else size for n, size in enumerate(node.shape))
    masked = None if mask is None or mask.all() else mask.tolist()

    def part(label: str, kind: str, config: dict[str, Any], source: str, shape: tuple[int, ...]) -> Node:
        return Node(
            name=f"{node.name}/{label}",
            kind=kind,
            config=config,
            inputs=(source,),
            shape=shape,
            shared=f"{node.shared}/{label}" if node.shared else None,
            origin=node.origin,
            source=_FLOAT.get(kind),
        )

    def table(label: str, function: Any, source: str, shape: tuple[int, ...]) -> Node:
        return part(label, "Activation", {"activation": function}, source, shape)

    (source,) = node.inputs
    axis = list(axes) if len(axes) > 1 else int(axes[0])
    nodes = [part("below", BELOW, {"axis": axis, "mask": masked, **plain}, source, node.shape)]
    nodes.append(table("exp", exp_of_negative, nodes[-1].name, node.shape))
    if masked is not None:
        nodes.append(part("masked", MASK, {"mask": masked, **plain}, nodes[-1].name, node.shape))
    exponential = nodes[-1].name
    nodes.append(part("sum", SUM, {"axis": axis, **plain}, exponential, kept))
    nodes.append(table("reciprocal", reciprocal_from_one, nodes[-1].name, kept))
    product = node.with_(kind="Multiply", config={}, inputs=(exponential, nodes[-1].name), call=None)
    return (*nodes, product)
