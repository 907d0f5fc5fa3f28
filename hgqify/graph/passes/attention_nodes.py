"""The nodes that attention layers consist of.

Letters of equations: b batch, q places of the query, s of keys and values, m features of a tensor, h heads,
r queries' heads per head of keys, d features of a head, o features of the output.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from typing import Any

import numpy as np

from hgqify.graph.model import Call as NodeCall
from hgqify.graph.model import Node, Ref
from hgqify.graph.passes.additive_attention import additive
from hgqify.graph.passes.affine import scale_shift_nodes
from hgqify.graph.passes.attention_calls import AttentionError, Call
from hgqify.graph.passes.products import einsum_node

Opened = tuple[tuple[Node, ...], str]
"""Nodes in order, the last one named as the layer, and the name of the probabilities."""


class _Writer:
    """Nodes that stem from one layer, and its weights in the order in which its parts hold them."""

    def __init__(self, node: Node, call: Call) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, tuple[int, ...]] = dict(call.shapes)
        self._node = node
        self._taken = 0

    def weights(self, bias: bool) -> dict[str, np.ndarray]:
        """Kernel, and bias, of the next projection."""
        self._taken += 1
        number = "" if self._taken == 1 else f"@{self._taken}"
        keys = ("kernel", "bias") if bias else ("kernel",)
        return {key: self._node.weights[key + number] for key in keys}

    def add(self, part: str, kind: str, inputs: tuple[str, ...], shape: tuple[int, ...], **rest: Any) -> str:
        """A node; an empty ``part`` has the layer's own name."""
        node = self._node
        new = Node(
            name=f"{node.name}/{part}" if part else node.name,
            kind=kind,
            inputs=inputs,
            shape=shape,
            shared=(f"{node.shared}/{part}" if part else node.shared) if node.shared else None,
            origin=node.origin,
            **rest,
        )
        return self.append(new)

    def append(self, new: Node) -> str:
        self.nodes.append(new)
        self.shapes[new.name] = new.shape
        return new.name

    def dense(
        self,
        part: str,
        source: str,
        equation: str,
        weights: Mapping[str, np.ndarray],
        activation: str = "linear",
    ) -> str:
        """A projection; its bias has the axes of the kernel that its output has."""
        given, kernel, result = equation.replace("->", ",").split(",")
        sizes = dict(zip(given[1:], self.shapes[source], strict=True))
        sizes |= dict(zip(kernel, weights["kernel"].shape, strict=True))
        shape = tuple(sizes[label] for label in result[1:])
        own = "".join(label for label in result if label in kernel)
        config = {
            "equation": equation,
            "output_shape": shape,
            "bias_axes": own if "bias" in weights else None,
            "activation": activation,
        }
        return self.add(part, "EinsumDense", (source,), shape, config=config, weights=weights)

    def product(self, part: str, a: str, b: str, equation: str) -> str:
        """A product of two tensors, sample by sample."""
        left, right, result = equation.replace("->", ",").split(",")
        sizes = dict(zip(left, self.shapes[a], strict=True)) | dict(zip(right, self.shapes[b], strict=True))
        shape = tuple(sizes[label] for label in result)
        name = f"{self._node.name}/{part}" if part else self._node.name
        shared = (f"{self._node.shared}/{part}" if part else self._node.shared) if self._node.shared else None
        return self.append(
            einsum_node(name, equation, (a, b), shape, origin=self._node.origin, shared=shared)
        )

    def softmax(self, scores: str, axes: int, mask: np.ndarray | None) -> str:
        """Probabilities over the last axes."""
        axis = -1 if axes == 1 else tuple(range(-axes, 0))
        call = None if mask is None else NodeCall(args=(Ref(0),), kwargs={"mask": mask})
        return self.add(
            "softmax", "Softmax", (scores,), self.shapes[scores], config={"axis": axis}, call=call
        )

    def opened(self, scores: str) -> Opened:
        return tuple(self.nodes), scores


