"""A chain of nodes in place of an operation: steps that move values, each on the one before."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from hgqify.graph.model import Node
from hgqify.graph.passes.affine import scale_shift_nodes


class Chain:
    """Nodes that replace ``node``, starting from one tensor; the last gets the node's name.

    Attributes:
        name, shape: of the newest tensor.
    """

    def __init__(self, node: Node, source: str, shape: tuple[int, ...], label: str = "") -> None:
        self._node = node
        self._label = label
        self._count = 0
        self.nodes: list[Node] = []
        self.name, self.shape = source, tuple(shape)

    def add(
        self,
        kind: str,
        config: dict[str, Any] | None = None,
        shape: tuple[int, ...] | None = None,
        inputs: Sequence[str] | None = None,
        weights: dict[str, np.ndarray] | None = None,
    ) -> "Chain":
        """One more node; by default on the newest tensor and of its shape."""
        self._append(
            Node(
                name=self._fresh(),
                kind=kind,
                config=config or {},
                weights=weights or {},
                inputs=(self.name,) if inputs is None else tuple(inputs),
                shape=self.shape if shape is None else shape,
                origin=self._node.origin,
            )
        )
        return self

    def affine(self, scale: Any, shift: Any) -> "Chain":
        """``scale * x + shift``; constants that change nothing add no node."""
        scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
        if (scale != 1).any() or shift.any():
            place = Node(
                name=self._fresh(), kind="", inputs=(self.name,), shape=self.shape, origin=self._node.origin
            )
            for part in scale_shift_nodes(place, scale, shift):
                self._append(part)
        return self

    def reshape(self, shape: Iterable[int]) -> "Chain":
        """The same values, row by row."""
        shape = tuple(shape)
        return self if shape == self.shape else self.add("Reshape", {"target_shape": shape}, shape)

    def permute(self, order: Sequence[int]) -> "Chain":
        """Axis ``order[n]`` (batch excluded, from 0) becomes axis n."""
        if list(order) == list(range(len(order))):
            return self
        shape = tuple(self.shape[axis] for axis in order)
        return self.add("Permute", {"dims": tuple(axis + 1 for axis in order)}, shape)

    def gather(self, axis: int, indices: Sequence[int]) -> "Chain":
        """Places ``indices`` of an axis, in that order: runs are cropped out and joined."""
        size = self.shape[axis]
        indices = list(indices)
        if indices == list(range(size)):
            return self
        if self._strided(axis, indices):
            return self
        breaks = [n + 1 for n, (a, b) in enumerate(pairwise(indices)) if b != a + 1]
        runs = [(indices[a], indices[b - 1] + 1) for a, b in pairwise([0, *breaks, len(indices)])]
        before, rest = self.shape[:axis], self.shape[axis + 1 :]
        rows, columns = math.prod(before), math.prod(rest)
        self.reshape((rows, size, columns) if axis else (size, columns))
        source, parts = self.name, []
        for first, last in runs:
            crop: Any = (first, size - last)
            shape: tuple[int, ...] = (last - first, columns)
            if axis:
                crop, shape = ((0, 0), crop), (rows, *shape)
            if last - first == size:
                parts.append(source)
                continue
            kind = "Cropping2D" if axis else "Cropping1D"
            self.add(kind, {"cropping": crop}, shape, inputs=(source,))
            parts.append(self.name)
        if len(parts) > 1:
            joined = (rows, len(indices), columns) if axis else (len(indices), columns)
            self.add("Concatenate", {"axis": 2 if axis else 1}, joined, inputs=parts)
        return self.reshape((*before, len(indices), *rest))

    def _strided(self, axis: int, indices: Sequence[int]) -> bool:
        """Every s-th place, with one crop: as s columns, of which one stays. Whether it was done."""
        steps = {b - a for a, b in pairwise(indices)}
        step = steps.pop() if len(steps) == 1 else 0
        if step < 2:
            return False
        size, start, count = self.shape[axis], indices[0] % step, len(indices)
        skipped = indices[0] // step
        before, rest = self.shape[:axis], self.shape[axis + 1 :]
        rows, columns = math.prod(before), math.prod(rest)
        whole = -(-size // step)
        if whole * step > size:
            self.reshape((rows, size, columns))
            padding = ((0, 0), (0, whole * step - size))
            self.add(
                "ZeroPadding2D",
                {"padding": padding, "data_format": "channels_last"},
                (rows, whole * step, columns),
            )
        self.reshape((rows * whole, step, columns))
        crop = ((0, 0), (start, step - 1 - start))
        self.add("Cropping2D", {"cropping": crop}, (rows * whole, 1, columns))
        self.reshape((*before, whole, *rest))
        self.gather(axis, range(skipped, skipped + count))
        return True

    def finish(self, shape: tuple[int, ...] | None = None) -> tuple[Node, ...]:
        """The nodes, in the operation's shape; the last has the operation's name."""
        self.reshape(self._node.shape if shape is None else shape)
        if not self.nodes:
            # Nothing to do: the identity, which a later pass drops.
            self.add("Activation", {"activation": "linear"})
        return (*self.nodes[:-1], self.nodes[-1].with_(name=self._node.name))

    def _append(self, node: Node) -> None:
        self.nodes.append(node)
        self.name, self.shape = node.name, node.shape

    def _fresh(self) -> str:
        self._count += 1
        return f"{self._node.name}/{self._label}part{self._count}"
