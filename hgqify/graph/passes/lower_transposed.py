"""Lower transposed convolutions to ordinary ones, without inserting zeros.

With stride s, output t of ``z[t] = sum_n x[n] * w[t - n s]`` reads every s-th tap only. Written as
t = q s + r, each phase r is an ordinary convolution over q:

    z[q s + r] = sum_m x[q - m] * w[r + m s],    m = 0 .. ceil(size / s) - 1

The phases of the last axis are the channels of one convolution (a reshape interleaves them); those of
another axis are convolutions of their own, joined along the axis behind it. No multiplication meets an
inserted zero.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.part_nodes import named, part_node

_KINDS = frozenset({"Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"})


class LowerTransposed(Pass):
    """Conv1D/2D/3DTranspose -> one ordinary convolution for each phase, interleaved.

    It runs last: a normalization folds into the transposed convolution, not into its parts.
    """

    name = "lower-transposed"

    def run(self, graph: Graph) -> PassResult:
        """Lower every transposed convolution; the last part keeps the node's name."""
        replacements, events = {}, []
        for node in graph:
            if node.kind not in _KINDS or node.call is not None:
                continue
            replacements[node.name] = tuple(_Lowering(graph, node).run())
            events.append(self.event(node, "lowered", "a convolution for each phase of the strides"))
        return self.result(graph, replacements, {}, events)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """How one spatial axis is computed.

    Attributes:
        stride, dilation: of the layer; one of them is 1.
        taps: of each phase.
        padding: zeros (before, after) the input; negative where it is cropped.
        places: of the phases, `places * stride` interleaved.
        crop: dropped (before, after) of the interleaved places.
    """

    stride: int
    dilation: int
    taps: int
    padding: tuple[int, int]
    places: int
    crop: tuple[int, int]


def _axis(size: int, config: Mapping[str, Any], axis: int, given: int, wanted: int) -> _Axis:
    stride, dilation = _at(config["strides"], axis), _at(config["dilation_rate"], axis)
    start = _start((size - 1) * dilation + 1, stride, config["padding"], _at(config["output_padding"], axis))
    first, last = start // stride, (start + wanted - 1) // stride
    taps = math.ceil(size / stride)
    reach = (taps - 1) * dilation if stride == 1 else taps - 1
    places = last - first + 1
    return _Axis(
        stride=stride,
        dilation=dilation if stride == 1 else 1,
        taps=taps,
        padding=(reach - first, last + 1 - given),
        places=places,
        crop=(start - first * stride, places * stride - wanted - (start - first * stride)),
    )


