"""Is a saved result exact? Keras, the integer reference and C simulation, code for code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hgqify import graph
from hgqify.errors import ExportError
from hgqify.export import (
    CheckReport,
    Comparison,
    compare,
    compare_weights,
    compile_project,
    compiler,
    random_inputs,
)
from hgqify.opening import open_for
from hgqify.precision import Program, from_npz
from hgqify.progress import Event, Progress, TextProgress
from hgqify.result import MODEL_FILE, PROGRAM_FILE, PROJECT_FOLDER

_BATCH = 128


def check(
    directory: str | os.PathLike[str],
    *,
    data: Any = None,
    random: int = 200,
    limit: int | None = None,
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    csim: bool | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CheckReport:
    """Compare Keras, the integer reference and C simulation of a saved result, code for code.

    Args:
        directory: what `Result.save` wrote.
        data: inputs to compare on, as for `convert`; None for random inputs only.
        random: number of random inputs, a quarter of them up to four times beyond the calibrated range.
        limit: compare on the first so many samples of the data.
        key, allow_pickle: as for `convert`.
        csim: run C simulation; None: if there is a C++ compiler.
        seed: of the random inputs.
        progress: hears of every batch; None shows a bar on standard error.

    Returns:
        The comparisons; ``exact`` says whether all codes are equal.

    Raises:
        HgqifyError: the folder is no result, the data does not fit, or C simulation was asked for and
            cannot be run.
    """
    show = TextProgress() if progress is None else progress
    folder = Path(directory)
    model, program = _saved(folder)
    stimuli: list[tuple[str, int | None, Iterable[Sequence[np.ndarray]]]] = []
    if data is not None:
        source = open_for(model, data, key=key, allow_pickle=allow_pickle)
        total = source.samples if limit is None or source.samples is None else min(limit, source.samples)
        name = Path(data).name if isinstance(data, str | os.PathLike) else "the data"
        stimuli.append((name, total, (b.inputs for b in source.batches(_BATCH, limit=limit))))
    if random:
        inputs = random_inputs(program, random, seed=seed)
        parts = ([x[n : n + _BATCH] for x in inputs] for n in range(0, random, _BATCH))
        stimuli.append(("random inputs", random, parts))
    notes: list[str] = []
    comparisons: list[Comparison] = []
    with contextlib.ExitStack() as stack:
        simulation = None
        if csim is None and compiler() is None:
            notes.append("C simulation was not run: no C++ compiler (g++) was found")
        elif csim is not False:
            show(Event(stage="compile C simulation", done=0, total=1, unit="projects"))
            simulation = stack.enter_context(compile_project(folder / PROJECT_FOLDER))
            show(Event(stage="compile C simulation", done=1, total=1, unit="projects"))
        if (folder / PROJECT_FOLDER).is_dir():
            comparisons += compare_weights(folder / PROJECT_FOLDER, program)
        for name, total, batches in stimuli:
            comparisons += compare(
                program,
                batches,
                name=name,
                model=model,
                simulation=simulation,
                progress=partial(_show_check, show, total),
            )
    return CheckReport(comparisons=tuple(comparisons), notes=tuple(notes))


def _show_check(show: Progress, total: int | None, done: int) -> None:
    show(Event(stage="check", done=done, total=total, unit="samples"))


def load_program(directory: str | os.PathLike[str]) -> Program:
    """The integers of a saved result.

    Raises:
        ExportError: the folder is no result of hgqify.
    """
    return _saved(Path(directory))[1]


def _saved(folder: Path) -> tuple[keras.Model, Program]:
    missing = [name for name in (MODEL_FILE, PROGRAM_FILE) if not (folder / name).is_file()]
    if missing:
        raise ExportError(
            "not a result of hgqify",
            where=str(folder),
            received=_described(folder, missing),
            remedy="give the folder that hgqify wrote, such as model_hgq",
        )
    model, program = graph.load_model(folder / MODEL_FILE), from_npz(folder / PROGRAM_FILE)
    for tensors, names in ((model.inputs, program.inputs), (model.outputs, program.outputs)):
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


def _described(folder: Path, missing: Sequence[str]) -> str:
    if folder.is_dir():
        return f"a folder without {' and '.join(missing)}"
    return "a file" if folder.exists() else "no such folder"
