"""Is a saved result exact? Keras, the integer reference and C simulation, code for code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hgqify import float64 as double
from hgqify import graph
from hgqify.data import Source
from hgqify.errors import DataError, ExportError, RuleError
from hgqify.export import (
    CheckReport,
    Limit,
    ProjectOptions,
    compare,
    compare_programs,
    compare_weights,
    compile_project,
    compiler,
    compiler_version,
    random_batches,
    refuse_unprintable,
)
from hgqify.metric import measure_metric
from hgqify.opening import open_for
from hgqify.part_checks import ExportedPart, PartChecks
from hgqify.precision import Program, certify, from_npz, lower, total_ebops
from hgqify.progress import Event, Progress, TextProgress
from hgqify.reference import Interpreter, overflow_statement
from hgqify.result import MODEL_FILE, PART_FILE, PROGRAM_FILE, PROJECT_FOLDER
from hgqify.version import versions
from hgqify.whole_model import WholeModel

_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class _Stimulus:
    """Inputs to compare on.

    Attributes:
        name: for the report.
        total: samples; None where only a pass would tell.
        batches: a new pass over them, in batches of bounded size.
        is_data: the user's, not random.
    """

    name: str
    total: int | None
    batches: Callable[[], Iterator[Sequence[np.ndarray]]]
    is_data: bool = False


def check(
    directory: str | os.PathLike[str],
    *,
    data: Any = None,
    random: int = 200,
    limit: int | None = None,
    labels: Any = None,
    max_ebops: int | None = None,
    min_metric: float | None = None,
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    csim: bool | None = None,
    float64: bool | None = None,
    seed: int = 0,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Compare Keras, the integer reference and C simulation of a saved result, code for code.

    The integers of the saved model must also be those of program.npz, each of them, and the weights for
    synthesis those for C simulation: that is compared without any input. Everything else is streamed;
    memory is bounded by the batch, whatever ``random`` and the size of the data.

    Where layers stay in float, each exact part is compared for itself, given the same numbers at its entry:
    on data those that the float layers give in a run of the whole Keras model, on random inputs random ones.
    C simulation is compared on the part that was exported, if one was.

    Args:
        directory: what `Result.save` wrote.
        data: inputs to compare on, as for `convert`; None for random inputs only.
        random: number of random inputs, see `hgqify.export.random_batches`.
        limit: compare on the first so many samples of the data.
        labels: of the data, as for `convert`; for ``min_metric`` only.
        max_ebops: the most EBOPs the model may have.
        min_metric: the least accuracy, or for labels that name no classes the least coefficient of
            determination (see `hgqify.metric`), that the integers may have on the data; at most 1.
        key, allow_pickle: as for `convert`.
        csim: run C simulation; None: if there is a C++ compiler.
        float64: run Keras in float64, which is exact where float32 has too few bits (see `hgqify.certify`);
            None: where sums of minifloats are not proved in float32.
        seed: of the random inputs.
        safe_mode: refuse models that carry Python code (a Lambda that was kept in float).
        custom_objects: classes of kept layers that are not registered with Keras, by name.
        progress: hears of every batch; None shows a bar on standard error.

    Returns:
        The comparisons; ``exact`` says whether all codes are equal, ``passed`` whether limits are kept too,
        ``to_dict`` everything.

    Raises:
        HgqifyError: the folder is no result, the data does not fit, or C simulation was asked for and
            cannot be run.
    """
    show = TextProgress() if progress is None else progress
    _check_limits(data, max_ebops, min_metric, labels)
    folder = Path(directory)
    model, program = load_saved(folder, safe_mode=safe_mode, custom_objects=custom_objects)
    batch = min(_BATCH, Interpreter(program).batch_size)
    stimuli: list[_Stimulus] = []
    limits: list[Limit] = []
    if max_ebops is not None:
        limits.append(Limit(name="EBOPs", value=total_ebops(program), bound=max_ebops, at_most=True))
    if data is not None:
        source = open_for(model, data, labels=labels, key=key, allow_pickle=allow_pickle)
        if min_metric is not None:
            found = measure_metric(WholeModel(model, program), source, limit=limit, batch=batch)
            basis = f"{name_of(data)} ({found.samples} samples)"
            limits.append(
                Limit(name=found.name, value=found.value, bound=min_metric, at_most=False, basis=basis)
            )
        stimuli.append(_of_data(source, name_of(data), batch, limit))
    if random:
        stimuli.append(
            _Stimulus(
                name="random inputs",
                total=random,
                batches=partial(random_batches, program, random, batch=batch, seed=seed),
            )
        )
    if not stimuli:
        raise DataError("there is nothing to compare on", remedy="give data, or let random be above 0")
    notes: list[str] = []
    skipped: dict[str, str] = {}
    # By itself: random inputs need not hit a number that is wrong.
    comparisons = [
        compare_programs(program, lower(model), what=f"integers of {MODEL_FILE}", against=PROGRAM_FILE)
    ]
    if float64 is None:
        float64 = bool(program.minifloats) and not certify(program).proved
        if float64:
            notes.append("Keras computed in float64: sums of these minifloats are too wide for float32")
    part = None
    if (folder / PART_FILE).is_file():
        part = ExportedPart(folder / PART_FILE, program)
        comparisons.append(part.compare_integers(PROGRAM_FILE, f"integers of {PART_FILE}"))
    has_project = (folder / PROJECT_FOLDER).is_dir()
    if has_project:
        comparisons += compare_weights(folder / PROJECT_FOLDER, program if part is None else part.stored)
    with contextlib.ExitStack() as stack:
        simulation = None
        if csim is None and compiler() is None:
            skipped["C simulation"] = "C simulation was not run: no C++ compiler (g++) was found"
            notes.append(f"{skipped['C simulation']}. Install g++, or say --no-csim (csim=False)")
        elif csim is None and program.minifloats:
            skipped["C simulation"] = "C simulation was not run: hls4ml has no type for minifloats"
            notes.append(skipped["C simulation"])
        elif csim is None and program.kept and not has_project:
            skipped["C simulation"] = "C simulation was not run: no part of the model was exported"
            notes.append(
                f"{skipped['C simulation']}. Convert with --export-part largest (extent='largest'), or say "
                "--no-csim (csim=False)"
            )
        elif csim is not False:
            if program.minifloats:
                refuse_unprintable(program, ProjectOptions())
            show(Event(stage="compile C simulation", done=0, total=1, unit="projects"))
            simulation = stack.enter_context(compile_project(folder / PROJECT_FOLDER))
            show(Event(stage="compile C simulation", done=1, total=1, unit="projects"))
        checks = None
        if program.kept:
            checks = PartChecks(model, program, float64=float64, stack=stack)
            notes += checks.notes
        elif float64:
            model = stack.enter_context(double.evaluating(model))
        for stimulus in stimuli:
            told = partial(_show_check, show, stimulus.total)
            if checks is None:
                comparisons += compare(
                    program,
                    stimulus.batches(),
                    name=stimulus.name,
                    model=model,
                    model_name="Keras in float64" if float64 else "Keras",
                    simulation=simulation,
                    progress=told,
                )
            elif stimulus.is_data:
                comparisons += checks.on_data(stimulus.batches, stimulus.name, told)
                if simulation is not None and part is not None:
                    entering = part.batches(checks.program_inputs(stimulus.batches()))
                    comparisons += part.compare(entering, simulation, name=stimulus.name, told=told)
            else:
                comparisons += checks.on_random(random, batch=batch, seed=seed, told=told)
                if simulation is not None and part is not None:
                    entering = random_batches(part.stored, random, batch=batch, seed=seed)
                    comparisons += part.compare(entering, simulation, name=stimulus.name, told=told)
        # On the data alone: far outside, whatever has no proof overflows.
        seen = None if data is None else stimuli[0].batches()
        if seen is not None and checks is not None:
            seen = checks.program_inputs(seen)
        overflow = overflow_statement(program, seen)
    notes += overflow.notes()
    return CheckReport(
        comparisons=tuple(comparisons),
        notes=tuple(notes),
        settings={
            "directory": str(folder),
            "model": program.name,
            "data": None if data is None else name_of(data),
            "limit": limit,
            "random": random,
            "seed": seed,
            "batch": batch,
            "csim": simulation is not None,
            "float64": float64,
        },
        limits=tuple(limits),
        skipped=skipped,
        overflow=overflow.to_dict(),
        versions=_versions(simulation is not None),
    )


