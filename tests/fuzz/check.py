"""What must hold of every network and every fixed program, and what is counted on the way."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import keras
import numpy as np
import program_oracle as oracle
from autodiff import numpy
from batch_csim import simulate_each
from build import build
from description import Network
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hgqify.calling import structured
from hgqify.errors import ExportError, PrecisionError
from hgqify.export import ProjectOptions, random_inputs, refuse_unprintable
from hgqify.export.hoist import hoist_quantizers
from hgqify.precision import Node, Program, certify, lower
from hgqify.precision.ops import Input
from hgqify.reference import run
from hgqify.reference.run import Codes

IO_TYPES = ("io_parallel", "io_stream")
SAMPLES = 16


@dataclass
class Tally:
    """Counts of one run.

    Attributes:
        counts: how many of what.
        refused: how many by reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        lines = [f"{number:>10,}  {what}" for what, number in sorted(self.counts.items())]
        lines += [f"{number:>10,}  refused: {why}" for why, number in self.refused.most_common()]
        return "\n".join(lines)


def reason(error: Exception) -> str:
    """The first complaint of an error, without what differs from network to network."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = lines[1] if len(lines) > 1 else lines[0]
    return text.split("; received:")[0].split(" (received")[0].split(": ", 1)[-1][:90]


def stimuli(program: Program, number: int) -> tuple[np.ndarray, ...]:
    """In range, on codes and between, on edges, outside; then very far outside, and zeros of both signs."""
    rng = np.random.default_rng(number)
    found = []
    for x in random_inputs(program, SAMPLES, seed=number):
        far = rng.uniform(-1, 1, (3, *x.shape[1:])) * np.reshape([1e4, 1e9, 1e30], (3, *(1,) * (x.ndim - 1)))
        zeros = np.where(rng.random((1, *x.shape[1:])) < 0.5, 0.0, -0.0)
        found.append(np.concatenate([x, far, zeros]).astype(np.float32))
    return tuple(found)


def check_network(network: Network, tally: Tally) -> Program | None:
    """Keras = reference wherever float32 is proved, and all that `check_program` holds.

    Returns:
        The program; None if the network was refused.
    """
    model = build(network)
    try:
        program = lower(model)
    except PrecisionError as error:
        tally.counts["networks refused by lowering"] += 1
        tally.refused[f"lowering: {reason(error)}"] += 1
        return None
    inputs = stimuli(program, network.seed)
    result = check_program(program, inputs, tally, slow=network.seed % 16 == 0)
    unproved = {entry.name for entry in certify(program).open}
    found = _predict(model, inputs, compiled=network.seed % 8 == 1)
    for name, codes, output in zip(program.outputs, result, found, strict=True):
        if unproved & ancestors(program, name):
            tally.counts["outputs without float32 proof"] += 1
            continue
        expected = codes.values
        np.testing.assert_array_equal(output.reshape(expected.shape), expected, err_msg=name)
        tally.counts["codes compared, Keras = reference"] += expected.size
    tally.counts["networks, Keras = reference"] += 1
    tally.counts["networks wholly proved in float32"] += not unproved
    tally.counts["layers"] += len(network.steps)
    return program


def check_program(
    program: Program, inputs: Sequence[np.ndarray], tally: Tally, *, slow: bool
) -> tuple[Codes, ...]:
    """Bounds hold, moving quantizers changes nothing, rationals agree, the exporter prints or refuses.

    Args:
        program: annotated.
        inputs: float32 samples.
        tally: counts.
        slow: compare every tensor with exact rationals; done anyway where float32 is not proved.

    Returns:
        The outputs by the reference.
    """
    result = run(program, list(inputs), keep=[n.name for n in program.nodes if not isinstance(n.op, Input)])
    for name, codes in result.kept.items():
        _check_bounds(program.by_name[name], codes.codes, codes.frac)
    for a, b in zip(result.outputs, run(hoist_quantizers(program), list(inputs)).outputs, strict=True):
        np.testing.assert_array_equal(exact(b), exact(a))
    if slow or not certify(program).proved:
        some = [1, 2, -2]
        for name, tensors in oracle.run(program, [x[some] for x in inputs]).items():
            if name in result.kept:
                expected = np.array([t.ravel() for t in tensors])
                found = exact(result.kept[name])[some]
                np.testing.assert_array_equal(found.reshape(expected.shape), expected, err_msg=name)
        tally.counts["programs compared with exact rationals"] += 1
    for io_type in IO_TYPES:
        try:
            refuse_unprintable(program, ProjectOptions(io_type=io_type))
            tally.counts[f"programs printable, {io_type}"] += 1
        except ExportError:
            tally.counts[f"programs refused, {io_type}"] += 1
    tally.counts["programs"] += 1
    tally.counts["operations"] += len(program.nodes)
    return result.outputs


def exact(codes: Codes) -> np.ndarray:
    """The values as rationals: they may have more bits than a float64."""
    return codes.codes.astype(object) * Fraction(2) ** -codes.frac


def _check_bounds(node: Node, codes: np.ndarray, frac: int) -> None:
    """All values lie within the proved bounds, on the proved grid."""
    info = node.info
    assert info is not None
    assert frac == info.frac, node.name
    assert np.all(codes >= info.low), f"{node.name} falls below its bound"
    assert np.all(codes <= info.high), f"{node.name} exceeds its bound"
    zeros = np.minimum(info.frac - info.step, 62)
    assert np.all(codes & ((np.int64(1) << zeros) - 1) == 0), f"{node.name} is finer than its grid"


def ancestors(program: Program, name: str) -> set[str]:
    """A node and all it depends on."""
    found, pending = set(), [name]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += program.by_name[name].inputs
    return found


def _predict(model: keras.Model, inputs: Sequence[np.ndarray], *, compiled: bool) -> list[np.ndarray]:
    # Eagerly, the compiled kernels of one layer serve all networks; as a whole, XLA fuses across layers.
    data: Any = list(inputs) if len(inputs) == 1 else structured(model, inputs)
    found = model.predict_on_batch(data) if compiled else model(data, training=False)
    return [numpy(y).astype(np.float64) for y in keras.tree.flatten(found)]


# C simulation


@dataclass(frozen=True)
class Subject:
    """A program to simulate, and what it came from, to print if it fails."""

    program: Program
    options: ProjectOptions
    source: str


def subjects(sources: Sequence[Any], io_type: str, tally: Tally) -> Iterator[Subject]:
    """The printable ones among networks and programs, with every backend in turn."""
    for number, source in enumerate(sources):
        options = ProjectOptions(io_type=io_type, backend="Vivado" if number % 4 == 3 else "Vitis")
        try:
            program = lower(build(source)) if isinstance(source, Network) else source
            refuse_unprintable(program, options)
        except (ExportError, PrecisionError) as error:
            tally.refused[f"{io_type}: {reason(error)}"] += 1
            tally.counts[f"drawn for C simulation and refused, {io_type}"] += 1
            continue
        yield Subject(program, options, repr(source) if isinstance(source, Network) else f"program {number}")


def check_simulation(chosen: Sequence[Subject], folder: Path, tally: Tally) -> None:
    """C simulation = reference for all.

    Raises:
        AssertionError: lists every subject that differs, does not compile or aborts.
    """
    jobs = [(s.program, s.options, stimuli(s.program, n)) for n, s in enumerate(chosen)]
    failures = []
    for subject, job, outputs in zip(chosen, jobs, simulate_each(jobs, folder), strict=True):
        if isinstance(outputs, str):
            failures.append(f"{subject.options.io_type} {outputs}\n    {subject.source}")
            continue
        expected = run(subject.program, list(job[2])).values
        wrong = [
            f"{name}: {np.count_nonzero(a != b.reshape(a.shape))} of {a.size} codes"
            for name, a, b in zip(subject.program.outputs, expected, outputs, strict=True)
            if np.any(a != b.reshape(a.shape))
        ]
        if wrong:
            failures.append(f"{subject.options.io_type} {'; '.join(wrong)}\n    {subject.source}")
        tally.counts["codes compared, C simulation = reference"] += sum(a.size for a in expected)
        tally.counts[f"programs through C simulation, {subject.options.io_type}"] += 1
    assert not failures, f"{len(failures)} of {len(chosen)}:\n" + "\n".join(failures)


def drawn(strategy: st.SearchStrategy[Any], count: int, number: int) -> list[Any]:
    """``count`` examples of a strategy, always the same for one ``number``."""
    found: list[Any] = []
    if not count:
        return found

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found[:count]
