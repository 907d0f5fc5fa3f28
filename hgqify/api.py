"""From a trained float model to exact fixed-point arithmetic: convert, and inspect before."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from hgqify import graph
from hgqify.budget import Budget, allocate
from hgqify.calibrate import (
    CalibrateSettings,
    Ranges,
    calibrate,
    choose_by_loss,
    measure_sensitivity,
    renewed,
)
from hgqify.convert import (
    Conversion,
    ConversionReport,
    ConvertSettings,
    Granularity,
    Rule,
    plan,
    with_uniform_bits,
)
from hgqify.convert import convert as make_quantized
from hgqify.convert.interface import choose_io_type
from hgqify.errors import ModelLoadError, RuleError
from hgqify.export import ProjectOptions, refuse_unprintable
from hgqify.finetune import FinetuneSettings, finetune
from hgqify.opening import open_for
from hgqify.overflow_choice import choose_overflow
from hgqify.precision import lower
from hgqify.progress import Progress, TextProgress
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
    bits: int | None = None,
    finetune_steps: int | None = None,
    target_ebops: int | None = None,
    max_drop: float | None = None,
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
        bits: one width for all that is multiplied: weights, activations, inputs, entries of tables. Operands
            of additions get no less; outputs and indices of tables keep their own widths.
        finetune_steps: optimizer steps; 0 for none; None for the default of `FinetuneSettings`, or none
            under a budget, which training does not keep yet.
        target_ebops: most EBOPs of the whole model. Weights and what they multiply get mixed widths, no
            wider than settings and rules say; weights one each, unless ``weight_granularity`` is given.
        max_drop: instead: the fewest EBOPs that lose no more than so many percentage points of accuracy
            (with labels) or of agreement with the float model on the calibration data.
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
            (margin, ranges, ...), of `FinetuneSettings` (learning_rate, batch_size, ...) and of
            `ProjectOptions` (strategy, part, clock_period, ...).

    Returns:
        The quantized model, its integers, its report, and the means to export it.

    Raises:
        HgqifyError: what the user can mend: the model, the data, the settings.
    """
    show = TextProgress() if progress is None else progress
    options = {name: settings.pop(name) for name in [*settings] if name in _PROJECT}
    budget = _budget(target_ebops, max_drop, finetune_steps)
    if budget is not None:
        finetune_steps = 0
        settings.setdefault("weight_granularity", Granularity.ELEMENT)
    settings["bits"] = bits
    conversion_settings, calibration_settings, training = _split(settings, finetune_steps, seed)
    if io_type != AUTO:
        ProjectOptions(backend=backend, io_type=io_type, **options)  # what is wrong is said before any work
    seconds: dict[str, float] = {}
    keras.utils.set_random_seed(seed)

    with _timed("convert", seconds):
        source_model = _model(model, safe_mode)
        read = graph.read(source_model)
        conversion_settings = _with_io_type(conversion_settings, read, io_type)
        project = ProjectOptions(backend=backend, io_type=conversion_settings.io_type.value, **options)
        conversion = make_quantized(read, conversion_settings, rules)
        if budget is not None:
            _refuse_added_bits(conversion)
    settle_all = functools.partial(settle, proved=conversion.proved)
    source = open_for(source_model, calib, labels=labels, key=key, allow_pickle=allow_pickle)
    logits = scoring_outputs(conversion.logits, conversion.clone, source)
    choose = None
    # Under a budget the allocation chooses integer bits along with widths, by the same loss.
    if calibration_settings.ranges is Ranges.MSE and budget is None:
        sensitivity = functools.partial(
            measure_sensitivity, conversion.clone, source, logits=logits, seed=seed, progress=show
        )
        choose = functools.partial(choose_by_loss, sensitivity=sensitivity)
    with _timed("calibrate", seconds):
        calibration = calibrate(
            conversion.model,
            conversion.probe,
            conversion.sites,
            source,
            settings=calibration_settings,
            proved=conversion.proved,
            settle=settle_all,
            choose=choose,
            progress=show,
        )
    allocation = None
    if budget is not None:
        with _timed("allocate", seconds):
            allocation, adjustments = allocate(
                conversion,
                source,
                budget,
                logits=logits,
                settle=settle_all,
                margin=calibration_settings.margin,
                seed=seed,
                compensate=compensate,
                progress=show,
            )
        calibration = renewed(calibration, conversion.model, adjustments)
    if exportable:
        refuse_unprintable(lower(conversion.model), project, aliases(conversion.report.to_dict()))
    with _timed("finetune", seconds):
        trained = finetune(
            conversion.model,
            conversion.clone,
            source,
            logits=logits,
            settings=training,
            settle=settle_all,
            progress=show,
        )
    with _timed("lower", seconds):
        overflow_choices = ()
        if conversion.auto:
            overflow_choices = choose_overflow(
                conversion.model, conversion.auto, margin=calibration_settings.margin
            )
            calibration = renewed(calibration, conversion.model, calibration.adjustments)
        program = lower(conversion.model)
    with _timed("report", seconds):
        report = make_report(
            conversion=conversion,
            logits=logits,
            program=program,
            source=source,
            calibration=calibration,
            allocation=allocation,
            finetune=trained,
            overflow_choices=overflow_choices,
            settings={
                name: value
                for part in (conversion_settings, calibration_settings, training)
                for name, value in dataclasses.asdict(part).items()
            },
            seconds=seconds,
        )
    return Result(
        model=conversion.model,
        float_model=conversion.clone,
        program=program,
        report=report,
        project=project,
    )


