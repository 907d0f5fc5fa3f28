"""The last stages of a conversion, when widths are chosen: fine-tuned, lowered, reported."""

from __future__ import annotations

import dataclasses

import keras

from hgqify.budget import AllocationReport
from hgqify.calibrated import Calibrated, timed
from hgqify.finetune import (
    Entry,
    Finetuned,
    OwnTraining,
    Storage,
    TrainingBudget,
    finetune,
)
from hgqify.layers import copied
from hgqify.overflow_choice import choose_overflow
from hgqify.precision import lower
from hgqify.progress import Progress, no_progress
from hgqify.reporting import make_report
from hgqify.result import Result


def finished(
    state: Calibrated,
    allocation: AllocationReport | None,
    *,
    budget: TrainingBudget | None = None,
    own: OwnTraining | None = None,
    storage: Storage | None = None,
    progress: Progress = no_progress,
) -> Result:
    """The last stages of `convert`: fine-tuned if the settings say so, lowered, reported.

    Args:
        state: its model has the formats it is to have, or under a budget starts from; fine-tuning moves them.
        allocation: how they were chosen, if under a budget.
        budget: what fine-tuning keeps; None trains weights only.
        own, storage: as for `finetune`.
        progress: hears of every step.
    """
    conversion, seconds = state.conversion, {**state.seconds}
    if own is not None and state.recipe is not None:
        state = dataclasses.replace(
            state, recipe=state.recipe.without("parts of the fine-tuning of the user's own (OwnTraining)")
        )
    with timed("finetune", seconds):
        tuned = finetune(
            conversion.model,
            conversion.clone,
            state.source,
            logits=state.logits,
            settings=state.training,
            settle=state.settle,
            budget=budget,
            own=own,
            storage=storage,
            progress=progress,
        )
    return _concluded(state, allocation, tuned, seconds)


def _concluded(
    state: Calibrated, allocation: AllocationReport | None, tuned: Finetuned, seconds: dict[str, float]
) -> Result:
    """Lowered and reported."""
    conversion, trained = state.conversion, tuned.report
    if trained.width_steps:
        state = state.allocated(conversion, state.calibration.adjustments)
    with timed("lower", seconds):
        overflow_choices = ()
        if conversion.auto:
            overflow_choices = choose_overflow(
                conversion.model, conversion.auto, margin=state.calibrating.margin
            )
            state = state.allocated(conversion, state.calibration.adjustments)
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
            equalized=state.equalized,
            corrected=state.corrected,
            overflow_choices=overflow_choices,
            settings={
                name: value
                for part in (state.settings, state.calibrating, state.training)
                for name, value in dataclasses.asdict(part).items()
            },
            seconds=seconds,
            archive=tuned.archive,
        )

    recipe = state.recipe
    if recipe is not None and allocation is not None:
        recipe = recipe.under(
            target_ebops=allocation.target_ebops,
            # A point of a sweep is one budget; the drop that chose it would be looked for anew.
            max_drop=allocation.max_drop if allocation.target_ebops is None else None,
            compensate=allocation.compensated,
        )

    def choose(entry: Entry) -> Result:
        """Another model that the training passed through; this one stays as it is."""
        model = keras.models.clone_model(conversion.model, clone_function=copied)
        for variable, value in zip(model.variables, entry.weights, strict=True):
            variable.assign(value)
        other = dataclasses.replace(
            state, conversion=dataclasses.replace(conversion, model=model), recipe=None
        )
        told = dataclasses.replace(trained, best_step=entry.step, loss=entry.loss, lost=None)
        return _concluded(other, allocation, dataclasses.replace(tuned, report=told), {**seconds})

    return Result(
        model=conversion.model,
        float_model=conversion.clone,
        program=program,
        report=report,
        project=state.project,
        archive=tuned.archive,
        choose=choose,
        recipe=recipe,
    )
