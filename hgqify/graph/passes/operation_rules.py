"""Which layers compute what a Keras operation computes.

A rule takes the graph and the operation's node and returns the nodes that replace it (the last keeps the
name), or None where no layer does exactly the same.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from hgqify.graph.model import Graph, Node, Ref
from hgqify.graph.passes.affine import scale_shift_nodes
from hgqify.graph.passes.operation_bounds import absolute, at_least, at_most, clip, where
from hgqify.graph.passes.operation_constants import convolution, dense, depthwise, einsum_dense, embedding
from hgqify.graph.passes.operation_moves import MOVES, take
from hgqify.graph.passes.operation_reductions import REDUCTIONS
from hgqify.graph.passes.products import einsum_rule, matmul_rule

Rule = Callable[[Graph, Node], tuple[Node, ...] | None]

MAX_POWER = 4
"""The largest exponent that becomes a product of equal factors."""


def _layer(
    node: Node, kind: str, config: dict[str, Any] | None = None, inputs: Any = None
) -> tuple[Node, ...]:
    new = Node(
        name=node.name,
        kind=kind,
        config=config or {},
        inputs=node.inputs if inputs is None else inputs,
        shape=node.shape,
        origin=node.origin,
    )
    return (new,)


def _operands(node: Node) -> tuple[Any, Any] | None:
    """The two arguments of a binary operation; tensors as `Ref`, constants as they are."""
    if node.call is None:
        return None
    values = [*node.call.args, *(node.call.kwargs[key] for key in ("x1", "x2") if key in node.call.kwargs)]
    return (values[0], values[1]) if len(values) == 2 else None


def _constant(graph: Graph, node: Node, value: Any) -> np.ndarray | None:
    """A constant operand in float64 without batch dimension, if it does not enlarge the tensor."""
    array = np.asarray(value, np.float64)
    rank = len(node.shape)
    if array.ndim == rank + 1 and array.shape[0] == 1:
        array = array[0]
    same = graph[node.inputs[0]].shape == node.shape
    return array if same and array.ndim <= rank and np.isfinite(array).all() else None


def _merge(kind: str) -> Rule:
    """Two tensors of equal rank -> a merge layer; a tensor and a constant -> a scale and shift."""

    def rule(graph: Graph, node: Node) -> tuple[Node, ...] | None:
        operands = _operands(node)
        if operands is None:
            return None
        tensors = [isinstance(value, Ref) for value in operands]
        if all(tensors):
            ranks = {len(graph[name].shape) for name in node.inputs}
            return _layer(node, kind) if len(ranks) == 1 and node.shape else None
        constant = _constant(graph, node, operands[tensors.index(False)])
        if constant is None or not node.shape:
            return None
        if kind in ("Maximum", "Minimum"):
            return (at_least if kind == "Maximum" else at_most)(graph, node, constant)
        affine = _affine(kind, constant, constant_first=not tensors[0])
        return scale_shift_nodes(node, *affine) if affine else None

    return rule


def _affine(kind: str, constant: np.ndarray, *, constant_first: bool) -> tuple[Any, Any] | None:
    one, zero = np.ones(()), np.zeros(())
    if kind == "Add":
        return one, constant
    if kind == "Subtract":
        return (-one, constant) if constant_first else (one, -constant)
    if kind == "Multiply":
        return constant, zero
    return None


def _divide(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    operands = _operands(node)
    if operands is None or not isinstance(operands[0], Ref) or isinstance(operands[1], Ref):
        return None
    constant = _constant(graph, node, operands[1])
    if constant is None or not constant.all():
        return None
    return scale_shift_nodes(node, 1 / constant, np.zeros(()))


def _either(first: Rule, second: Rule) -> Rule:
    return lambda graph, node: first(graph, node) or second(graph, node)


def _negative(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    return scale_shift_nodes(node, -np.ones(()), np.zeros(())) if node.shape else None


def _square(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    return _layer(node, "Multiply", inputs=node.inputs * 2)


def _power(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    operands = _operands(node)
    if operands is None or not isinstance(operands[0], Ref) or isinstance(operands[1], Ref):
        return None
    exponent = np.asarray(operands[1])
    if exponent.size != 1 or exponent.item() not in range(2, MAX_POWER + 1):
        return None
    return _layer(node, "Multiply", inputs=node.inputs * int(exponent.item()))


def _function(name: str) -> Rule:
    def rule(graph: Graph, node: Node) -> tuple[Node, ...] | None:
        return _layer(node, "Activation", {"activation": name}) if node.call is None else None

    return rule


def _parametric(kind: str, *keys: str) -> Rule:
    def rule(graph: Graph, node: Node) -> tuple[Node, ...] | None:
        if node.call is not None:
            return None
        return _layer(node, kind, {key: node.config[key] for key in keys})

    return rule


def _gelu(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    # keras.activations.gelu is the exact one; the operation approximates by default.
    if node.call is not None or node.config.get("approximate", True):
        return None
    return _layer(node, "Activation", {"activation": "gelu"})


def _reshape(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    # Unequal sizes mean that the operation moved elements across the batch dimension.
    if node.call is not None or math.prod(graph[node.inputs[0]].shape) != math.prod(node.shape):
        return None
    return _layer(node, "Reshape", {"target_shape": node.shape}) if node.shape else None


def _permute(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    if node.call is not None:
        return None
    rank = len(node.shape) + 1
    probe = np.empty(tuple(range(rank)))  # the size of each axis is its number
    config = node.config
    if "axis1" in config:
        moved = np.swapaxes(probe, config["axis1"], config["axis2"])
    elif "source" in config:
        moved = np.moveaxis(probe, config["source"], config["destination"])
    else:
        moved = np.transpose(probe, config["axes"])
    return _layer(node, "Permute", {"dims": moved.shape[1:]}) if moved.shape[0] == 0 else None


def _concatenate(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    if node.call is not None or len(node.inputs) < 2 or node.config["axis"] in (0, None):
        return None
    return _layer(node, "Concatenate", {"axis": node.config["axis"]})


def _global_pooling(kind: str) -> Rule:
    """Reduction over all axes between batch and channels; others as `REDUCTIONS` has it."""
    name = kind.removeprefix("Global").replace("MaxPooling", "Max").replace("AveragePooling", "Mean")

    def rule(graph: Graph, node: Node) -> tuple[Node, ...] | None:
        rank = len(graph[node.inputs[0]].shape)
        axes = node.config["axis"]
        axes = axes if isinstance(axes, list | tuple) else (axes,)
        if node.call is not None or None in axes or node.config.get("initial") is not None:
            return None
        if not 2 <= rank <= 4 or {axis % (rank + 1) for axis in axes} != set(range(1, rank)):
            return REDUCTIONS[name](graph, node)
        config = {"data_format": "channels_last", "keepdims": bool(node.config["keepdims"])}
        return _layer(node, f"{kind}{rank - 1}D", config)

    return rule


def _pad(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    widths, rank = node.config["pad_width"], len(node.shape)
    value = node.call.kwargs.get("constant_values") if node.call else None
    arguments = node.call.args[1:] if node.call else ()
    zeros = all(item is None or np.array_equal(item, 0) for item in (value, *arguments))
    if node.config["mode"] != "constant" or not zeros or not 2 <= rank <= 4:
        return None
    if isinstance(widths, int) or len(widths) != rank + 1 or isinstance(widths[0], int):
        return None
    pairs = tuple(tuple(pair) for pair in widths)
    if any(pairs[0]) or any(pairs[-1]):
        return None
    padding = pairs[1:-1]
    config: dict[str, Any] = {"padding": padding[0] if rank == 2 else padding}
    return _layer(node, f"ZeroPadding{rank - 1}D", {**config, "data_format": "channels_last"})


_FUNCTIONS = {
    "Exp": "exponential",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "LogSigmoid": "log_sigmoid",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "SparsePlus": "sparse_plus",
    "SparseSigmoid": "sparse_sigmoid",
    "Tanh": "tanh",
    "TanhShrink": "tanh_shrink",
}

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **{name: _function(function) for name, function in _FUNCTIONS.items()},
        **{name: _merge(name) for name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum")},
        **MOVES,
        **REDUCTIONS,
        "Abs": absolute,
        "Absolute": absolute,
        "Amax": _global_pooling("GlobalMaxPooling"),
        "Clip": clip,
        "Concatenate": _concatenate,
        "Conv": convolution,
        "DepthwiseConv": depthwise,
        "Divide": _divide,
        "Elu": _parametric("ELU", "alpha"),
        "Einsum": _either(einsum_rule, einsum_dense),
        "ExpandDims": _reshape,
        "Gelu": _gelu,
        "LeakyRelu": _parametric("LeakyReLU", "negative_slope"),
        "Max": _global_pooling("GlobalMaxPooling"),
        "Matmul": _either(matmul_rule, dense),
        "Mean": _global_pooling("GlobalAveragePooling"),
        "Moveaxis": _permute,
        "Negative": _negative,
        "Pad": _pad,
        "Power": _power,
        "Reshape": _reshape,
        "Softmax": _parametric("Softmax", "axis"),
        "Square": _square,
        "Squeeze": _reshape,
        "Swapaxes": _permute,
        "Take": _either(take, embedding),
        "Transpose": _permute,
        "TrueDivide": _divide,
        "Where": where,
    }
)
"""Rules by class name of the operation."""
