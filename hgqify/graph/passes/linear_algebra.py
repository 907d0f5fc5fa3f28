"""Exact algebra on linear nodes: a scale and shift merged into a Dense or convolution kernel.

All sums run in float64 and are rounded to float32 once.
"""

from typing import Any

import numpy as np

from hgqify.graph.model import Node

_CONVOLUTIONS = frozenset({"Conv1D", "Conv2D", "Conv3D"})
_DEPTHWISE = frozenset({"DepthwiseConv1D", "DepthwiseConv2D"})
_TRANSPOSED = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})
LINEAR = _CONVOLUTIONS | _DEPTHWISE | _TRANSPOSED | {"Dense"}
"""Kinds a scale and shift can merge with."""


def channel_axis(node: Node) -> int:
    """The channel axis (of the shape without batch) of a linear node's input and output."""
    return 0 if node.config.get("data_format") == "channels_first" else len(node.shape) - 1


def scale_outputs(node: Node, scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray]:
    """Weights of scale * node(x) + shift.

    Args:
        node: a linear node with a linear activation.
        scale: float64, one value per output channel.
        shift: likewise.

    Returns:
        'kernel' and 'bias', float32.
    """
    kernel, bias = _kernel_and_bias(node, len(scale))
    if node.kind in _DEPTHWISE:  # (..., channel, multiplier); output channel = channel * multipliers + m
        kernel = kernel * scale.reshape(kernel.shape[-2:])
    elif node.kind in _TRANSPOSED:  # (..., output, input)
        kernel = kernel * scale[:, None]
    else:  # (..., input, output)
        kernel = kernel * scale
    return _rounded(kernel, bias * scale + shift)


def scale_inputs(node: Node, scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray] | None:
    """Weights of node(scale * x + shift), or None where padding makes that inexact.

    A convolution that pads does so with zeros *after* the shift, so a shift merges only without padding;
    a transposed convolution has outputs that see only part of the kernel, so it never does.

    Args:
        node: a linear node.
        scale: float64, one value per input channel.
        shift: likewise.

    Returns:
        'kernel' and 'bias', float32, or None.
    """
    padded = node.kind in _TRANSPOSED or node.config.get("padding", "valid") != "valid"
    if padded and shift.any():
        return None
    outputs = node.shape[channel_axis(node)]
    kernel, bias = _kernel_and_bias(node, outputs)
    if node.kind in _TRANSPOSED:
        return _rounded(kernel * scale, bias)
    if node.kind in _DEPTHWISE:
        index = np.arange(kernel.shape[-2])[:, None]
    else:
        # Output channel o sees the input channels of its group only.
        group = np.arange(outputs) // (outputs // node.config.get("groups", 1))
        index = group * kernel.shape[-2] + np.arange(kernel.shape[-2])[:, None]
    spatial = tuple(range(kernel.ndim - 2))
    moved = (kernel * shift[index]).sum(axis=spatial)
    moved = moved.reshape(-1) if node.kind in _DEPTHWISE else moved.sum(axis=0)
    return _rounded(kernel * scale[index], bias + moved)


def _kernel_and_bias(node: Node, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    kernel = node.weights["kernel"].astype(np.float64)
    bias = node.weights["bias"].astype(np.float64) if "bias" in node.weights else np.zeros(outputs)
    return kernel, bias


def _rounded(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
    with np.errstate(over="ignore"):  # callers look for infinities
        return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