def _scaled(weights: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Weights of a projection over the root of ``size``."""
    factor = 1.0 / math.sqrt(size)
    return {key: (value.astype(np.float64) * factor).astype(np.float32) for key, value in weights.items()}


def multi_head(node: Node, call: Call) -> Opened:
    """``keras.layers.MultiHeadAttention``, with any attention axes."""
    config, writer = node.config, _Writer(node, call)
    rank = len(call.shapes[call.query]) + 1
    if {len(shape) + 1 for shape in call.shapes.values()} != {rank}:
        raise AttentionError("query, value and key have different ranks")
    axes = config.get("attention_axes")
    axes = (
        tuple(range(1, rank - 1)) if axes is None else (axes if isinstance(axes, list | tuple) else (axes,))
    )
    # Keras counts negative axes from the projected tensor's heads.
    axes = tuple(axis if axis >= 0 else rank + axis for axis in axes)
    if not all(0 < axis < rank - 1 for axis in axes):
        raise AttentionError(f"attention runs over axes {axes}, which are not between batch and features")
    places = string.ascii_lowercase[1 : rank - 1]
    others = "".join(string.ascii_uppercase[n] if n + 1 in axes else label for n, label in enumerate(places))
    bias = bool(config.get("use_bias", True))
    queries = writer.weights(bias)
    query = writer.dense(
        "query", call.query, f"a{places}z,zxy->a{places}xy", _scaled(queries, config["key_dim"])
    )
    key = writer.dense("key", call.key, f"a{places}z,zxy->a{places}xy", writer.weights(bias))
    gate = None
    if config.get("use_gate"):
        gate = writer.dense(
            "gate", call.query, f"a{places}z,zxy->a{places}xy", writer.weights(bias), "sigmoid"
        )
    value = writer.dense("value", call.value, f"a{places}z,zxy->a{places}xy", writer.weights(bias))
    kept = "".join(label for n, label in enumerate(places) if n + 1 not in axes)
    rows = "".join(places[axis - 1] for axis in axes)
    columns = "".join(others[axis - 1] for axis in axes)
    scored = f"{kept}x{rows}{columns}"
    scores = writer.product("scores", query, key, f"{places}xy,{others}xy->{scored}")
    mask = call.mask_over(len(scored) + 1, len(axes), config.get("sliding_window"))
    probabilities = writer.softmax(scores, len(axes), mask)
    y = writer.product("mixed", probabilities, value, f"{scored},{others}xy->{places}xy")
    if gate is not None:
        y = writer.add("gated", "Multiply", (y, gate), writer.shapes[y])
    weights = writer.weights(bias)
    out = string.ascii_uppercase[-(weights["kernel"].ndim - 2) :]
    writer.dense("", y, f"a{places}xy,xy{out}->a{places}{out}", weights)
    return writer.opened(probabilities)


def grouped_query(node: Node, call: Call) -> Opened:
    """``keras.layers.GroupQueryAttention``: several heads of queries share one of keys and values."""
    config, writer = node.config, _Writer(node, call)
    if {len(shape) for shape in call.shapes.values()} != {2}:
        raise AttentionError("query, value and key are not sequences of vectors")
    bias, heads = bool(config.get("use_bias", True)), config["num_key_value_heads"]

    def split(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The axis of query heads as heads of keys, and the queries of each."""
        return {key: w.reshape(*w.shape[:-2], heads, -1, w.shape[-1]) for key, w in weights.items()}

    queries = split(_scaled(writer.weights(bias), config["head_dim"]))
    query = writer.dense("query", call.query, "bqm,mhrd->bqhrd", queries)
    key = writer.dense("key", call.key, "bsm,mhd->bshd", writer.weights(bias))
    gate = None
    if config.get("use_gate"):
        gate = writer.dense("gate", call.query, "bqm,mhrd->bqhrd", split(writer.weights(bias)), "sigmoid")
    value = writer.dense("value", call.value, "bsm,mhd->bshd", writer.weights(bias))
    scores = writer.product("scores", query, key, "qhrd,shd->hrqs")
    mask = call.mask_over(5, 1, config.get("sliding_window"))
    probabilities = returned = writer.softmax(scores, 1, mask)
    y = writer.product("mixed", probabilities, value, "hrqs,shd->qhrd")
    if call.returns_scores:
        h, r, *rest = writer.shapes[probabilities]
        shape = (h * r, *rest)
        returned = writer.add("joined", "Reshape", (probabilities,), shape, config={"target_shape": shape})
    if gate is not None:
        y = writer.add("gated", "Multiply", (y, gate), writer.shapes[y])
    weights = writer.weights(bias)
    kernel = weights["kernel"].reshape(heads, -1, *weights["kernel"].shape[1:])
    writer.dense("", y, "bqhrd,hrdo->bqo", {**weights, "kernel": kernel})
    return writer.opened(returned)


def attention(node: Node, call: Call) -> Opened:
    """``keras.layers.Attention``; the weight ``scale`` goes onto the query where the score is 'dot'."""
    if node.config.get("score_mode", "dot") != "dot":
        return additive(node, call)
    if {len(shape) for shape in call.shapes.values()} != {2}:
        raise AttentionError("query, value and key are not sequences of vectors")
    writer, query = _Writer(node, call), call.query
    if "scale" in node.weights:
        if node.shared:
            raise AttentionError("it is called several times and has a scale")
        shape = call.shapes[query]
        scaled = node.with_(name=f"{node.name}/query", shape=shape, inputs=(query,))
        for part in scale_shift_nodes(scaled, np.asarray(node.weights["scale"], np.float64), np.zeros(())):
            query = writer.append(part)
    scores = writer.product("scores", query, call.key, "qm,sm->qs")
    probabilities = writer.softmax(scores, 1, call.mask_over(3, 1))
    writer.product("", probabilities, call.value, "qs,sm->qm")
    return writer.opened(probabilities)
