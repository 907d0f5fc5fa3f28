"""Lower EinsumDense to a dense layer, or to a grouped convolution, between permutations and reshapes.

The labels of an equation with one kernel fall into four groups: *places*, which only the input has; *groups*,
which input, kernel and output share; *summed* labels, of input and kernel; *features*, which only the kernel
has. With the input's axes in the order (places, groups, summed) and each group of labels as one axis, the sum
is a dense layer for every group: a dense layer where there are no groups, else a grouped convolution with a
window of one place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hgqify.equations import EquationError, parse
from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.affine import scale_shift_nodes
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.part_nodes import named, part_node


class LowerEinsumDense(Pass):
    """EinsumDense -> Permute, Reshape, Dense (or Conv1D with groups), Reshape, Permute, as far as needed."""

    name = "lower-einsum-dense"

    def run(self, graph: Graph) -> PassResult:
        """Lower every such layer that can be; the others are left, and the reason is reported."""
        replacements, events = {}, []
        for node in graph:
            if node.kind != "EinsumDense" or node.call is not None:
                continue
            try:
                plan = _plan(node, graph[node.inputs[0]].shape)
            except EquationError as error:
                events.append(self.event(node, "kept", str(error)))
                continue
            replacements[node.name] = _lower(node, plan)
            kind = "convolution with a group for each shared label" if plan.groups else "dense layer"
            events.append(self.event(node, "lowered", kind))
        return self.result(graph, replacements, {}, events)


def why_not(node: Node, shape: tuple[int, ...]) -> str:
    """Why an EinsumDense node on an input of ``shape`` cannot be lowered; empty where it can."""
    try:
        _plan(node, shape)
    except EquationError as error:
        return str(error)
    return ""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """An equation without batch axis, its labels by group, and the size of every label."""

    given: str
    kernel: str
    result: str
    places: str
    groups: str
    summed: str
    features: str
    size: Mapping[str, int]

    def count(self, labels: str) -> int:
        return math.prod(self.size[label] for label in labels)

    def shape(self, labels: str) -> tuple[int, ...]:
        return tuple(self.size[label] for label in labels)


def _plan(node: Node, shape: tuple[int, ...]) -> _Plan:
    """The labels of a node's equation by group.

    Raises:
        EquationError: the equation is no dense layer.
    """
    if not node.weights.keys() <= {"kernel", "bias"}:
        raise EquationError(f"weights besides kernel and bias: {sorted(node.weights)}")
    kernel_shape = node.weights["kernel"].shape
    (given, kernel), result = parse(node.config["equation"], (len(shape) + 1, len(kernel_shape)))
    if not given or not result or given[0] != result[0] or given[0] in kernel:
        raise EquationError("the batch axis is not the first label of input and output, and of nothing else")
    given, result = given[1:], result[1:]
    size = {**dict(zip(given, shape, strict=True)), **dict(zip(kernel, kernel_shape, strict=True))}
    if any(size[label] != count for label, count in zip(given, shape, strict=True)):
        raise EquationError("sizes of input and kernel differ for one label")
    alone = [label for label in given if label not in kernel and label not in result]
    alone += [label for label in kernel if label not in given and label not in result]
    if alone:
        raise EquationError(f"label {alone[0]!r} of one operand alone is summed over")
    return _Plan(
        given=given,
        kernel=kernel,
        result=result,
        places="".join(label for label in given if label not in kernel),
        groups="".join(label for label in given if label in kernel and label in result),
        summed="".join(label for label in given if label in kernel and label not in result),
        features="".join(label for label in result if label not in given),
        size=size,
    )


class _Chain:
    """Nodes in a row; what would change nothing is left out."""

    def __init__(self, node: Node, shape: tuple[int, ...]) -> None:
        self.nodes: list[Node] = []
        self._origin = node
        self._source, self.shape = node.inputs[0], shape

    def permute(self, part: str, source: str, target: str) -> None:
        if source != target:
            dims = tuple(source.index(label) + 1 for label in target)
            shape = tuple(self.shape[axis - 1] for axis in dims)
            self.add(part, "Permute", {"dims": dims}, shape)

    def reshape(self, part: str, shape: tuple[int, ...]) -> None:
        if shape != self.shape:
            self.add(part, "Reshape", {"target_shape": shape}, shape)

    def add(
        self,
        part: str,
        kind: str,
        config: dict[str, Any],
        shape: tuple[int, ...],
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        new = part_node(self._origin, part, kind, (self._source,), shape, config, weights)
        self.nodes.append(new)
        self._source, self.shape = new.name, shape

    def named(self) -> tuple[Node, ...]:
        """The nodes; the last has the origin's own name."""
        return named(self._origin, self.nodes)


def _lower(node: Node, plan: _Plan) -> tuple[Node, ...]:
    chain = _Chain(node, plan.shape(plan.given))
    groups, summed, features = (plan.count(part) for part in (plan.groups, plan.summed, plan.features))
    chain.permute("turned", plan.given, plan.places + plan.groups + plan.summed)
    bias, own = _bias(node, plan)
    weights = {} if own is None else {"bias": own}
    kernel = np.einsum(f"{plan.kernel}->{plan.groups}{plan.summed}{plan.features}", node.weights["kernel"])
    common = {"use_bias": own is not None, "activation": node.config.get("activation") or "linear"}
    if bias is not None:
        common["activation"] = "linear"
    if plan.groups:
        # (groups, summed, features) -> (1, summed, groups * features), filters group by group
        kernel = kernel.reshape(groups, summed, features).transpose(1, 0, 2).reshape(1, summed, -1)
        places = plan.count(plan.places)
        chain.reshape("flat", (places, groups * summed))
        config = {
            "filters": groups * features,
            "kernel_size": (1,),
            "strides": (1,),
            "padding": "valid",
            "data_format": "channels_last",
            "dilation_rate": (1,),
            "groups": groups,
            **common,
        }
        chain.add("product", "Conv1D", config, (places, groups * features), {"kernel": kernel, **weights})
    else:
        kernel = kernel.reshape(summed, features)
        chain.reshape("flat", (*plan.shape(plan.places), summed))
        config = {"units": features, **common}
        chain.add("product", "Dense", config, (*chain.shape[:-1], features), {"kernel": kernel, **weights})
    laid = plan.places + plan.groups + plan.features
    chain.reshape("split", plan.shape(laid))
    chain.permute("back", laid, plan.result)
    nodes = chain.named()
    if bias is None:
        return nodes
    last = nodes[-1].with_(
        name=f"{node.name}/unbiased", shared=f"{node.shared}/unbiased" if node.shared else None
    )
    shifted = scale_shift_nodes(node.with_(inputs=(last.name,)), np.ones(()), bias)
    return (*nodes[:-1], last, *shifted)


def _bias(node: Node, plan: _Plan) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The bias as an array that broadcasts to the output, or as one value per output of the product."""
    if "bias" not in node.weights:
        return None, None
    bias = node.weights["bias"]
    full = bias.reshape((1,) * (len(plan.result) - bias.ndim) + bias.shape)
    sizes = dict(zip(plan.result, full.shape, strict=True))
    if any(sizes[label] > 1 for label in plan.places):
        return full, None
    laid = plan.groups + plan.features
    # Places have one value each; the others are written out in the order of the product's outputs.
    order = [plan.result.index(label) for label in plan.places + laid]
    small = full.transpose(order).reshape(tuple(sizes[label] for label in laid))
    return None, np.broadcast_to(small, plan.shape(laid)).reshape(-1)
