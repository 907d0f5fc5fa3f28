"""From a trained float model to exact fixed-point arithmetic: convert, and inspect before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from hgqify import graph, pareto
from hgqify.allocating import allocate
from hgqify.beginning import AUTO, calibrated, open_model
from hgqify.budget import Budget, refuse_training
from hgqify.calibrated import timed
from hgqify.concluding import finished
from hgqify.convert import (
    Conversion,
    ConversionReport,
    Rule,
    plan,
)
from hgqify.errors import RuleError
from hgqify.export import Extent, ProjectOptions, largest_part, refuse_unprintable
from hgqify.finetune import OwnTraining, Storage
from hgqify.keywords import split_settings
from hgqify.precision import lower
from hgqify.progress import Progress, TextProgress
from hgqify.result import Result, aliases
from hgqify.training import training_budget


def convert(
    model: keras.Model | str | os.PathLike[str],
    calib: Any,
    *,
    labels: Any = None,
    rules: Sequence[Rule] = (),
    seed: int = 0,
    bits: int | None = None,
    finetune_steps: int | None = None,
    target_ebops: int | None = None,
    max_drop: float | None = None,
    budgets: Sequence[int] | None = None,
    compensate: bool | None = None,
    io_type: str = AUTO,
    backend: str = "Vitis",
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    exportable: bool | Extent = False,
    own: OwnTraining | None = None,
    training_folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Result:
    """Turn a trained float model into exact fixed-point arithmetic.

    The stages: read and clone the model with quantized layers, calibrate widths on the data, allocate bits
    where a budget is given, fine-tune with the float model as teacher, lower to integers.

    Args:
        model: Keras v3 model, or the path of a .keras, .h5 or .hdf5 file.
        calib: data as the model takes it: path of a .npy, .npz or HDF5 file, arrays, a PyDataset or an
            iterable of batches (see `hgqify.data.open_source`).
        labels: class labels, if any: an array, a path, or the name of an array in the file.
        rules: exceptions for some layers.
        seed: of all randomness.
        bits: one width for all that is multiplied: weights, activations, inputs, entries of tables. Operands
            of additions get no less; outputs and indices of tables keep their own widths.
        finetune_steps: optimizer steps; 0 for none; None for the default of `FinetuneSettings`. Under a
            budget widths are trained too, and what is chosen keeps it.
        target_ebops: most EBOPs of the whole model. Weights and what they multiply get mixed widths, no
            wider than settings and rules say; weights one each, unless ``weight_granularity`` is given.
        max_drop: instead: the fewest EBOPs that lose no more than so many percentage points of accuracy
            (with labels) or of agreement with the float model on the calibration data.
        budgets: several target_ebops from one calibration: the result is the point that `hgqify.sweep`
            chooses of them on the calibration data; with max_drop the fewest EBOPs within it.
        compensate: under a budget, refit the weights to their quantized inputs and spread the error of each
            rounded weight over the others: closer to float at the same EBOPs.
        io_type: 'io_parallel', 'io_stream', or 'auto': streams for models with tensors too large for
            HLS to hold in registers.
        backend: hls4ml backend the project is written for, one of `hgqify.export.BACKENDS`.
        key: names of the input arrays in a file.
        allow_pickle: open pickled arrays, which can run code.
        safe_mode: refuse Lambda layers: a file with one is not opened, and the code of one in memory neither
            traced nor, with ``unsupported='keep'``, kept in float.
        custom_objects: classes that a model in a file uses, by name, where they are not registered with
            Keras. Who loads a result in which such a layer stays in float needs them too.
        exportable: refuse, before the fine-tuning, what cannot be printed as an hls4ml project. Where layers
            stay in float (``unsupported='keep'``, `Rule.keep_float`) there is no project of the whole; then
            `Extent.LARGEST` refuses what has no part that can be printed.
        own: the user's loss, optimizer, callbacks, augmentation, class weights, features of the fine-tuning.
        training_folder: keeps the state of the fine-tuning, so that it can go on after anything that stopped
            it, and the models it passed through; None keeps nothing on disk.
        resume: go on from the state in ``training_folder``, if there is one; everything before the training
            is done again, and must come out the same.
        force: give up the state of another training in ``training_folder``.
        progress: hears of every step; None shows bars on standard error.
        settings: fields of `ConvertSettings` (weight_bits, activation_bits, ...), of `CalibrateSettings`
            (margin, ranges, ...), of `FinetuneSettings` (learning_rate, batch_size, ...) and of
            `ProjectOptions` (strategy, part, clock_period, ...).

    Returns:
        The quantized model, its integers, its report, and the means to export it.

    Raises:
        HgqifyError: what the user can mend: the model, the data, the settings.
    """
    show = TextProgress() if progress is None else progress
    budget = _budget(target_ebops, max_drop, budgets, finetune_steps, compensate)
    storage = _storage(training_folder, resume, force)
    if budgets is not None and (own is not None or storage is not None):
        raise RuleError(
            "the points of a sweep over several budgets are not fine-tuned",
            received="own" if own is not None else f"training_folder={os.fspath(training_folder or '')!r}",
            remedy="leave it out; fine-tune the chosen budget with target_ebops",
        )
    state = calibrated(
        model,
        calib,
        labels=labels,
        rules=rules,
        seed=seed,
        bits=bits,
        finetune_steps=finetune_steps if budgets is None else 0,
        under_budget=budget is not None or budgets is not None,
        io_type=io_type,
        backend=backend,
        key=key,
        allow_pickle=allow_pickle,
        safe_mode=safe_mode,
        custom_objects=custom_objects,
        progress=show,
        **settings,
    )
    conversion, project = state.conversion, state.project
    if budgets is not None:
        if exportable:
            _refuse_unprintable(conversion, project, exportable)
        front = pareto.sweep(
            state,
            finished,
            budgets=budgets,
            max_drop=max_drop,
            compensate=compensate is not False,
            progress=show,
        )
        return front.result()
    allocated = None
    if budget is not None:
        with timed("allocate", state.seconds):
            allocated = allocate(
                conversion,
                state.source,
                budget,
                logits=state.logits,
                settle=state.settle,
                margin=state.calibrating.margin,
                seed=seed,
                compensate=compensate is not False,
                progress=show,
            )
        state = state.allocated(conversion, allocated.fitted.adjustments)
    if exportable:
        _refuse_unprintable(conversion, project, exportable)
    if allocated is None:
        return finished(state, None, own=own, storage=storage, progress=show)
    return finished(
        state,
        allocated.report,
        budget=training_budget(allocated),
        own=own,
        storage=storage,
        progress=show,
    )


def _refuse_unprintable(conversion: Conversion, project: ProjectOptions, extent: bool | Extent) -> None:
    """Raise what writing the project would raise.

    Raises:
        ExportError: see `export.refuse_unprintable`, `export.largest_part`.
    """
    program, names = lower(conversion.model), aliases(conversion.report.to_dict())
    if not program.kept:
        refuse_unprintable(program, project, names)
    elif extent is Extent.LARGEST:
        largest_part(program, project, names)


def _storage(folder: str | os.PathLike[str] | None, resume: bool, force: bool) -> Storage | None:
    """Where the training keeps its state; checked before any work.

    Raises:
        RuleError: something to resume, and no folder.
        ExportError: the folder cannot be used.
    """
    if folder is None:
        if resume:
            raise RuleError("resume needs the folder of the training", remedy="give training_folder")
        return None
    storage = Storage(folder=folder, resume=resume, force=force)
    storage.check()
    return storage


def _budget(
    target_ebops: int | None,
    max_drop: float | None,
    budgets: Sequence[int] | None,
    finetune_steps: int | None,
    compensate: bool | None,
) -> Budget | None:
    """What one allocation aims at; None without, or where a sweep over several budgets decides."""
    if target_ebops is None and max_drop is None and budgets is None:
        if compensate is not None:
            raise RuleError(
                "weights are compensated under a budget only",
                received=f"compensate={compensate}",
                remedy="give target_ebops or max_drop, or leave compensate out; correct_bias needs no budget",
            )
        return None
    if budgets is None:
        return Budget(target_ebops=target_ebops, max_drop=max_drop)
    refuse_training(finetune_steps)
    if target_ebops is not None:
        raise RuleError(
            "give either target_ebops or budgets",
            received=f"target_ebops={target_ebops!r}, budgets={budgets!r}",
        )
    pareto.check_before(budgets=budgets, max_drop=max_drop)
    return None


def inspect(
    model: keras.Model | str | os.PathLike[str],
    *,
    rules: Sequence[Rule] = (),
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    **settings: Any,
) -> ConversionReport:
    """Say for every layer whether it would be converted, and why not; converts nothing.

    Args:
        model, rules, safe_mode, custom_objects: as for `convert`.
        settings: fields of `ConvertSettings`, and ``bits``.

    Raises:
        HgqifyError: the model cannot be read, or a setting is wrong. Refused layers are no error here.
    """
    read = graph.read(open_model(model, safe_mode, custom_objects), safe_mode=safe_mode)
    return plan(read, split_settings(settings, None, 0)[0], rules, allow_code=not safe_mode)
