"""Which channels a graph's layers can be scaled by, so that no result changes.

Factors on output channels of a layer with weights pass through whatever is positively homogeneous,
``g(a x) = a g(x)`` for a > 0, and keeps channels apart, until the next layers with weights take them back.
This finds the sets of output channels that must have one factor in common (branches that are added, positions
of one channel that are flattened and read by a convolution, ...) and those that cannot have one (model
outputs, what a table reads, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.graph.build import float_factory
from hgqify.graph.model import INPUT, Graph, Node
from hgqify.graph.passes.affine import batchnorm_axis
from hgqify.graph.passes.linear_algebra import scale_inputs, scale_outputs

FIXED = -1
"""Number of the channels that have no factor."""

_LINEAR = frozenset({"Dense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"})
_NORMALIZATION = "BatchNormalization"
_POOLING = frozenset(
    f"{kind}Pooling{rank}D" for kind in ("Max", "Average", "GlobalMax", "GlobalAverage") for rank in (1, 2, 3)
)
_MERGES = frozenset({"Add", "Subtract", "Average", "Maximum", "Minimum"})
_MOVES = frozenset(
    {
        *("Reshape", "Flatten", "Permute", "RepeatVector", "Concatenate"),
        *(f"{kind}{rank}D" for kind in ("ZeroPadding", "Cropping", "UpSampling") for rank in (1, 2, 3)),
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Channels:
    """Sets of channels with a common factor, numbered from 0; `FIXED` has none.

    Attributes:
        outputs: set of every output channel, by layer with weights (`layer_key` of its nodes).
        inputs: set of every input channel, likewise, and of pooling layers.
        count: number of sets.
        reasons: for layers with fixed output channels, what they come upon.
    """

    outputs: Mapping[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]
    count: int
    reasons: Mapping[str, str]


def layer_key(node: Node) -> str:
    """What names the layer of a node: equal for all calls of a shared one."""
    return node.shared or node.name


def find_channels(graph: Graph, homogeneous: Callable[[Node], bool]) -> Channels:
    """Find the sets of channels of a canonical graph.

    Args:
        graph: in canonical form, of fixed shapes.
        homogeneous: whether a node is an elementwise function with ``g(a x) = a g(x)`` for all a > 0.
    """
    return _Finder(graph, homogeneous).result()


def shifted(graph: Graph, channels: Channels, shifts: np.ndarray) -> Graph:
    """The graph with set n of channels scaled by ``2**shifts[n]`` in between its linear layers.

    In float32 no result bit of the model changes, as long as no number becomes subnormal or infinite.

    Args:
        graph: that the channels were found in.
        channels: of the graph.
        shifts: whole numbers, shape (channels.count,).
    """
    factors = np.append(np.ldexp(1.0, np.asarray(shifts, np.int64)), 1.0)  # the last is that of FIXED
    replacements = {}
    for node in graph:
        key = layer_key(node)
        if key not in channels.outputs:
            continue
        given, made = factors[channels.inputs[key]], factors[channels.outputs[key]]
        if np.all(given == 1) and np.all(made == 1):
            continue
        change = _normalization_weights if node.kind == _NORMALIZATION else _linear_weights
        replacements[node.name] = (node.with_(weights=change(node, given, made)),)
    return graph.rewrite(replacements)


def _linear_weights(node: Node, given: np.ndarray, made: np.ndarray) -> dict[str, np.ndarray]:
    weights = scale_inputs(node, 1 / given, np.zeros(len(given))) or node.weights  # only shifts are refused
    weights = scale_outputs(node.with_(weights=weights), made, np.zeros(len(made)))
    return {name: weights[name] for name in node.weights}


def _normalization_weights(node: Node, given: np.ndarray, made: np.ndarray) -> dict[str, np.ndarray]:
    factors = {"gamma": made / given, "beta": made, "moving_mean": given}
    return {
        name: np.asarray(value * factors.get(name, 1.0), np.float32) for name, value in node.weights.items()
    }


class _Finder:
    """One walk along the graph. Every element of a tensor has a number: that of the output channel whose
    factor it has, or 0 for a constant zero, which any factor leaves as it is."""

    def __init__(self, graph: Graph, homogeneous: Callable[[Node], bool]) -> None:
        self._homogeneous = homogeneous
        self._parent = [0]
        self._reason: dict[int, str] = {}
        self._outputs: dict[str, np.ndarray] = {}
        self._inputs: dict[str, np.ndarray] = {}
        tensors: dict[str, np.ndarray] = {}
        for node in graph:
            tensors[node.name] = self._visit(node, [tensors[name] for name in node.inputs])
            if node.name in graph.outputs:
                self._fix(tensors[node.name], "a model output")

    def result(self) -> Channels:
        numbers: dict[int, int] = {}

        def number(element: int) -> int:
            root = self._root(element)
            if root == 0 or root in self._reason:
                return FIXED
            return numbers.setdefault(root, len(numbers))

        def numbered(channels: np.ndarray) -> np.ndarray:
            return np.array([number(int(n)) for n in channels], np.int64)

        outputs = {key: numbered(channels) for key, channels in self._outputs.items()}
        inputs = {key: numbered(channels) for key, channels in self._inputs.items()}
        reasons = {}
        for key, channels in self._outputs.items():
            found = [self._reason[root] for n in channels if (root := self._root(int(n))) in self._reason]
            if found:
                reasons[key] = found[0]
        return Channels(outputs=outputs, inputs=inputs, count=len(numbers), reasons=reasons)

    def _visit(self, node: Node, inputs: list[np.ndarray]) -> np.ndarray:
        """Numbers of a node's output."""
        if node.kind == INPUT:
            return self._fixed(node, [], "a model input")
        if node.call is not None or node.outputs != 1 or len(node.shape) < 1:
            return self._fixed(node, inputs, node.kind)
        axis = _channel_axis(node)
        if node.kind in _LINEAR or (node.kind == _NORMALIZATION and "gamma" in node.weights):
            return self._weighted(node, inputs[0], axis)
        if node.kind in _POOLING:
            return _spread(self._read(layer_key(node), inputs[0], axis), node.shape, axis)
        if node.kind in _MERGES and len({x.ndim for x in inputs}) == 1:
            return self._merged(inputs)
        if node.kind in _MOVES and node.config.get("interpolation", "nearest") == "nearest":
            return _moved(node, inputs)
        if len(inputs) == 1 and self._homogeneous(node):
            return inputs[0]
        return self._fixed(node, inputs, f"{node.name} ({node.kind})")

    def _read(self, key: str, x: np.ndarray, axis: int) -> np.ndarray:
        """Numbers of the input channels; those of another call of the layer join them."""
        given = self._per_channel(x, axis)
        if key in self._inputs:
            self._union(self._inputs[key], given)
        self._inputs[key] = given
        return given

    def _weighted(self, node: Node, x: np.ndarray, axis: int) -> np.ndarray:
        key = layer_key(node)
        self._read(key, x, axis)
        if key not in self._outputs:
            self._outputs[key] = self._new(node.shape[axis])
        if node.config.get("activation") not in (None, "linear"):
            self._fix(self._outputs[key], f"the activation of {node.name}")
        return _spread(self._outputs[key], node.shape, axis)

    def _merged(self, inputs: list[np.ndarray]) -> np.ndarray:
        merged = inputs[0]
        for other in inputs[1:]:
            a, b = np.broadcast_arrays(merged, other)
            self._union(a, b)
            merged = np.maximum(a, b)
        return merged

    def _per_channel(self, x: np.ndarray, axis: int) -> np.ndarray:
        """One number for each channel: its positions get a common factor."""
        rows = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        largest = rows.max(axis=1, initial=0)
        self._union(rows, np.broadcast_to(largest[:, None], rows.shape))
        return largest

    def _fixed(self, node: Node, inputs: list[np.ndarray], reason: str) -> np.ndarray:
        for x in inputs:
            self._fix(x, reason)
        return np.broadcast_to(self._fix(self._new(1), reason), node.shape)

    def _new(self, count: int) -> np.ndarray:
        start = len(self._parent)
        self._parent += range(start, start + count)
        return np.arange(start, start + count)

    def _fix(self, x: np.ndarray, reason: str) -> np.ndarray:
        for n in np.unique(x):
            if n:
                self._reason.setdefault(self._root(int(n)), reason)
        return x

    def _union(self, a: np.ndarray, b: np.ndarray) -> None:
        apart = (a != b) & (a != 0) & (b != 0)
        pairs = np.unique(np.stack([a[apart], b[apart]], axis=1), axis=0)
        for one, other in pairs.tolist():
            first, second = self._root(one), self._root(other)
            if first == second:
                continue
            self._parent[second] = first
            if second in self._reason:
                self._reason.setdefault(first, self._reason[second])

    def _root(self, n: int) -> int:
        while self._parent[n] != n:
            self._parent[n] = self._parent[self._parent[n]]
            n = self._parent[n]
        return n


def _channel_axis(node: Node) -> int:
    """Of the output and the input, batch excluded."""
    if node.kind == _NORMALIZATION:
        return batchnorm_axis(node)
    return 0 if node.config.get("data_format") == "channels_first" else -1


def _spread(channels: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Numbers of channels at every position of a tensor."""
    if len(shape) == 1:
        return channels
    at = tuple(-1 if n == axis % len(shape) else 1 for n in range(len(shape)))
    return np.broadcast_to(channels.reshape(at), shape)


def _moved(node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    """The layer itself moves the numbers, which float32 holds exactly."""
    tensors = [np.asarray(x, np.float32)[None] for x in inputs]
    moved = float_factory(node)(tensors[0] if len(tensors) == 1 else tensors)
    return np.asarray(keras.ops.convert_to_numpy(moved))[0].astype(np.int64)
