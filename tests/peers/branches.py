"""Many small models side by side: one Keras model, one program, one C++ build per interface.

Compiling is what costs time, so the branches of a test file share it. A branch has inputs of its own, so
nothing of one reaches another; what an interface refuses is found branch by branch, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from tiny_zoo import tiny_models

from hgqify.calibrate import calibrate
from hgqify.calling import predict
from hgqify.convert import convert
from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, compile_project, random_inputs, refuse_unprintable, write_project
from hgqify.graph import read
from hgqify.layers import refresh
from hgqify.opening import open_for
from hgqify.precision import Program, lower
from hgqify.progress import no_progress
from hgqify.reference import run

SAMPLES = 200
CALIBRATED = 64
IO_TYPES = ("io_parallel", "io_stream")

Branch = Callable[[], tuple[list[keras.KerasTensor], list[keras.KerasTensor]]]
"""Makes the inputs and the outputs of one small model."""


def conf(
    k: int, i: int, f: int, overflow: str = "SAT", rounding: str = "RND", **options: object
) -> dict[str, object]:
    """Settings of a quantizer with one fixed format."""
    shared = {} if "heterogeneous_axis" in options else {"heterogeneous_axis": ()}
    return {
        "q_type": "kif",
        "k0": k,
        "i0": i,
        "f0": f,
        "overflow_mode": overflow,
        "round_mode": rounding,
        **shared,
        **options,
    }


def restrict(program: Program, outputs: Sequence[str]) -> Program:
    """The part of a program that some of its outputs need."""
    needed = set(outputs)
    for node in reversed(program.nodes):
        if node.name in needed:
            needed |= set(node.inputs)
    return replace(
        program,
        nodes=tuple(node for node in program.nodes if node.name in needed),
        inputs=tuple(name for name in program.inputs if name in needed),
        outputs=tuple(outputs),
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one branch.

    Attributes:
        codes: compared.
        differing: of them.
        refused: the error's text, empty if there was none.
        moving: outputs that take at least three values: a comparison of constants would prove nothing.
        outputs: how many the branch has.
    """

    codes: int = 0
    differing: int = 0
    refused: str = ""
    moving: int = 0
    outputs: int = 0

    @property
    def exact(self) -> bool:
        """Compared, on values that move, and equal."""
        return self.codes > 0 and self.differing == 0 and self.moving == self.outputs > 0

    def __str__(self) -> str:
        if self.refused:
            return self.refused.splitlines()[-1].strip()
        return f"{self.differing} of {self.codes} codes differ"


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined:
    """Branches as one model of quantized layers.

    Attributes:
        model: all branches.
        program: lowered from it.
        places: for every branch, the positions of its outputs.
        kinds: of the nodes that were converted; empty for branches of quantized layers.
    """

    model: keras.Model
    program: Program
    places: Mapping[str, tuple[int, ...]]
    kinds: frozenset[str] = frozenset()

    def part(self, name: str) -> Program:
        """The program of one branch."""
        return restrict(self.program, [self.program.outputs[n] for n in self.places[name]])

    def keras(self) -> dict[str, Outcome]:
        """Keras against the reference, by branch."""
        inputs = random_inputs(self.program, SAMPLES)
        return self._compare(self.program, self.places, inputs, predict(self.model, inputs))

    def simulate(self, folder: Path) -> dict[str, dict[str, Outcome]]:
        """C simulation against the reference, by interface and branch; one project an interface."""
        written = {io_type: self._write(folder / io_type, io_type) for io_type in IO_TYPES}
        # The compiler is a process of its own: both builds at once.
        with ThreadPoolExecutor() as pool:
            builds = {
                io_type: pool.submit(compile_project, folder / io_type, optimization="-O0")
                for io_type in IO_TYPES
            }
        found = {}
        for io_type, (program, kept, refused) in written.items():
            inputs = random_inputs(program, SAMPLES)
            with builds[io_type].result() as simulation:
                compared = self._compare(program, kept, inputs, simulation.run(inputs))
            found[io_type] = compared | {name: Outcome(refused=text) for name, text in refused.items()}
        return found

    def _write(
        self, folder: Path, io_type: str
    ) -> tuple[Program, dict[str, tuple[int, ...]], dict[str, str]]:
        """A project of all branches that can be printed, where their outputs stand, and why others cannot."""
        options = ProjectOptions(io_type=io_type)
        kept: dict[str, tuple[int, ...]] = {}
        refused: dict[str, str] = {}
        outputs: list[str] = []
        for name, places in self.places.items():
            try:
                refuse_unprintable(self.part(name), options)
            except ExportError as error:
                refused[name] = str(error)
                continue
            kept[name] = tuple(range(len(outputs), len(outputs) + len(places)))
            outputs += [self.program.outputs[n] for n in places]
        program = restrict(self.program, outputs)
        write_project(program, folder, options)
        return program, kept, refused

    @staticmethod
    def _compare(
        program: Program,
        places: Mapping[str, tuple[int, ...]],
        inputs: Sequence[np.ndarray],
        found: Sequence[np.ndarray],
    ) -> dict[str, Outcome]:
        expected = run(program, list(inputs)).values
        result = {}
        for name, own in places.items():
            pairs = [(expected[n], np.asarray(found[n], np.float64).reshape(expected[n].shape)) for n in own]
            result[name] = Outcome(
                codes=sum(a.size for a, _ in pairs),
                differing=sum(int(np.sum(a != b)) for a, b in pairs),
                moving=sum(len(np.unique(a)) > 2 for a, _ in pairs),
                outputs=len(pairs),
            )
        return result


def assemble(branches: Mapping[str, Branch]) -> tuple[keras.Model, dict[str, tuple[int, ...]]]:
    """One model of all branches, and where the outputs of each stand."""
    inputs: list[keras.KerasTensor] = []
    outputs: list[keras.KerasTensor] = []
    places: dict[str, tuple[int, ...]] = {}
    for name, make in branches.items():
        own, results = make()
        inputs += own
        places[name] = tuple(range(len(outputs), len(outputs) + len(results)))
        outputs += results
    return keras.Model(inputs, outputs, name="peers"), places


def join(branches: Mapping[str, Branch], seed: int = 0) -> Joined:
    """Branches of quantized layers with random kernels and biases, lowered."""
    keras.utils.set_random_seed(seed)
    model, places = assemble(branches)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.path.split("/")[-1] in ("kernel", "bias"):
            variable.assign(rng.normal(size=variable.shape) * 0.7)
    refresh(model)
    return Joined(model=model, program=lower(model), places=places)


def convert_joined(branches: Mapping[str, Branch], seed: int = 1) -> Joined:
    """Float branches with random weights, converted and calibrated as `hgqify.convert` does, and lowered."""
    keras.utils.set_random_seed(seed)
    model, places = assemble(branches)
    tiny_models.randomize(model, seed)
    conversion = convert(read(model))
    source = open_for(model, tiny_models.inputs(model, CALIBRATED, seed=seed))
    calibrate(conversion.model, conversion.probe, conversion.sites, source, progress=no_progress)
    kinds = frozenset(node.kind for node in conversion.graph)
    return Joined(model=conversion.model, program=lower(conversion.model), places=places, kinds=kinds)
