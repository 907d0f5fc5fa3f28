"""Checking models that stay float in places: each exact part for itself, and the part that was exported."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import keras
import numpy as np

from hgqify import float64 as double
from hgqify.cutting import Arrays, Taps, cut_model
from hgqify.errors import ExportError
from hgqify.export import (
    Comparison,
    Computation,
    CSimulation,
    compare,
    compare_programs,
    locate_keras,
    random_batches,
)
from hgqify.precision import Part, Program, exact_parts, from_npz, ops
from hgqify.precision.parts import part_of
from hgqify.reference import Interpreter

Told = Callable[[int], None]


class PartChecks:
    """Keras against the reference, part by part.

    On data, a part is given what the float layers before it gave in one run of the whole Keras model, and
    what the model's layers made of it in that same run is compared. On random inputs, what enters the part
    is random, whatever the float layers could give.

    Args:
        model: loaded, with layers that stay in float.
        program: its integers.
        float64: evaluate Keras' exact parts in float64; float layers stay as they are.
        stack: closes what is opened here.
    """

    def __init__(
        self, model: keras.Model, program: Program, *, float64: bool, stack: contextlib.ExitStack
    ) -> None:
        self._program = program
        self._float64 = float64
        self._taps = Taps(model, program)
        self._parts = exact_parts(program)
        self._models = [
            cut_model(model, program, part.program.inputs, part.program.outputs) for part in self._parts
        ]
        if float64:
            self._models = [stack.enter_context(double.evaluating(cut)) for cut in self._models]

    @property
    def notes(self) -> list[str]:
        """What stays in float, and which part is what."""
        kept = ", ".join(map(str, self._program.kept))
        told = [f"{kept} in float: computed by Keras, compared with nothing; what lies between is exact"]
        for number, part in enumerate(self._parts):
            layers = [self._program.by_name[name].layer for name in part.entries]
            ends = dict.fromkeys(self._program.by_name[name].layer for name in part.exits)
            count = sum(not isinstance(node.op, ops.Input) for node in part.program.nodes)
            text = f"{', '.join(layers)} to {', '.join(ends)}, {count} operations"
            told.append(f"{self._name(number)}: {text}")
        return told

    def _name(self, number: int) -> str:
        return f"part {number + 1} of {len(self._parts)}"

    def on_data(self, batches: Callable[[], Iterable[Arrays]], name: str, told: Told) -> list[Comparison]:
        """Compare on model inputs."""
        found: list[Comparison] = []
        for number, (part, cut) in enumerate(zip(self._parts, self._models, strict=True)):
            what = f"Keras, {self._name(number)}"
            run = _Run(self._taps, self._program, part)
            given = run.batches(batches())
            if self._float64:
                model = {"model": cut, "model_name": f"Keras in float64, {self._name(number)}"}
                found += compare(part.program, given, name=name, progress=told, **model)
                continue
            recorded = Computation(
                what=what, run=run.outputs, locate=partial(locate_keras, part.program, cut)
            )
            found += compare(part.program, given, name=name, others=[recorded], progress=told)
        return found

    def on_random(self, samples: int, *, batch: int, seed: int, told: Told) -> list[Comparison]:
        """Compare on random inputs of every part."""
        found: list[Comparison] = []
        keras_name = "Keras in float64" if self._float64 else "Keras"
        for number, (part, cut) in enumerate(zip(self._parts, self._models, strict=True)):
            found += compare(
                part.program,
                random_batches(part.program, samples, batch=batch, seed=seed),
                name="random inputs",
                model=cut,
                model_name=f"{keras_name}, {self._name(number)}",
                progress=told,
            )
        return found

    def program_inputs(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Inputs of the whole program, on model inputs."""
        return self._taps.inputs(batches)


class _Run:
    """One part's share of runs of the whole model."""

    def __init__(self, taps: Taps, program: Program, part: Part) -> None:
        self._taps = taps
        self._inputs = [program.inputs.index(name) for name in part.program.inputs]
        self._outputs = [program.outputs.index(name) for name in part.program.outputs]
        self._last: list[np.ndarray] = []

    def batches(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Its inputs, batch by batch."""
        for batch in batches:
            inputs, outputs = self._taps(batch)
            self._last = [outputs[n] for n in self._outputs]
            yield [inputs[n] for n in self._inputs]

    def outputs(self, inputs: Arrays) -> Arrays:
        """What the model gave for the batch that came last."""
        return self._last


class ExportedPart:
    """The part of a program that a result's project is.

    Args:
        path: of the part's own program.
        program: of the whole model.

    Raises:
        ExportError: they do not belong together.
    """

    def __init__(self, path: Path, program: Program) -> None:
        self._program = program
        self.stored = from_npz(path)
        known = program.by_name
        names = {
            node.name
            for node in self.stored.nodes
            if node.name in known and not isinstance(node.op, ops.Input) and {*node.inputs} <= {*known}
        }
        part = part_of(program, names)
        if part is None or part.program.inputs != self.stored.inputs:
            raise ExportError(
                f"{path.name} is no part of the program beside it",
                where=str(path),
                received=f"inputs {', '.join(self.stored.inputs)}",
                remedy="convert the model again, or export the part again",
            )
        self._part = part

    def compare_integers(self, against: str, what: str) -> Comparison:
        """Its integers with those of the whole."""
        return compare_programs(self._part.program, self.stored, what=what, against=against)

    def batches(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """What enters the part, for batches of inputs of the whole program; computed by the reference."""
        sources = [self._part.entries[name] for name in self.stored.inputs]
        computed = [name for name in sources if name not in self._program.inputs]
        interpreter = Interpreter(self._program, computed)
        for batch in batches:
            values = dict(zip(self._program.inputs, batch, strict=True))
            if computed:
                kept = interpreter(batch).kept
                values |= {name: kept[name].values.astype(np.float32) for name in computed}
            yield [values[name] for name in sources]

    def compare(
        self, batches: Iterable[Arrays], simulation: CSimulation, *, name: str, told: Told
    ) -> tuple[Comparison, ...]:
        """C simulation with the reference, on what enters the part."""
        return compare(
            self.stored, batches, name=f"{name}, exported part", simulation=simulation, progress=told
        )
