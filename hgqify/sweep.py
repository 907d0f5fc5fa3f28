"""Many budgets of one model: `sweep`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from hgqify import pareto
from hgqify.beginning import calibrated
from hgqify.budget import refuse_training
from hgqify.concluding import finished
from hgqify.errors import RuleError
from hgqify.export import refuse_unprintable
from hgqify.opening import open_for
from hgqify.pareto import Sweep
from hgqify.precision import lower
from hgqify.progress import Progress, TextProgress
from hgqify.result import aliases


def sweep(
    model: keras.Model | str | os.PathLike[str],
    calib: Any,
    budgets: Sequence[int] | None = None,
    *,
    labels: Any = None,
    validation: Any = None,
    validation_labels: Any = None,
    max_drop: float | None = None,
    compensate: bool = True,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    jobs: int | None = None,
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    exportable: bool = False,
    finetune_steps: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Sweep:
    """Bring a model under several budgets of EBOPs: the Pareto front of EBOPs and accuracy.

    The model is calibrated once and its sensitivity measured once; every budget is then a job of its own,
    which gives what ``convert(target_ebops=budget)`` gives. Jobs go through joblib: under
    ``joblib.parallel_config(backend="dask")`` the same sweep runs on a cluster.

    The point chosen has the fewest EBOPs that lose at most ``max_drop`` percentage points against the float
    model: of accuracy (with labels) or of agreement with it. Without ``max_drop`` half a point may be lost;
    where all lose more, the best is chosen. For outputs that name no classes it is the point of fewest EBOPs
    with a signal-to-noise ratio of at least 30 dB, else the best.

    Args:
        model, calib, labels, compensate, key, allow_pickle: as for `convert`.
        budgets: most EBOPs of each point; None for eight: what the widest formats take, that settings and
            rules allow, and 1/2, 1/4, ... 1/128 of it. One that no allocation meets is listed as such.
        validation: data to judge the points on, as ``calib``; its first 10,000 samples. None for the first
            2,000 of the calibration data, which makes points look a little better than they are.
        validation_labels: labels of the validation data, as ``labels``.
        max_drop: percentage points that may be lost.
        output: folder for sweep.json, plots, and every point as soon as it is done: the same call again
            computes only what is missing. Points of another model (names of layers included), other data or
            settings are refused.
        force: remove such points instead.
        jobs: processes on this machine; -1 for one per core; None for one, or as joblib's active backend
            has it.
        exportable: refuse, before the points, what cannot be printed as an hls4ml project.
        finetune_steps: none: points are allocated, not trained.
        progress: hears of every step and point; None shows lines on standard error.
        settings: all other keywords of `convert`.

    Returns:
        The points, the one chosen, a table and a plot; ``result()`` is the conversion of the one chosen.

    Raises:
        HgqifyError: what the user can mend: the model, the data, the settings, a budget; `BudgetError` where
            no budget can be met.
    """
    show = TextProgress() if progress is None else progress
    if "target_ebops" in settings:
        raise RuleError(
            "a sweep takes budgets, not one target_ebops",
            received=f"target_ebops={settings['target_ebops']!r}",
        )
    refuse_training(finetune_steps)
    if validation is None and validation_labels is not None:
        raise RuleError("validation_labels come with validation data", remedy="give validation, or labels")
    pareto.check_before(budgets=budgets, max_drop=max_drop, jobs=jobs, output=output)
    state = calibrated(
        model,
        calib,
        labels=labels,
        finetune_steps=0,
        under_budget=True,
        key=key,
        allow_pickle=allow_pickle,
        progress=show,
        **settings,
    )
    quantized = state.conversion.model
    judged_on = None
    if validation is not None:
        judged_on = open_for(
            quantized, validation, labels=validation_labels, key=key, allow_pickle=allow_pickle
        )
    program = lower(quantized)
    if exportable and not program.kept:  # what keeps layers in float has no project of the whole
        refuse_unprintable(program, state.project, aliases(state.conversion.report.to_dict()))
    return pareto.sweep(
        state,
        finished,
        budgets=budgets,
        validation=judged_on,
        max_drop=max_drop,
        compensate=compensate,
        output=output,
        force=force,
        jobs=jobs,
        progress=show,
    )
