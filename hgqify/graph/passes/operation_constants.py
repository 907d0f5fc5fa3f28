"""Operations with a constant operand, such as a custom layer's own kernel, as the layer that holds it.

The rules have the form of those in `operation_rules`.
"""

from typing import Any

import keras
import numpy as np

from hgqify.graph.model import Graph, Node, Ref
from hgqify.graph.passes.part_nodes import part_node


def _kernel(node: Node, keys: tuple[str, ...]) -> np.ndarray | None:
    """The constant second operand of an operation on one tensor; None if it is called in another way."""
    if node.call is None:
        return None
    values = [*node.call.args, *(node.call.kwargs[key] for key in keys if key in node.call.kwargs)]
    if len(values) != 2 or not isinstance(values[0], Ref) or isinstance(values[1], Ref):
        return None
    array = np.asarray(values[1])
    return array.astype(np.float32) if array.dtype.kind in "fiu" and array.ndim > 1 else None


def _with_kernel(node: Node, kind: str, config: dict[str, Any], kernel: np.ndarray) -> tuple[Node, ...]:
    config = {"activation": "linear", **config}
    return (part_node(node, "", kind, node.inputs, node.shape, config, {"kernel": kernel}),)


def dense(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``x @ kernel`` -> Dense."""
    kernel = _kernel(node, ("x1", "x2"))
    if kernel is None or kernel.ndim != 2 or not node.shape:
        return None
    return _with_kernel(node, "Dense", {"units": kernel.shape[1], "use_bias": False}, kernel)


def einsum_dense(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``einsum(equation, x, kernel)`` -> EinsumDense, whose own pass goes on from there."""
    kernel = _kernel(node, ())
    if kernel is None:
        return None
    config = {"equation": node.config["subscripts"], "output_shape": node.shape, "bias_axes": None}
    return _with_kernel(node, "EinsumDense", config, kernel)


def convolution(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``conv(x, kernel)`` -> Conv1D, Conv2D, Conv3D."""
    kernel = _kernel(node, ("inputs", "kernel"))
    rank = len(node.shape) - 1
    if kernel is None or kernel.ndim != rank + 2 or not 1 <= rank <= 3:
        return None
    shared = _windows(node, kernel, rank)
    channels = graph[node.inputs[0]].shape[-1 if shared["data_format"] == "channels_last" else 0]
    if channels != kernel.shape[-2]:
        return None
    config = {**shared, "filters": kernel.shape[-1], "groups": 1}
    return _with_kernel(node, f"Conv{rank}D", config, kernel)


def depthwise(graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``depthwise_conv(x, kernel)`` -> DepthwiseConv1D, DepthwiseConv2D."""
    kernel = _kernel(node, ("inputs", "kernel"))
    rank = len(node.shape) - 1
    if kernel is None or kernel.ndim != rank + 2 or rank not in (1, 2):
        return None
    config = {**_windows(node, kernel, rank), "depth_multiplier": kernel.shape[-1]}
    return _with_kernel(node, f"DepthwiseConv{rank}D", config, kernel)


def _windows(node: Node, kernel: np.ndarray, rank: int) -> dict[str, Any]:
    def each(value: Any) -> tuple[int, ...]:
        return (value,) * rank if isinstance(value, int) else tuple(value)

    config = node.config
    return {
        "use_bias": False,
        "kernel_size": kernel.shape[:rank],
        "strides": each(config["strides"]),
        "padding": config["padding"],
        "data_format": config["data_format"] or keras.config.image_data_format(),
        "dilation_rate": each(config["dilation_rate"]),
    }


def embedding(_graph: Graph, node: Node) -> tuple[Node, ...] | None:
    """``take(table, x, axis=0)``: a row for each index -> Embedding."""
    call = node.call
    values = [*call.args, *call.kwargs.values()] if call else []
    if len(values) != 2 or isinstance(values[0], Ref) or not isinstance(values[1], Ref):
        return None
    table = np.asarray(values[0])
    if node.config.get("axis") != 0 or table.ndim != 2 or table.dtype.kind != "f":
        return None
    rows, length = table.shape
    config = {"input_dim": rows, "output_dim": length, "mask_zero": False}
    weights = {"embeddings": table.astype(np.float32)}
    return (part_node(node, "", "Embedding", node.inputs, node.shape, config, weights),)
