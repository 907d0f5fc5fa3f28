"""One step of a recurrent cell, as ordinary nodes.

A vector of a step has the shape (1, units), what all gates share (gates, units): gates are rows, so that
cropping picks them. Gates under the recurrent activation come first. A state of None is zero, and what
would multiply or add it is left out.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from hgqify.graph.model import Node
from hgqify.graph.passes.affine import scale_shift_nodes
from hgqify.graph.passes.part_nodes import part_node

States = tuple[str | None, ...]

MAX_PIECES = 7
"""Steps that are cut out of one tensor at most."""


class Builder:
    """Collects the nodes that replace one node.

    Attributes:
        node: the node they replace.
        nodes: so far.
        prefix: of the labels, a direction or a number of a cell.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.nodes: list[Node] = []
        self.prefix = ""

    def add(
        self,
        label: str,
        kind: str,
        config: Mapping[str, Any],
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
    ) -> str:
        """A node without weights; its name."""
        return self._append(part_node(self.node, f"{self.prefix}{label}", kind, inputs, shape, config))

    def dense(
        self, label: str, part: str, source: str, shape: tuple[int, ...], kernel: Any, bias: Any = None
    ) -> str:
        """A Dense node; all those with the same ``part`` are one layer."""
        weights = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
        config = {"units": kernel.shape[-1], "use_bias": bias is not None, "activation": "linear"}
        return self.weighted(label, part, "Dense", config, source, shape, weights)

    def weighted(
        self,
        label: str,
        part: str,
        kind: str,
        config: Mapping[str, Any],
        source: str,
        shape: tuple[int, ...],
        weights: Mapping[str, np.ndarray],
    ) -> str:
        """A node with weights; all those with the same ``part`` are one layer."""
        key = f"{self.node.shared or self.node.name}/{self.prefix}{part}"
        label = f"{self.prefix}{label}"
        return self._append(part_node(self.node, label, kind, (source,), shape, config, weights, shared=key))

    def scale(self, label: str, source: str, scale: np.ndarray, shape: tuple[int, ...]) -> str:
        """A vector times a constant one."""
        place = Node(
            name=f"{self.node.name}/{self.prefix}{label}", kind="", inputs=(source,), shape=shape,
            origin=self.node.origin,
        )  # fmt: skip
        for part in scale_shift_nodes(place, scale, np.zeros(())):
            shared = self.node.shared and part.name.replace(self.node.name, self.node.shared, 1)
            self.nodes.append(part.with_(shared=shared))
        return place.name

    def rows(self, label: str, source: str, first: int, count: int, of: int, units: int) -> str:
        """Rows first .. first + count - 1 of a tensor (of, units)."""
        if count == of:
            return source
        config = {"cropping": (first, of - first - count)}
        return self.add(label, "Cropping1D", config, (source,), (count, units))

    def reshape(self, label: str, source: str, shape: tuple[int, ...]) -> str:
        """The same values in another shape."""
        return self.add(label, "Reshape", {"target_shape": shape}, (source,), shape)

    def merge(self, label: str, kind: str, a: str, b: str, shape: tuple[int, ...]) -> str:
        """Two tensors of one shape, element by element."""
        return self.add(label, kind, {}, (a, b), shape)

    def activation(self, label: str, function: Any, source: str, shape: tuple[int, ...]) -> str:
        """An activation function."""
        return self.add(label, "Activation", {"activation": function}, (source,), shape)

    def _append(self, node: Node) -> str:
        self.nodes.append(node)
        return node.name


def pieces(builder: Builder, source: str, start: int, steps: int, gates: int, units: int) -> list[str]:
    """The rows of each step, ``gates`` of them; halves first where they are many, for streams."""
    if steps == 1:
        return [source]
    half = (steps + 1) // 2
    parts = [(n, 1) for n in range(steps)] if steps <= MAX_PIECES else [(0, half), (half, steps - half)]
    found = []
    for first, count in parts:
        label = f"t{start + first}_in" if count == 1 else f"t{start + first}_to_{start + first + count - 1}"
        piece = builder.rows(label, source, first * gates, count * gates, steps * gates, units)
        found += pieces(builder, piece, start + first, count, gates, units)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """A recurrent cell.

    Attributes:
        units: size of each state.
        gates: rows of the input's part.
        states: number of states; the first is the output.
        kernel, bias: of the input, columns in the order of the rows; bias None without one.
        step: makes the nodes of one step from a label, the input's part (gates, units) and the states.
    """

    units: int
    gates: int
    states: int
    kernel: np.ndarray
    bias: np.ndarray | None
    step: Callable[[Builder, str, str, States], tuple[str, ...]]


def simple(config: Mapping[str, Any], kernel: np.ndarray, recurrent: np.ndarray, bias: Any) -> Cell:
    """``h' = act(W x + b + U h)``."""
    one = (1, config["units"])

    def step(b: Builder, t: str, x: str, states: States) -> tuple[str, ...]:
        (h,) = states
        if h is not None:
            x = b.merge(f"{t}_sum", "Add", x, b.dense(f"{t}_recurrent", "recurrent", h, one, recurrent), one)
        return (b.activation(f"{t}_h", config["activation"], x, one),)

    return Cell(units=one[1], gates=1, states=1, kernel=kernel, bias=bias, step=step)