def _start(size: int, stride: int, padding: str, output_padding: int | None) -> int:
    """Where Keras begins to keep outputs of the whole transposed convolution."""
    if padding == "valid":
        return 0
    total = stride + size - 2 if output_padding is None else size + size % 2 - 2 + output_padding
    return size - 1 - min(total - total // 2, size - 1)


def _at(value: Any, axis: int) -> Any:
    return value[axis] if isinstance(value, list | tuple) else value


class _Lowering:
    """The nodes that replace one."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.node = node
        self.nodes: list[Node] = []
        self.first = node.config["data_format"] == "channels_first"
        given, wanted = graph[node.inputs[0]].shape, node.shape
        self.given = (*given[1:], given[0]) if self.first else given
        self.wanted = (*wanted[1:], wanted[0]) if self.first else wanted
        self.kernel = node.weights["kernel"]  # (*window, output, input)
        self.axes = [
            _axis(size, node.config, axis, self.given[axis], self.wanted[axis])
            for axis, size in enumerate(self.kernel.shape[:-2])
        ]
        self.rank = len(self.axes)

    def run(self) -> list[Node]:
        """Pad, convolve, interleave, crop."""
        source, shape = self.node.inputs[0], self.given
        dims = tuple(range(1, self.rank + 2))
        if self.first:
            source = self._add("last", "Permute", {"dims": (*dims[1:], 1)}, (source,), shape)
        for label, kind, key, sign in (
            ("crop_input", "Cropping", "cropping", -1),
            ("pad", "ZeroPadding", "padding", 1),
        ):
            sizes = [(max(0, sign * a.padding[0]), max(0, sign * a.padding[1])) for a in self.axes]
            source, shape = self._resize(label, kind, key, sign, sizes, source, shape)
        source, shape = self._interleaved(0, (), source)
        source, shape = self._resize(
            "crop", "Cropping", "cropping", -1, [a.crop for a in self.axes], source, shape
        )
        if self.first:
            self._add("first", "Permute", {"dims": (dims[-1], *dims[:-1])}, (source,), self.node.shape)
        return list(named(self.node, self.nodes))

    def _resize(
        self,
        label: str,
        kind: str,
        key: str,
        sign: int,
        sizes: list[tuple[int, int]],
        source: str,
        shape: tuple[int, ...],
    ) -> tuple[str, tuple[int, ...]]:
        """Pad or crop, where there is something to do."""
        if not any(map(any, sizes)):
            return source, shape
        spatial = (size + sign * sum(pair) for size, pair in zip(shape, sizes, strict=False))
        shape = (*spatial, shape[-1])
        amount: Any = tuple(sizes) if self.rank > 1 else sizes[0]
        config = {key: amount, "data_format": "channels_last"}
        if self.rank == 1:
            del config["data_format"]
        return self._add(label, f"{kind}{self.rank}D", config, (source,), shape), shape

    def _interleaved(self, axis: int, phases: tuple[int, ...], source: str) -> tuple[str, tuple[int, ...]]:
        """All phases of the axes from ``axis`` on, for given phases of those before it."""
        outer = tuple(a.places for a in self.axes[: axis + 1])
        inner = tuple(a.places * a.stride for a in self.axes[axis + 1 :])
        stride, channels = self.axes[axis].stride, self.wanted[-1]
        shape = (*outer[:-1], outer[-1] * stride, *inner, channels)
        tag = "".join(f"_{phase}" for phase in phases)
        if axis == self.rank - 1:
            name = self._convolution(f"phase{tag}" if phases else "convolution", phases, source)
        else:
            parts = [self._interleaved(axis + 1, (*phases, r), source)[0] for r in range(stride)]
            if stride == 1:
                return parts[0], shape
            joined = (*outer, stride * inner[0], *inner[1:], channels)
            name = self._add(f"join{tag}", "Concatenate", {"axis": axis + 2}, tuple(parts), joined)
        if stride == 1:
            return name, shape
        return self._add(f"interleave{tag}", "Reshape", {"target_shape": shape}, (name,), shape), shape

    def _convolution(self, label: str, phases: tuple[int, ...], source: str) -> str:
        last = self.axes[-1]
        parts = [self._phase((*phases, r)) for r in range(last.stride)]
        weights = {"kernel": np.concatenate(parts, axis=-1)}
        if "bias" in self.node.weights:
            weights["bias"] = np.tile(self.node.weights["bias"], last.stride)
        filters = weights["kernel"].shape[-1]
        config = {
            "filters": filters,
            "kernel_size": tuple(a.taps for a in self.axes),
            "strides": (1,) * self.rank,
            "padding": "valid",
            "data_format": "channels_last",
            "dilation_rate": tuple(a.dilation for a in self.axes),
            "groups": 1,
            "use_bias": "bias" in weights,
            "activation": self.node.config["activation"],
        }
        shape = (*(a.places for a in self.axes), filters)
        return self._add(label, f"Conv{self.rank}D", config, (source,), shape, weights)

    def _phase(self, phases: tuple[int, ...]) -> np.ndarray:
        """The kernel (*taps, input, output) of one phase: every s-th tap, the last one first."""
        taps = tuple(a.taps for a in self.axes)
        kernel = np.zeros((*taps, *self.kernel.shape[:-3:-1]), np.float32)
        for place in itertools.product(*map(range, taps)):
            tap = tuple(
                r + (a.taps - 1 - p) * a.stride for r, a, p in zip(phases, self.axes, place, strict=True)
            )
            if all(t < size for t, size in zip(tap, self.kernel.shape, strict=False)):
                kernel[place] = self.kernel[tap].T
        return kernel

    def _add(
        self,
        label: str,
        kind: str,
        config: dict[str, Any],
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        weights: dict[str, np.ndarray] | None = None,
    ) -> str:
        self.nodes.append(part_node(self.node, label, kind, inputs, shape, config, weights))
        return self.nodes[-1].name
