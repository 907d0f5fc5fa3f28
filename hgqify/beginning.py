"""The first stages of a conversion: read, cloned with quantized layers, calibrated."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from hgqify import graph
from hgqify.building import check_building, with_rules
from hgqify.calibrate import (
    CalibrateSettings,
    Ranges,
    calibrate,
    choose_by_loss,
    correct_bias,
    measure_sensitivity,
    refuse_opaque,
    renewed,
    require_gradients,
    row_sizes,
)
from hgqify.calibrated import Calibrated, timed
from hgqify.convert import (
    Conversion,
    ConvertSettings,
    Granularity,
    Operands,
    Rule,
)
from hgqify.convert import convert as make_quantized
from hgqify.convert.interface import choose_io_type
from hgqify.data import Source
from hgqify.equalizing import equalize
from hgqify.errors import ModelLoadError, RuleError
from hgqify.export import ProjectOptions
from hgqify.finetune import FinetuneSettings
from hgqify.keywords import PROJECT, split_settings
from hgqify.opening import open_for
from hgqify.progress import Progress, no_progress
from hgqify.quality import refuse_unfit_labels, refuse_unlike, scoring_outputs
from hgqify.recipe import make_recipe
from hgqify.settling import merged, settle

AUTO = "auto"
_SAMPLES = 16  # that tell whether a layer in float does what it did


def calibrated(
    model: keras.Model | str | os.PathLike[str],
    calib: Any,
    *,
    labels: Any = None,
    rules: Sequence[Rule] = (),
    seed: int = 0,
    bits: int | None = None,
    finetune_steps: int | None = None,
    under_budget: bool = False,
    io_type: str = AUTO,
    backend: str = "Vitis",
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
    **settings: Any,
) -> Calibrated:
    """The first stages of `convert`: read, cloned with quantized layers, calibrated.

    Args:
        under_budget: the widths will be allocated: weights get their own, unless settings say otherwise.
        model, calib, labels, rules, seed, bits, finetune_steps, io_type, backend, key, allow_pickle,
            safe_mode, custom_objects, progress, settings: as for `convert`.

    Raises:
        HgqifyError: what the user can mend: the model, the data, the settings.
    """
    options = {name: settings.pop(name) for name in [*settings] if name in PROJECT}
    if under_budget:
        settings.setdefault("weight_granularity", Granularity.ELEMENT)
    settings["bits"] = bits
    conversion_settings, calibration_settings, training = split_settings(settings, finetune_steps, seed)
    seed = training.seed  # an int, whatever whole number was given
    _refuse_minifloats(
        conversion_settings, rules, equalize=calibration_settings.equalize, under_budget=under_budget
    )
    if not under_budget:
        _refuse_training_of_widths(training)
    if io_type != AUTO:
        ProjectOptions(backend=backend, io_type=io_type, **options)  # what is wrong is said before any work
    check_building(rules)
    if under_budget or calibration_settings.equalize or calibration_settings.ranges is Ranges.MSE:
        require_gradients()
    seconds: dict[str, float] = {}
    keras.utils.set_random_seed(seed)

    with timed("convert", seconds):
        source_model = open_model(model, safe_mode, custom_objects)
        read = graph.read(source_model, safe_mode=safe_mode)
        conversion_settings = _with_io_type(conversion_settings, read, io_type)
        project = ProjectOptions(backend=backend, io_type=conversion_settings.io_type.value, **options)
        source_model = graph.with_inputs(source_model)

        @functools.cache
        def opened() -> Source:
            """The data; refused layers are told before anything wrong with it."""
            return open_for(source_model, calib, labels=labels, key=key, allow_pickle=allow_pickle)

        conversion = make_quantized(
            read,
            conversion_settings,
            rules,
            allow_code=not safe_mode,
            measure=lambda canonical, rows: row_sizes(canonical, rows, opened()),
        )
        recipe = make_recipe(
            conversion=conversion_settings,
            calibration=calibration_settings,
            training=training,
            project=project,
            rules=rules,
            seed=seed,
            calib=calib,
            labels=labels,
            key=key,
            model=model,
            code=not safe_mode,
            custom_objects=custom_objects,
        )
        project = with_rules(project, conversion)
        if under_budget:
            _refuse_under_budget(conversion, calibration_settings)
    settle_all = functools.partial(settle, proved=conversion.proved)
    source = opened()
    if conversion.kept:
        _check_kept(conversion, source_model, source, training=training.steps > 0, under_budget=under_budget)
    if labels is not None:
        refuse_unfit_labels(conversion.clone, source)
    logits = scoring_outputs(conversion.logits, conversion.clone, source)
    equalized = None
    if calibration_settings.equalize:
        with timed("equalize", seconds):
            conversion, equalized = equalize(conversion, source, logits=logits, seed=seed)
    choose = None
    # Under a budget the allocation chooses integer bits along with widths, by the same loss.
    if calibration_settings.ranges is Ranges.MSE and not under_budget:
        sensitivity = functools.partial(
            measure_sensitivity, conversion.clone, source, logits=logits, seed=seed, progress=progress
        )
        choose = functools.partial(choose_by_loss, sensitivity=sensitivity)
    with timed("calibrate", seconds):
        calibration = calibrate(
            conversion.model,
            conversion.probe,
            conversion.sites,
            source,
            settings=calibration_settings,
            proved=conversion.proved,
            settle=settle_all,
            choose=choose,
            progress=progress,
        )
    corrected = None
    if calibration_settings.correct_bias:
        with timed("correct bias", seconds):
            corrected = correct_bias(conversion.model, conversion.clone, source)
            adjustments = merged([*calibration.adjustments, *settle_all(conversion.model)])
        calibration = renewed(calibration, conversion.model, adjustments)
    return Calibrated(
        conversion=conversion,
        source=source,
        calibration=calibration,
        equalized=equalized,
        corrected=corrected,
        logits=logits,
        settings=conversion_settings,
        training=training,
        project=project,
        settle=settle_all,
        calibrating=calibration_settings,
        seed=seed,
        seconds=seconds,
        recipe=recipe,
    )


def _refuse_under_budget(conversion: Conversion, settings: CalibrateSettings) -> None:
    """A budget is kept by the allocation: nothing may add bits after it, and it corrects biases itself.

    Raises:
        RuleError: some layer has the overflow policy AUTO, or biases are to be corrected before.
    """
    if settings.correct_bias:
        raise RuleError(
            "correct_bias has nothing to do under a budget: weights and biases are refit together there",
            remedy="leave correct_bias out",
        )
    if conversion.auto:
        raise RuleError(
            "overflow='AUTO' may add integer bits, which a budget does not know of yet",
            where=min(conversion.auto),
            remedy="let activations saturate (overflow='SAT') under a budget",
        )


def _refuse_minifloats(
    settings: ConvertSettings, rules: Sequence[Rule], *, equalize: bool, under_budget: bool
) -> None:
    """Refuse, before any work, what is done to fixed point only.

    Raises:
        RuleError: minifloats under a budget, or equalized.
    """
    if Operands.FLOAT not in (settings.q_type, *(rule.q_type for rule in rules)):
        return
    if under_budget:
        raise RuleError(
            "a budget is met by widths of fixed point, and minifloats have none to give",
            received="q_type='float' under a budget",
            remedy="give them their bits (weight_bits, activation_bits) and no budget, or use q_type='kif'",
        )
    if equalize:
        raise RuleError(
            "equalize scales channels by powers of two, which minifloats have in their exponents",
            received="q_type='float' with equalize",
            remedy="leave equalize out, or use q_type='kif'",
        )


def _refuse_training_of_widths(settings: FinetuneSettings) -> None:
    """Refuse, before any work, what says how widths are trained where they are not.

    Raises:
        RuleError: names the settings.
    """
    asked = settings.of_widths()
    if asked:
        raise RuleError(
            f"without a budget no widths are trained: {' and '.join(asked)} would do nothing",
            received=", ".join(f"{name}={value!r}" for name, value in asked.items()),
            remedy="give a budget (target_ebops, max_drop), or leave "
            f"{'it' if len(asked) == 1 else 'them'} out",
        )


def _with_io_type(settings: ConvertSettings, read: graph.Graph, io_type: str) -> ConvertSettings:
    if io_type == AUTO:
        io_type = choose_io_type(read, settings.activation_granularity)
    return dataclasses.replace(settings, io_type=io_type)


def _check_kept(
    conversion: Conversion, model: keras.Model, source: Source, *, training: bool, under_budget: bool
) -> None:
    """What stays in float must do what it did, and, where anything is learned, let gradients through.

    Raises:
        UnsupportedLayerError: the clone gives other outputs than the model.
        CalibrationError: see `calibrate.refuse_opaque`.
    """
    inputs = next(iter(source.batches(_SAMPLES, limit=_SAMPLES))).inputs
    refuse_unlike(model, conversion, inputs)
    if training or under_budget:
        purpose = "an allocation under a budget" if under_budget else "fine-tuning"
        refuse_opaque(conversion.clone, inputs, purpose=purpose)


def open_model(
    model: keras.Model | str | os.PathLike[str],
    safe_mode: bool,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    if isinstance(model, keras.Model):
        return model
    if isinstance(model, str | os.PathLike):
        return graph.load_model(model, safe_mode=safe_mode, custom_objects=custom_objects)
    raise ModelLoadError(
        "a Keras model or the path of one is needed", received=type(model).__name__, remedy="pass model.keras"
    )