def lstm(config: Mapping[str, Any], kernel: np.ndarray, recurrent: np.ndarray, bias: Any) -> Cell:
    """``c' = f c + i g``, ``h' = o act(c')`` (Hochreiter & Schmidhuber, 1997; gates i, f, o, then g)."""
    units = config["units"]
    one, gates = (1, units), (3, units)
    # Keras keeps i, f, g, o.
    order = np.concatenate([np.arange(units) + units * gate for gate in (0, 1, 3, 2)])
    recurrent = recurrent[:, order]

    def step(b: Builder, t: str, x: str, states: States) -> tuple[str, ...]:
        h, c = states
        if h is not None:
            z = b.dense(f"{t}_recurrent", "recurrent", h, (1, 4 * units), recurrent)
            z = b.reshape(f"{t}_gates_in", z, (4, units))
            x = b.merge(f"{t}_sum", "Add", x, z, (4, units))
        s = b.rows(f"{t}_pre", x, 0, 3, 4, units)
        s = b.activation(f"{t}_gates", config["recurrent_activation"], s, gates)
        i, f, o = (b.rows(f"{t}_{name}", s, row, 1, 3, units) for row, name in enumerate("ifo"))
        g = b.rows(f"{t}_g_pre", x, 3, 1, 4, units)
        g = b.activation(f"{t}_g", config["activation"], g, one)
        new = b.merge(f"{t}_ig", "Multiply", i, g, one)
        if c is not None:
            kept = b.merge(f"{t}_fc", "Multiply", f, c, one)
            new = b.merge(f"{t}_c", "Add", kept, new, one)
        h = b.merge(f"{t}_h", "Multiply", o, b.activation(f"{t}_c_act", config["activation"], new, one), one)
        return h, new

    bias = None if bias is None else bias[order]
    return Cell(units=units, gates=4, states=2, kernel=kernel[:, order], bias=bias, step=step)


def gru(config: Mapping[str, Any], kernel: np.ndarray, recurrent: np.ndarray, bias: Any) -> Cell:
    """``h' = g + z (h - g)``, ``g = act(W x + r (U h + d))`` or ``act(W x + U (r h))`` (Cho et al., 2014).

    The second form is ``reset_after=False``. Biases of z and r in the recurrent part join those of the
    input, with which they are added.
    """
    units, after = config["units"], config["reset_after"]
    one, two = (1, units), (2, units)
    inner = np.zeros(units, np.float32)
    if bias is not None and after:
        inner = bias[1, 2 * units :]
        bias = bias[0] + np.where(np.arange(3 * units) < 2 * units, bias[1], 0)
    inner_bias = np.concatenate([np.zeros(2 * units, np.float32), inner]) if inner.any() else None

    def candidate(b: Builder, t: str, h: str | None, r: str, rec: str | None) -> str | None:
        """What joins the input's part under the activation."""
        if h is None:
            return b.scale(f"{t}_rd", r, inner, one) if inner.any() else None
        if rec is not None:
            return b.merge(f"{t}_ru", "Multiply", r, b.rows(f"{t}_u", rec, 2, 1, 3, units), one)
        rh = b.merge(f"{t}_rh", "Multiply", r, h, one)
        return b.dense(f"{t}_candidate", "recurrent_candidate", rh, one, recurrent[:, 2 * units :])

    def step(b: Builder, t: str, x: str, states: States) -> tuple[str, ...]:
        (h,) = states
        rec = None
        zr = b.rows(f"{t}_pre", x, 0, 2, 3, units)
        if h is not None:
            count = 3 if after else 2
            weights = (recurrent, inner_bias) if after else (recurrent[:, : 2 * units], None)
            u = b.dense(f"{t}_recurrent", "recurrent", h, (1, count * units), *weights)
            u = b.reshape(f"{t}_gates_in", u, (count, units))
            zr = b.merge(f"{t}_sum", "Add", zr, b.rows(f"{t}_u_zr", u, 0, 2, count, units), two)
            rec = u if after else None
        zr = b.activation(f"{t}_gates", config["recurrent_activation"], zr, two)
        z, r = (b.rows(f"{t}_{name}", zr, row, 1, 2, units) for row, name in enumerate("zr"))
        g = b.rows(f"{t}_g_pre", x, 2, 1, 3, units)
        extra = candidate(b, t, h, r, rec)
        if extra is not None:
            g = b.merge(f"{t}_g_sum", "Add", g, extra, one)
        g = b.activation(f"{t}_g", config["activation"], g, one)
        if h is None:
            kept = b.merge(f"{t}_zg", "Multiply", z, g, one)
            return (b.merge(f"{t}_h", "Subtract", g, kept, one),)
        moved = b.merge(f"{t}_zd", "Multiply", z, b.merge(f"{t}_d", "Subtract", h, g, one), one)
        return (b.merge(f"{t}_h", "Add", g, moved, one),)

    return Cell(units=units, gates=3, states=1, kernel=kernel, bias=bias, step=step)


CELLS: Mapping[str, Callable[..., Cell]] = MappingProxyType({"SimpleRNN": simple, "LSTM": lstm, "GRU": gru})
"""Cells by the name of their layer in Keras; the cell's class is called '<name>Cell'."""