def _check_limits(data: Any, max_ebops: int | None, min_metric: float | None, labels: Any) -> None:
    """What is wrong with limits is said before any work.

    Raises:
        RuleError: a limit that cannot be meant.
        DataError: labels, or a limit on the metric, and no data.
    """
    if max_ebops is not None and max_ebops < 0:
        raise RuleError("max_ebops must not be negative", received=repr(max_ebops))
    if min_metric is not None and not min_metric <= 1:
        raise RuleError(
            "min_metric is a share, at most 1",
            received=repr(min_metric),
            remedy=f"for {min_metric:g} % give {min_metric / 100:g}" if min_metric > 1 else None,
        )
    if data is None and (min_metric is not None or labels is not None):
        what = "a limit on the metric needs data" if min_metric is not None else "labels come with data"
        raise DataError(what, remedy="give --data FILE (data=...)")


def _of_data(source: Source, name: str, batch: int, limit: int | None) -> _Stimulus:
    """The first batch is read at once: most of what can be wrong with data shows before minutes of work."""
    total = source.samples if limit is None or source.samples is None else min(limit, source.samples)

    def batches() -> Iterator[Sequence[np.ndarray]]:
        return (b.inputs for b in source.batches(batch, limit=limit))

    next(batches(), None)
    return _Stimulus(name=name, total=total, batches=batches, is_data=True)


