"""Keras, the integer reference and C simulation on the same inputs, and where they part if they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hgqify.calling import predict
from hgqify.export.compare import Comparison, Place, Tally, first_difference
from hgqify.export.csim import CSimulation
from hgqify.export.plan import prepare
from hgqify.precision import ops, requests
from hgqify.precision.program import Program
from hgqify.precision.request import visible
from hgqify.reference import Interpreter, run

Inputs = Sequence[np.ndarray]
Progress = Callable[[int], None]
Run = Callable[[Inputs], Inputs]
Locate = Callable[[Inputs], "Place | None"]


@dataclass(frozen=True, kw_only=True)
class Computation:
    """Something that must give the reference's codes.

    Attributes:
        what: its name, for the report.
        run: inputs, one array (samples, *shape) per model input, to outputs in the program's order.
        locate: the first inner place in which one sample differs; None where only the outputs are known.
    """

    what: str
    run: Run
    locate: Locate | None = None


def keras_computation(program: Program, model: Any, what: str) -> Computation:
    """A Keras model of Q layers; its outputs in flat order are the program's."""
    return Computation(what=what, run=KerasRun(model), locate=partial(locate_keras, program, model))


def csim_computation(program: Program, simulation: CSimulation) -> Computation:
    """A compiled project."""
    return Computation(
        what="C simulation", run=simulation.run, locate=partial(locate_csim, program, simulation)
    )


class KerasRun:
    """Runs a Keras model on batches that are filled up to the largest one so far.

    Keras compiles a program for every batch size: the last, smaller batch would cost another compilation.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rows = 0

    def __call__(self, inputs: Inputs) -> Inputs:
        count = len(inputs[0])
        self._rows = max(self._rows, count)
        missing = self._rows - count
        if missing and count:
            inputs = [np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) for x in inputs]
        return [y[:count] for y in predict(self._model, inputs)]


def compare(
    program: Program,
    batches: Iterable[Inputs],
    *,
    name: str,
    model: Any | None = None,
    model_name: str = "Keras",
    simulation: CSimulation | None = None,
    others: Sequence[Computation] = (),
    progress: Progress | None = None,
) -> tuple[Comparison, ...]:
    """Compare a Keras model, a C simulation and whatever else with the reference, batch by batch.

    Args:
        program: annotated fixed program: the reference.
        batches: inputs, one array (samples, *shape) per model input, float32.
        name: what the inputs are, for the report.
        model: Keras model of Q layers; its outputs in flat order are the program's.
        model_name: what the report calls it.
        simulation: compiled project.
        others: further computations.
        progress: told the number of samples so far, after every batch.

    Returns:
        One comparison for the model, one for the simulation, those that were given, and one for each other.
    """
    interpreter = Interpreter(program)
    computations = [
        *([] if model is None else [keras_computation(program, model, model_name)]),
        *([] if simulation is None else [csim_computation(program, simulation)]),
        *others,
    ]
    tallies = [Tally(what=computation.what) for computation in computations]
    seen = 0
    for batch in batches:
        arrays = [np.asarray(x, np.float32) for x in batch]
        expected = [o.values for o in interpreter(arrays).outputs]
        for tally, computation in zip(tallies, computations, strict=True):
            found = computation.run(arrays)
            bad = [tally.add(a, b) for a, b in zip(expected, found, strict=True)]
            tally.samples += len(arrays[0])
            if tally.place is None and any(len(b) for b in bad):
                sample = int(min(b[0] for b in bad if len(b)))
                one = [x[sample : sample + 1] for x in arrays]
                place = None if computation.locate is None else computation.locate(one)
                tally.place = _moved(place or _at_output(program, expected, found, sample), seen + sample)
        seen += len(arrays[0])
        if progress is not None:
            progress(seen)
    return tuple(
        Comparison(
            what=t.what, inputs=name, samples=t.samples, codes=t.codes, differing=t.differing, place=t.place
        )
        for t in tallies
    )


def _moved(place: Place, sample: int) -> Place:
    return Place(**{**place.__dict__, "sample": sample})


def _at_output(program: Program, expected: Inputs, found: Inputs, sample: int) -> Place:
    """The first output that differs, where no inner tensor tells more."""
    for name, a, b in zip(program.outputs, expected, found, strict=True):
        node = program.by_name[name]
        frac = node.info.frac if node.info is not None else 0
        b = np.asarray(b).reshape(a.shape)
        place = first_difference(
            a[sample : sample + 1], b[sample : sample + 1], frac, layer=node.layer, node=name
        )
        if place is not None:
            return place
    raise ValueError("no difference in this sample")


def _kept(program: Program, names: Sequence[str], one: Inputs) -> Any:
    return run(program, list(one), keep=list(dict.fromkeys(names))).kept


def locate_keras(program: Program, model: Any, one: Inputs) -> Place | None:
    """The first layer whose Keras output differs from the program, for one sample."""
    import keras

    tensors = {}
    for layer in model.layers:
        # Of a layer called several times this is the first call's; so is the node of the same name.
        output = getattr(layer, "output", None)
        if isinstance(output, keras.KerasTensor):
            tensors[layer.name] = output
    last = {node.layer: node for node in program.nodes if not isinstance(node.op, ops.Input)}
    compared = [(node, tensors[layer]) for layer, node in last.items() if layer in tensors]
    if not compared:
        return None
    probe = keras.Model(model.inputs, [tensor for _, tensor in compared])
    values = predict(probe, one)
    kept = _kept(program, [node.name for node, _ in compared], one)
    for (node, _), found in zip(compared, values, strict=True):
        codes = kept[node.name]
        place = first_difference(codes.values, found, codes.frac, layer=node.layer, node=node.name)
        if place is not None:
            return place
    return None


def locate_csim(program: Program, simulation: CSimulation, one: Inputs) -> Place | None:
    """The first hls4ml layer whose traced output differs from the program, for one sample.

    The firmware stores no bits that nobody sees, so only those that are seen are compared.
    """
    printed = prepare(program)
    seen = requests(printed)
    nodes = simulation.layout.nodes
    names = [n for n in simulation.layout.traced if n in nodes and nodes[n] in printed.by_name]
    (traced,) = simulation.trace(one)
    kept = _kept(printed, [nodes[n] for n in names], one)
    order = {node.name: position for position, node in enumerate(printed.nodes)}
    for name in sorted(names, key=lambda n: order[nodes[n]]):
        node = printed.by_name[nodes[name]]
        codes = kept[node.name]
        expected, found = (
            visible(values.reshape(codes.codes.shape), seen[node.name], codes.frac)
            for values in (codes.values, traced[name])
        )
        place = first_difference(expected, found, codes.frac, layer=node.layer, node=node.name)
        if place is not None:
            return place
    return None
