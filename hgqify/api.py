"""From a trained float model to exact fixed-point arithmetic: convert, and inspect before."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
from collections.abc import Sequence
from typing import Any

import keras

from hgqify import graph, pareto
from hgqify.budget import AllocationReport, Budget, allocate, refuse_training
from hgqify.calibrate import CalibrateSettings, calibrate
from hgqify.calibrated import Calibrated, timed
from hgqify.convert import ConversionReport, ConvertSettings, Granularity, Rule, plan
from hgqify.convert import convert as make_quantized
from hgqify.convert.interface import choose_io_type
from hgqify.errors import ModelLoadError, RuleError
from hgqify.export import ProjectOptions, refuse_unprintable
from hgqify.finetune import FinetuneSettings, finetune
from hgqify.opening import open_for
from hgqify.precision import lower
from hgqify.progress import Progress, TextProgress, no_progress
from hgqify.quality import scoring_outputs
from hgqify.reporting import make_report
from hgqify.result import Result, aliases
from hgqify.settling import settle

_SETTINGS = {f.name for f in dataclasses.fields(ConvertSettings)}
_CALIBRATION = {f.name for f in dataclasses.fields(CalibrateSettings)}
_TRAINING = {f.name for f in dataclasses.fields(FinetuneSettings)}
_PROJECT = {f.name for f in dataclasses.fields(ProjectOptions)}
AUTO = "auto"


def convert(
    model: keras.Model | str | os.PathLike[str],
    calib: Any,
    *,
    labels: Any = None,
    rules: Sequence[Rule] = (),
    seed: int = 0,
    finetune_steps: int | None = None,
    target_ebops: int | None = None,
    max_drop: float | None = None,
    budgets: Sequence[int] | None = None,
    compensate: bool = True,
    io_type: str = AUTO,
    backend: str = "Vitis",
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    safe_mode: bool = True,
    exportable: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Result:
    """Turn a trained float model into exact fixed-point arithmetic.

    The stages: read and clone the model with quantized layers, calibrate widths on the data, allocate bits
    where a budget is given or else fine-tune the weights with the float model as teacher, lower to integers.

    Args:
        model: Keras v3 model, or the path of a .keras, .h5 or .hdf5 file.
        calib: data as the model takes it: path of a .npy, .npz or HDF5 file, arrays, a PyDataset or an
            iterable of batches (see `hgqify.data.open_source`).
        labels: class labels, if any: an array, a path, or the name of an array in the file.
        rules: exceptions for some layers.
        seed: of all randomness.
        finetune_steps: optimizer steps; 0 for none; None for the default of `FinetuneSettings`, or none
            under a budget, which training does not keep yet.
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
        safe_mode: refuse models with Lambda layers, which can run code.
        exportable: refuse, before the fine-tuning, what cannot be printed as an hls4ml project.
        progress: hears of every step; None shows bars on standard error.
        settings: fields of `ConvertSettings` (weight_bits, activation_bits, ...), of `CalibrateSettings`
            (margin), of `FinetuneSettings` (learning_rate, batch_size, ...) and of `ProjectOptions`
            (strategy, part, clock_period, ...).

    Returns:
        The quantized model, its integers, its report, and the means to export it.

    Raises:
        HgqifyError: what the user can mend: the model, the data, the settings.
    """
    show = TextProgress() if progress is None else progress
    budget = _budget(target_ebops, max_drop, budgets, finetune_steps)
    state = calibrated(
        model,
        calib,
        labels=labels,
        rules=rules,
        seed=seed,
        finetune_steps=finetune_steps if budget is None and budgets is None else 0,
        under_budget=budget is not None or budgets is not None,
        io_type=io_type,
        backend=backend,
        key=key,
        allow_pickle=allow_pickle,
        safe_mode=safe_mode,
        progress=show,
        **settings,
    )
    conversion, project = state.conversion, state.project
    if budgets is not None:
        if exportable:
            refuse_unprintable(lower(conversion.model), project, aliases(conversion.report.to_dict()))
        front = pareto.sweep(
            state, finished, budgets=budgets, max_drop=max_drop, compensate=compensate, progress=show
        )
        return front.result()
    allocation = None
    if budget is not None:
        with timed("allocate", state.seconds):
            allocation, adjustments = allocate(
                conversion,
                state.source,
                budget,
                logits=state.logits,
                settle=state.settle,
                margin=state.calibrating.margin,
                seed=seed,
                compensate=compensate,
                progress=show,
            )
        state = state.allocated(conversion, adjustments)
    if exportable:
        refuse_unprintable(lower(conversion.model), project, aliases(conversion.report.to_dict()))
    return finished(state, allocation, progress=show)


def calibrated(
    model: keras.Model | str | os.PathLike[str],
    calib: Any,
    *,
    labels: Any = None,
    rules: Sequence[Rule] = (),
    seed: int = 0,
    finetune_steps: int | None = None,
    under_budget: bool = False,
    io_type: str = AUTO,
    backend: str = "Vitis",
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    safe_mode: bool = True,
    progress: Progress = no_progress,
    **settings: Any,
) -> Calibrated:
    """The first stages of `convert`: read, cloned with quantized layers, calibrated.

    Args:
        under_budget: the widths will be allocated: weights get their own, unless settings say otherwise.
        model, calib, labels, rules, seed, finetune_steps, io_type, backend, key, allow_pickle,
            safe_mode, progress, settings: as for `convert`.

    Raises:
        HgqifyError: what the user can mend: the model, the data, the settings.
    """
    options = {name: settings.pop(name) for name in [*settings] if name in _PROJECT}
    if under_budget:
        settings.setdefault("weight_granularity", Granularity.ELEMENT)
    conversion_settings, calibration_settings, training = _split(settings, finetune_steps, seed)
    if io_type != AUTO:
        ProjectOptions(backend=backend, io_type=io_type, **options)  # what is wrong is said before any work
    seconds: dict[str, float] = {}
    keras.utils.set_random_seed(seed)

    with timed("convert", seconds):
        source_model = _model(model, safe_mode)
        read = graph.read(source_model)
        conversion_settings = _with_io_type(conversion_settings, read, io_type)
        project = ProjectOptions(backend=backend, io_type=conversion_settings.io_type.value, **options)
        conversion = make_quantized(read, conversion_settings, rules)
    settle_all = functools.partial(settle, proved=conversion.proved)
    source = open_for(source_model, calib, labels=labels, key=key, allow_pickle=allow_pickle)
    with timed("calibrate", seconds):
        calibration = calibrate(
            conversion.model,
            conversion.probe,
            conversion.sites,
            source,
            settings=calibration_settings,
            proved=conversion.proved,
            settle=settle_all,
            progress=progress,
        )
    return Calibrated(
        conversion=conversion,
        source=source,
        calibration=calibration,
        logits=scoring_outputs(conversion.logits, conversion.clone, source),
        settings=conversion_settings,
        training=training,
        project=project,
        settle=settle_all,
        calibrating=calibration_settings,
        seed=seed,
        seconds=seconds,
    )


def finished(
    state: Calibrated, allocation: AllocationReport | None, *, progress: Progress = no_progress
) -> Result:
    """The last stages of `convert`: fine-tuned if the settings say so, lowered, reported.

    Args:
        state: its model has the formats it is to have; fine-tuning moves its weights.
        allocation: how they were chosen, if under a budget.
        progress: hears of every step.
    """
    conversion, seconds = state.conversion, {**state.seconds}
    with timed("finetune", seconds):
        trained = finetune(
            conversion.model,
            conversion.clone,
            state.source,
            logits=state.logits,
            settings=state.training,
            settle=state.settle,
            progress=progress,
        )
    with timed("lower", seconds):
        program = lower(conversion.model)
    with timed("report", seconds):
        report = make_report(
            conversion=conversion,
            logits=state.logits,
            program=program,
            source=state.source,
            calibration=state.calibration,
            allocation=allocation,
            finetune=trained,
            settings={
                name: value
                for part in (state.settings, state.calibrating, state.training)
                for name, value in dataclasses.asdict(part).items()
            },
            seconds=seconds,
        )
    return Result(
        model=conversion.model,
        float_model=conversion.clone,
        program=program,
        report=report,
        project=state.project,
    )


def _budget(
    target_ebops: int | None,
    max_drop: float | None,
    budgets: Sequence[int] | None,
    finetune_steps: int | None,
) -> Budget | None:
    """What one allocation aims at; None without, or where a sweep over several budgets decides."""
    if target_ebops is None and max_drop is None and budgets is None:
        return None
    refuse_training(finetune_steps)
    if budgets is None:
        return Budget(target_ebops=target_ebops, max_drop=max_drop)
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
    **settings: Any,
) -> ConversionReport:
    """Say for every layer whether it would be converted, and why not; converts nothing.

    Args:
        model, rules, safe_mode: as for `convert`.
        settings: fields of `ConvertSettings`.

    Raises:
        HgqifyError: the model cannot be read, or a setting is wrong. Refused layers are no error here.
    """
    return plan(graph.read(_model(model, safe_mode)), _split(settings, None, 0)[0], rules)


def _split(
    settings: dict[str, Any], steps: int | None, seed: int
) -> tuple[ConvertSettings, CalibrateSettings, FinetuneSettings]:
    """Settings of the conversion, the calibration and the training from one set of keywords."""
    training = {name: settings[name] for name in settings if name in _TRAINING}
    calibration = {name: settings[name] for name in settings if name in _CALIBRATION}
    conversion = {name: settings[name] for name in settings if name not in _TRAINING | _CALIBRATION}
    if steps is not None:
        training["steps"] = steps
    unknown = [name for name in conversion if name not in _SETTINGS]
    if unknown:
        known = sorted(_SETTINGS | _CALIBRATION | _TRAINING | _PROJECT)
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.0)[0]
        raise RuleError("unknown setting", received=", ".join(unknown), remedy=f"did you mean {near}?")
    return (
        ConvertSettings(**conversion),
        CalibrateSettings(**calibration),
        FinetuneSettings(**{"seed": seed, **training}),
    )


def _with_io_type(settings: ConvertSettings, read: graph.Graph, io_type: str) -> ConvertSettings:
    if io_type == AUTO:
        io_type = choose_io_type(read, settings.activation_granularity)
    return dataclasses.replace(settings, io_type=io_type)


def _model(model: keras.Model | str | os.PathLike[str], safe_mode: bool) -> keras.Model:
    if isinstance(model, keras.Model):
        return model
    if isinstance(model, str | os.PathLike):
        return graph.load_model(model, safe_mode=safe_mode)
    raise ModelLoadError(
        "a Keras model or the path of one is needed", received=type(model).__name__, remedy="pass model.keras"
    )