def name_of(data: Any) -> str:
    """What data is called in reports and messages."""
    return Path(data).name if isinstance(data, str | os.PathLike) else "the data"


def _versions(simulated: bool) -> dict[str, str]:
    backend = keras.backend.backend()
    found = versions("hgqify", "keras", backend, "numpy", "hls4ml")
    return {**found, "backend": backend, **({"compiler": compiler_version()} if simulated else {})}


def _show_check(show: Progress, total: int | None, done: int) -> None:
    show(Event(stage="check", done=done, total=total, unit="samples"))


def load_program(directory: str | os.PathLike[str]) -> Program:
    """The integers of a saved result.

    Raises:
        ExportError: the folder is no result of hgqify.
    """
    return _program(Path(directory))


def load_saved(
    folder: Path, *, safe_mode: bool = True, custom_objects: Mapping[str, Any] | None = None
) -> tuple[keras.Model, Program]:
    """The model and the integers of a saved result.

    Args:
        folder: what `Result.save` wrote.
        safe_mode, custom_objects: as for `check`.

    Raises:
        ExportError: the folder is no result of hgqify, or its parts do not belong together.
    """
    program = _program(folder)
    path = folder / MODEL_FILE
    model = graph.load_model(path, safe_mode=safe_mode, custom_objects=custom_objects)
    for tensors, names in ((model.inputs, program.model_inputs), (model.outputs, program.model_outputs)):
        have = [tuple(tensor.shape[1:]) for tensor in tensors]
        want = [tuple(program.by_name[name].shape) for name in names]
        if have != want:
            raise ExportError(
                f"{MODEL_FILE} and {PROGRAM_FILE} do not belong together",
                where=str(folder),
                received=f"a model of {have} for integers of {want}",
                remedy="convert the model again",
            )
    return model, program


def _program(folder: Path) -> Program:
    missing = [name for name in (MODEL_FILE, PROGRAM_FILE) if not (folder / name).is_file()]
    if missing:
        raise ExportError(
            "not a result of hgqify",
            where=str(folder),
            received=_described(folder, missing),
            remedy="give the folder that hgqify wrote, such as model_hgq",
        )
    return from_npz(folder / PROGRAM_FILE)


def _described(folder: Path, missing: Sequence[str]) -> str:
    if folder.is_dir():
        return f"a folder without {' and '.join(missing)}"
    return "a file" if folder.exists() else "no such folder"
