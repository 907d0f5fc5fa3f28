"""Scale-and-shift nodes: y = scale * x + shift, spelled as BatchNormalization.

BatchNormalization with mean 0, variance 1 and epsilon 0 is exactly gamma * x + beta, so passes and
converters need to know one scale-and-shift only.
"""

import numpy as np

from hgqify.graph.model import Node


def scale_shift_nodes(node: Node, scale: np.ndarray, shift: np.ndarray) -> tuple[Node, ...]:
    """Nodes that compute scale * x + shift in place of `node` (same name last, one input).

    Args:
        node: the node to replace; its output has shape `node.shape`.
        scale: float64, broadcastable to `node.shape`.
        shift: likewise.

    Returns:
        One BatchNormalization where the values differ along one axis at most; else the same on the
        flattened tensor, between two reshapes.
    """
    scale, shift = np.broadcast_arrays(*np.atleast_1d(scale, shift))
    shape = node.shape
    full = (1,) * (len(shape) - scale.ndim) + scale.shape
    scale, shift = scale.reshape(full), shift.reshape(full)
    varying = [axis for axis, size in enumerate(full) if size > 1]
    axis = varying[0] if varying else len(shape) - 1
    if len(varying) <= 1:
        flat = [np.broadcast_to(value.reshape(-1), (shape[axis],)) for value in (scale, shift)]
        return (_batchnorm(node, node.name, node.inputs, shape, axis, *flat),)
    size = int(np.prod(shape))
    flat = [np.broadcast_to(value, shape).reshape(-1) for value in (scale, shift)]
    flatten = _reshape(node, f"{node.name}/flatten", node.inputs, (size,))
    middle = _batchnorm(node, f"{node.name}/scale", (flatten.name,), (size,), 0, *flat)
    return flatten, middle, _reshape(node, node.name, (middle.name,), shape)


def _batchnorm(
    node: Node,
    name: str,
    inputs: tuple[str, ...],
    shape: tuple[int, ...],
    axis: int,
    scale: np.ndarray,
    shift: np.ndarray,
) -> Node:
    count = shape[axis]
    return Node(
        name=name,
        kind="BatchNormalization",
        config={
            "axis": -1 if axis == len(shape) - 1 else axis + 1,
            "epsilon": 0.0,
            "center": True,
            "scale": True,
        },
        weights={
            "gamma": np.asarray(scale, np.float32),
            "beta": np.asarray(shift, np.float32),
            "moving_mean": np.zeros(count, np.float32),
            "moving_variance": np.ones(count, np.float32),
        },
        inputs=inputs,
        shape=shape,
        origin=node.origin,
    )


def _reshape(node: Node, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> Node:
    return Node(
        name=name,
        kind="Reshape",
        config={"target_shape": shape},
        inputs=inputs,
        shape=shape,
        origin=node.origin,
    )


def batchnorm_scale_shift(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """The float64 scale and shift, per channel, that a BatchNormalization node applies at inference.

    scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale (Ioffe & Szegedy, 2015).
    """
    variance = node.weights["moving_variance"].astype(np.float64)
    mean = node.weights["moving_mean"].astype(np.float64)
    gamma = node.weights["gamma"].astype(np.float64) if "gamma" in node.weights else np.ones_like(mean)
    beta = node.weights["beta"].astype(np.float64) if "beta" in node.weights else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + node.config["epsilon"])
    return scale, beta - mean * scale


def batchnorm_axis(node: Node) -> int:
    """The axis (of the shape without batch, from 0) that a BatchNormalization node scales along."""
    axis = node.config["axis"]
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    return axis - 1 if axis > 0 else axis + len(node.shape)
