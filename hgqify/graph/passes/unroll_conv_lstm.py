"""The steps of a convolutional LSTM as ordinary layers (Shi et al., 2015, without peepholes)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hgqify.graph.model import Node
from hgqify.graph.passes.recurrent_cells import Builder, pieces

CONV_LSTM = frozenset({"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})

MAX_STEPS = 16
"""Steps a layer is unrolled to at most; every step is some twenty layers of its own."""

_GATES = "ifgo"
"""Gates in the order of Keras' kernels."""


def why_not(shape: tuple[int, ...]) -> tuple[str, str] | None:
    """What keeps a layer on input of ``shape`` from being unrolled and what to do about it, or None."""
    if shape[0] <= MAX_STEPS:
        return None
    return (
        f"{shape[0]} steps of images are too many to stand side by side",
        f"shorten the sequence to {MAX_STEPS} steps at most",
    )


def unrolled(builder: Builder, shape: tuple[int, ...]) -> list[str]:
    """The nodes of all steps; the names of the outputs, as Keras orders them.

    ``c' = f * c + i * act(g)``, ``h' = o * act(c')``, and each gate is a convolution of the input plus one
    of h: one layer for each gate, called at every step. States of None are zero.
    """
    node = builder.node
    layer = _Layer(node, shape)
    first = node.config["data_format"] == "channels_first"
    steps, source = shape[0], node.inputs[0]
    size = math.prod(shape[1:])
    if first:
        axes = range(len(shape))
        source = _permute(builder, "last", source, shape, (0, *axes[2:], 1))
    flat = builder.reshape("flat", source, (steps, size))
    given = pieces(builder, flat, 0, steps, 1, size)
    state = (None, None) if len(node.inputs) == 1 else _start(builder, layer, first)
    h: str | None
    c: str | None
    h, c = state
    found = []
    for t in reversed(range(steps)) if node.config["go_backwards"] else range(steps):
        x = builder.reshape(f"t{t}_image", given[t], layer.given)
        h, c = layer.step(builder, f"t{t}", x, h, c)
        found.append(h)
    values = [_sequence(builder, found, layer.state) if node.config["return_sequences"] else found[-1]]
    if node.config["return_state"]:
        values += [h or "", c or ""]
    if not first:
        return values
    sequences = [node.config["return_sequences"], False, False]
    return [
        _first(builder, f"first{n}", name, (steps, *layer.state) if many else layer.state, int(many))
        for n, (name, many) in enumerate(zip(values, sequences, strict=False))
    ]


class _Layer:
    """Shapes, kernels and settings, channels last."""

    def __init__(self, node: Node, shape: tuple[int, ...]) -> None:
        config = node.config
        self.config: Mapping[str, Any] = config
        self.rank = len(shape) - 2
        self.filters = config["filters"]
        first = config["data_format"] == "channels_first"
        self.given = (*shape[2:], shape[1]) if first else shape[1:]
        out = node.shape[1:] if config["return_sequences"] else node.shape
        self.state = (*out[1:], out[0]) if first else tuple(out)
        self.weights = node.weights

    def _conv(self, b: Builder, t: str, gate: int, key: str, source: str) -> str:
        own = slice(gate * self.filters, (gate + 1) * self.filters)
        recurrent = key == "recurrent_kernel"
        weights = {"kernel": self.weights[key][..., own]}
        if not recurrent and "bias" in self.weights:
            weights["bias"] = self.weights["bias"][own]
        ones = (1,) * self.rank
        config = {
            "filters": self.filters,
            "kernel_size": weights["kernel"].shape[: self.rank],
            "strides": ones if recurrent else self.config["strides"],
            "padding": "same" if recurrent else self.config["padding"],
            "data_format": "channels_last",
            "dilation_rate": ones if recurrent else self.config["dilation_rate"],
            "groups": 1,
            "use_bias": "bias" in weights,
            "activation": "linear",
        }
        part = f"{'recurrent' if recurrent else 'input'}_{_GATES[gate]}"
        return b.weighted(f"{t}_{part}", part, f"Conv{self.rank}D", config, source, self.state, weights)

    def _gate(self, b: Builder, t: str, gate: int, x: str, h: str | None) -> str:
        name = _GATES[gate]
        value = self._conv(b, t, gate, "kernel", x)
        if h is not None:
            recurrent = self._conv(b, t, gate, "recurrent_kernel", h)
            value = b.merge(f"{t}_{name}_sum", "Add", value, recurrent, self.state)
        function = self.config["activation" if name == "g" else "recurrent_activation"]
        return b.activation(f"{t}_{name}", function, value, self.state)

    def step(self, b: Builder, t: str, x: str, h: str | None, c: str | None) -> tuple[str, str]:
        i, g, o = (self._gate(b, t, gate, x, h) for gate in (0, 2, 3))
        new = b.merge(f"{t}_ig", "Multiply", i, g, self.state)
        if c is not None:
            kept = b.merge(f"{t}_fc", "Multiply", self._gate(b, t, 1, x, h), c, self.state)
            new = b.merge(f"{t}_c", "Add", kept, new, self.state)
        active = b.activation(f"{t}_c_act", self.config["activation"], new, self.state)
        return b.merge(f"{t}_h", "Multiply", o, active, self.state), new


def _start(builder: Builder, layer: _Layer, first: bool) -> tuple[str, str]:
    h, c = builder.node.inputs[1:]
    if not first:
        return h, c
    given = (layer.state[-1], *layer.state[:-1])
    axes = range(len(given))
    order = (*axes[1:], 0)
    return _permute(builder, "start_h", h, given, order), _permute(builder, "start_c", c, given, order)


def _sequence(builder: Builder, values: list[str], shape: tuple[int, ...]) -> str:
    rows = [builder.reshape(f"row{n}", name, (1, *shape)) for n, name in enumerate(values)]
    if len(rows) == 1:
        return rows[0]
    return builder.add("sequence", "Concatenate", {"axis": 1}, tuple(rows), (len(rows), *shape))


def _permute(
    builder: Builder, label: str, source: str, shape: tuple[int, ...], order: tuple[int, ...]
) -> str:
    dims = tuple(axis + 1 for axis in order)
    return builder.add(label, "Permute", {"dims": dims}, (source,), tuple(shape[axis] for axis in order))


def _first(builder: Builder, label: str, source: str, shape: tuple[int, ...], leading: int) -> str:
    """Channels behind the ``leading`` axes."""
    axes = tuple(range(len(shape)))
    return _permute(builder, label, source, shape, (*axes[:leading], axes[-1], *axes[leading:-1]))
