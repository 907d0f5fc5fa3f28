"""Lower adaptive pooling to ordinary pooling.

Output o of n places covers the places floor(o * n / m) up to ceil((o + 1) * n / m) of m outputs (as PyTorch
defines it, and Keras).
"""

from __future__ import annotations

import math
from itertools import pairwise

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.part_nodes import PartWriter

MAX_PIECES = 64
"""Pieces a tensor is cut into at most, where windows differ in size or step."""

_PREFIX = "Adaptive"
_KINDS = frozenset(f"{_PREFIX}{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3))

Window = tuple[int, int]


class LowerAdaptivePooling(Pass):
    """AdaptiveAveragePooling, AdaptiveMaxPooling -> AveragePooling, MaxPooling.

    Along an axis whose windows are all of one size at one step it is one pooling; else each window is cut
    out, and the results are joined.
    """

    name = "lower-adaptive-pooling"

    def run(self, graph: Graph) -> PassResult:
        """Lower every adaptive pooling; those of too many different windows stay."""
        replacements, events = {}, []
        for node in graph:
            if node.kind not in _KINDS or node.call is not None:
                continue
            shape = graph[node.inputs[0]].shape
            if why_not(node, shape):
                events.append(self.event(node, "kept", why_not(node, shape)))
                continue
            replacements[node.name] = _Lowering(node, shape).run()
            events.append(self.event(node, "lowered", "pooling"))
        return self.result(graph, replacements, {}, events)


def why_not(node: Node, shape: tuple[int, ...]) -> str:
    """Why an adaptive pooling of a tensor of ``shape`` is not lowered; empty where it is."""
    first = node.config["data_format"] == "channels_first"
    places, results = (s[1:] if first else s[:-1] for s in (shape, node.shape))
    uneven = [m for n, m in zip(places, results, strict=True) if _step(windows(n, m)) is None]
    count = math.prod(uneven)
    return "" if count <= MAX_PIECES else f"{count} windows of different sizes are more than {MAX_PIECES}"


def windows(places: int, count: int) -> list[Window]:
    """First place, and the one behind the last, of each window."""
    return [(n * places // count, -(-(n + 1) * places // count)) for n in range(count)]


def _step(found: list[Window]) -> int | None:
    """Places from window to window where all are of one size and one step, else None."""
    sizes = {last - first for first, last in found}
    steps = {b[0] - a[0] for a, b in pairwise(found)}
    if len(sizes) > 1 or len(steps) > 1 or 0 in steps:
        return None
    return steps.pop() if steps else found[0][1]


class _Lowering:
    """The nodes that replace one."""

    def __init__(self, node: Node, shape: tuple[int, ...]) -> None:
        self.node, self.parts, self.given = node, PartWriter(node), shape
        self.first = node.config["data_format"] == "channels_first"
        self.kind = node.kind.removeprefix(_PREFIX)
        self.rank = len(shape) - 1
        self.places, self.channels = (shape[1:], shape[0]) if self.first else (shape[:-1], shape[-1])
        results = node.shape[1:] if self.first else node.shape[:-1]
        self.windows = [windows(n, m) for n, m in zip(self.places, results, strict=True)]

    def run(self) -> tuple[Node, ...]:
        """Channels last, pooled, and back."""
        axes = tuple(range(self.rank + 1))
        source = self.node.inputs[0]
        if self.first:
            source = self.parts.permute("last", source, self.given, (*axes[1:], 0))
        source = self._cut(0, (), source, self.places)
        if self.first:
            self.parts.permute("first", source, self.parts.shapes[source], (axes[-1], *axes[:-1]))
        return self.parts.done()

    def _cut(self, axis: int, cut: tuple[int, ...], source: str, places: tuple[int, ...]) -> str:
        """Cut out the windows of all axes from ``axis`` on that need it; ``cut``: number of window by axis,
        -1 for an axis that is whole.
        """
        if axis == self.rank:
            return self._pool(cut, source, places)
        found = self.windows[axis]
        if _step(found) is not None:
            return self._cut(axis + 1, (*cut, -1), source, places)
        parts = []
        for number, (first, last) in enumerate(found):
            here = (*cut, number)
            own = (*places[:axis], last - first, *places[axis + 1 :])
            amounts = [(0, 0)] * self.rank
            amounts[axis] = (first, places[axis] - last)
            config = {"cropping": tuple(amounts) if self.rank > 1 else amounts[0]}
            piece = self.parts.add(
                f"window{_tag(here)}", f"Cropping{self.rank}D", (source,), (*own, self.channels), config
            )
            parts.append(self._cut(axis + 1, here, piece, own))
        sizes = list(self.parts.shapes[parts[0]])
        sizes[axis] = len(parts)
        return self.parts.add(f"joined{_tag(cut)}", "Concatenate", parts, sizes, {"axis": axis + 1})

    def _pool(self, cut: tuple[int, ...], source: str, places: tuple[int, ...]) -> str:
        sizes, steps = [], []
        for number, size, found in zip(cut, places, self.windows, strict=True):
            step = _step(found)
            whole = number >= 0 or step is None
            sizes.append(size if whole else found[0][1] - found[0][0])
            steps.append(size if whole or step is None else step)
        counts = [(size - w) // s + 1 for size, w, s in zip(places, sizes, steps, strict=True)]
        config = {
            "pool_size": tuple(sizes),
            "strides": tuple(steps),
            "padding": "valid",
            "data_format": "channels_last",
        }
        return self.parts.add(f"pool{_tag(cut)}", self.kind, (source,), (*counts, self.channels), config)


def _tag(cut: tuple[int, ...]) -> str:
    return "".join(f"_{number}" for number in cut if number >= 0)