def _budget(target_ebops: int | None, max_drop: float | None, finetune_steps: int | None) -> Budget | None:
    if target_ebops is None and max_drop is None:
        return None
    budget = Budget(target_ebops=target_ebops, max_drop=max_drop)
    if finetune_steps:
        raise RuleError(
            "fine-tuning does not keep a budget yet: moved weights may take more EBOPs",
            received=f"finetune_steps={finetune_steps}",
            remedy="leave finetune_steps out under a budget, or leave the budget out",
        )
    return budget


def _refuse_added_bits(conversion: Conversion) -> None:
    """A budget is kept by the allocation, and bits that are added after it would break it.

    Raises:
        RuleError: some layer has the overflow policy AUTO.
    """
    if conversion.auto:
        raise RuleError(
            "overflow='AUTO' may add integer bits, which a budget does not know of yet",
            where=min(conversion.auto),
            remedy="let activations saturate (overflow='SAT') under a budget",
        )


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
        settings: fields of `ConvertSettings`, and ``bits``.

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
    unknown = [name for name in conversion if name not in {*_SETTINGS, "bits"}]
    if unknown:
        known = sorted(_SETTINGS | _CALIBRATION | _TRAINING | _PROJECT)
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.0)[0]
        raise RuleError("unknown setting", received=", ".join(unknown), remedy=f"did you mean {near}?")
    found = (
        ConvertSettings(**with_uniform_bits(conversion)),
        CalibrateSettings(**calibration),
        FinetuneSettings(**{"seed": seed, **training}),
    )
    _refuse_wrapped_clips(*found[:2])
    return found


def _refuse_wrapped_clips(conversion: ConvertSettings, calibration: CalibrateSettings) -> None:
    """Ranges below what was seen are for activations that saturate.

    Raises:
        RuleError: all of them wrap.
    """
    if calibration.ranges is not Ranges.MINMAX and not conversion.overflow.mode.saturates:
        raise RuleError(
            f"ranges={str(calibration.ranges)!r} leaves values out, and "
            f"overflow={str(conversion.overflow)!r} would wrap them around",
            remedy="leave ranges out, or let activations saturate; single layers may wrap by rules, and hold "
            "all values seen",
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


@contextlib.contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 2)
