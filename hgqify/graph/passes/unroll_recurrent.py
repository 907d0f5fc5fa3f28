"""Unroll recurrent layers: their steps become ordinary layers, with one shared layer for each weight."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from hgqify.graph.model import SELECT, Graph, Node, Ref
from hgqify.graph.passes.base import Pass, PassResult
from hgqify.graph.passes.recurrent_cells import CELLS, Builder, Cell, States, pieces
from hgqify.graph.passes.unroll_conv_lstm import CONV_LSTM, unrolled
from hgqify.graph.passes.unroll_conv_lstm import why_not as why_no_images

MAX_STEPS = 64
"""Steps a layer is unrolled to at most; every step is some ten layers of its own."""

MAX_STATE = 4096
"""Steps times units at most: so many values of the states stand side by side in hardware."""

_RECURRENT = frozenset({*CELLS, "RNN", "Bidirectional", *CONV_LSTM})


class UnrollRecurrent(Pass):
    """SimpleRNN, LSTM, GRU, RNN over their cells, Bidirectional, ConvLSTM -> ordinary layers, step by step.

    The part of the input is one Dense over the whole sequence. A state that starts at zero costs nothing
    in the first step.
    """

    name = "unroll-recurrent"

    def run(self, graph: Graph) -> PassResult:
        """Unroll every layer for which `why_not_unrolled` has nothing to say."""
        replacements: dict[str, tuple[Node, ...]] = {}
        redirect: dict[str, str] = {}
        events = []
        for node in graph:
            if node.kind not in _RECURRENT:
                continue
            given = graph[node.inputs[0]].shape
            if why_not_unrolled(node, given):
                continue
            builder = Builder(node)
            outputs = (unrolled if node.kind in CONV_LSTM else _unrolled)(builder, given)
            found = {node.name: outputs[0]}
            if node.outputs > 1:
                selected = [each for each in graph.consumers(node.name) if each.kind == SELECT]
                found = {each.name: outputs[each.config["index"]] for each in selected}
                replacements |= dict.fromkeys(found, ())
            redirect |= found
            read = {found[name] for name in found if graph.consumers(name) or name in graph.outputs}
            replacements[node.name] = _needed(builder.nodes, read)
            events.append(self.event(node, "lowered", f"unrolled, {given[0]} steps"))
        return self.result(graph, replacements, redirect, events)


def why_not_unrolled(node: Node, shape: tuple[int, ...]) -> tuple[str, str] | None:
    """What keeps a recurrent layer from being unrolled and what to do about it, or None.

    Args:
        node: of a recurrent kind.
        shape: of its first input.
    """
    parts = [part.config for part in _directions(node)]
    if any(config.get("stateful") for config in parts):
        return "a state that lasts from call to call has no fixed start", "set stateful=False"
    if "mask" in (node.call.kwargs if node.call else {}):
        return "masks are not supported", "call it without a mask: firmware works on full sequences"
    if not _readable(node):
        return (
            "it is called with other arguments than a sequence and states",
            "call it as layer(x) or layer(x, initial_state=[...]) with tensors",
        )
    if node.kind in CONV_LSTM:
        return why_no_images(shape)
    names = {_name(cell) for part in _directions(node) for cell in _cells(part)}
    if not names <= CELLS.keys():
        return (
            f"no steps are known for {', '.join(sorted(names - CELLS.keys()))}",
            f"use cells of {', '.join(sorted(CELLS))}",
        )
    units = sum(cell["config"]["units"] for part in parts for cell in _cells_of(part))
    if shape[0] > MAX_STEPS or shape[0] * units > MAX_STATE:
        return (
            f"{shape[0]} steps of {units} units are too many to stand side by side",
            f"shorten the sequence to {MAX_STEPS} steps and {MAX_STATE} values of states at most, "
            "by pooling or strides before it",
        )
    return None


@dataclasses.dataclass(frozen=True)
class _Direction:
    """One recurrent layer: kind and config."""

    kind: str
    config: Mapping[str, Any]


def _directions(node: Node) -> list[_Direction]:
    if node.kind != "Bidirectional":
        return [_Direction(node.kind, node.config)]
    parts = (node.config["layer"], node.config["backward_layer"])
    return [_Direction(part["class_name"], part["config"]) for part in parts]


def _cells(part: _Direction) -> list[Mapping[str, Any]]:
    """Class name and config of the cells, one behind the other."""
    if part.kind != "RNN":
        return [{"class_name": part.kind, "config": part.config}]
    return _cells_of(part.config)


def _cells_of(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    cell = config.get("cell")
    if cell is None:
        return [{"class_name": "", "config": config}]
    return cell["config"]["cells"] if cell["class_name"] == "StackedRNNCells" else [cell]


def _name(cell: Mapping[str, Any]) -> str:
    """Key in `CELLS`; a custom class keeps its own name."""
    module = cell.get("module", "keras.layers")
    return cell["class_name"].removesuffix("Cell") if module == "keras.layers" else cell["class_name"]


def _readable(node: Node) -> bool:
    """Whether the call is layer(x) or layer(x, initial_state=tensors)."""
    if node.call is None:
        return len(node.inputs) == 1
    given = [*node.call.args[1:], *node.call.kwargs.values()]
    refs = keras.tree.flatten(given)
    keys = set(node.call.kwargs) - {"initial_state", "sequences", "sequence"}
    return not keys and all(isinstance(ref, Ref) for ref in refs)


def _unrolled(builder: Builder, shape: tuple[int, ...]) -> list[str]:
    """The nodes of all steps; the names of the outputs, as Keras orders them."""
    node = builder.node
    parts = _directions(node)
    taken: Counter[str] = Counter()
    cells = [[_cell(node, cell, taken) for cell in _cells(part)] for part in parts]
    states = list(_initial(builder, cells))
    results = []
    for part, own, start, prefix in zip(parts, cells, states, ("forward_", "backward_"), strict=False):
        builder.prefix = prefix if len(parts) > 1 else ""
        results.append(_steps(builder, own, start, shape, backwards=part.config["go_backwards"]))
    builder.prefix = ""
    sequences, config = parts[0].config["return_sequences"], parts[0].config
    values = []
    for number, (outputs, _) in enumerate(results):
        if sequences:
            outputs = outputs[::-1] if number else outputs
            values.append(_stacked(builder, f"sequence{number or ''}", outputs, cells[number][-1].units))
        else:
            units = cells[number][-1].units
            values.append(builder.reshape(f"last{number or ''}", outputs[-1], (units,)))
    if node.kind == "Bidirectional":
        values = _merged(builder, node.config["merge_mode"], values, cells[0][-1].units, shape[0], sequences)
    if config["return_state"]:
        for number, (_, final) in enumerate(results):
            sizes = [cell.units for cell in cells[number] for _ in range(cell.states)]
            for index, (name, size) in enumerate(zip(final, sizes, strict=True)):
                values.append(builder.reshape(f"state{number or ''}_{index}", name, (size,)))
    return values


def _needed(nodes: list[Node], outputs: set[str]) -> tuple[Node, ...]:
    """Those of the nodes that some output is computed from."""
    needed = set(outputs)
    for node in reversed(nodes):
        if node.name in needed:
            needed |= set(node.inputs)
    return tuple(node for node in nodes if node.name in needed)


def _cell(node: Node, cell: Mapping[str, Any], taken: Counter[str]) -> Cell:
    """The next cell, with the weights that are its own; repeated names carry a number."""

    def weight(name: str) -> np.ndarray:
        taken[name] += 1
        return node.weights[name if taken[name] == 1 else f"{name}@{taken[name]}"]

    config = cell["config"]
    kernel, recurrent = weight("kernel"), weight("recurrent_kernel")
    bias = weight("bias") if config["use_bias"] else None
    return CELLS[_name(cell)](config, kernel, recurrent, bias)


def _initial(builder: Builder, cells: list[list[Cell]]) -> Iterator[list[str | None]]:
    """The first states of each direction, one after the other for all its cells."""
    given = iter(builder.node.inputs[1:])
    whole = len(builder.node.inputs) > 1
    for number, own in enumerate(cells):
        sizes = [cell.units for cell in own for _ in range(cell.states)]
        if not whole:
            yield [None] * len(sizes)
            continue
        yield [
            builder.reshape(f"start{number or ''}_{index}", next(given), (1, size))
            for index, size in enumerate(sizes)
        ]


def _steps(
    builder: Builder, cells: list[Cell], start: list[str | None], shape: tuple[int, ...], *, backwards: bool
) -> tuple[list[str], list[str]]:
    """The outputs in the order they are computed, and the last states."""
    steps, first = shape[0], cells[0]
    x = builder.node.inputs[0]
    wide = (steps, first.gates * first.units)
    x = builder.dense("input", "input", x, wide, first.kernel, first.bias)
    x = builder.reshape("gates", x, (steps * first.gates, first.units)) if first.gates > 1 else x
    states: list[States] = []
    for cell in cells:
        states.append(tuple(start[: cell.states]))
        start = start[cell.states :]
    outputs = []
    prefix = builder.prefix
    given = pieces(builder, x, 0, steps, first.gates, first.units)
    for t in reversed(range(steps)) if backwards else range(steps):
        value = given[t]
        for number, cell in enumerate(cells):
            builder.prefix = f"{prefix}cell{number}_" if len(cells) > 1 else prefix
            if number:
                wide = (1, cell.gates * cell.units)
                value = builder.dense(f"t{t}_input", "input", value, wide, cell.kernel, cell.bias)
                value = builder.reshape(f"t{t}_in", value, (cell.gates, cell.units))
            states[number] = cell.step(builder, f"t{t}", value, states[number])
            value = states[number][0] or ""
        builder.prefix = prefix
        outputs.append(value)
    return outputs, [name for own in states for name in own if name is not None]


def _stacked(builder: Builder, label: str, outputs: list[str], units: int) -> str:
    if len(outputs) == 1:
        return outputs[0]
    return builder.add(label, "Concatenate", {"axis": 1}, tuple(outputs), (len(outputs), units))


def _merged(
    builder: Builder, mode: str | None, values: list[str], units: int, steps: int, sequences: bool
) -> list[str]:
    shape = (steps, units) if sequences else (units,)
    if mode is None:
        return values
    if mode == "concat":
        wide = (*shape[:-1], 2 * units)
        return [builder.add("merge", "Concatenate", {"axis": -1}, tuple(values), wide)]
    kind = {"sum": "Add", "mul": "Multiply", "ave": "Average"}[mode]
    return [builder.add("merge", kind, {}, tuple(values), shape)]
