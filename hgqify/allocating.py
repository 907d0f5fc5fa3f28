"""A calibrated model brought under a budget of EBOPs, or down to what a given loss of accuracy allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras

from hgqify.budget import AllocationReport, Budget
from hgqify.calibrate import (
    Adjustment,
    Sensitivity,
    measure_sensitivity,
)
from hgqify.calibrate.candidates import DataCandidates
from hgqify.convert import Conversion
from hgqify.data import Source
from hgqify.errors import BudgetError
from hgqify.fitting import Fitted, Fitter, fitting_inputs, make_fitter
from hgqify.progress import Event, Progress, no_progress
from hgqify.quality import measure, points_lost

_SEARCHES = 9
_RANGE = 256  # the smallest budget tried is the widest formats' by this
_SAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Allocated:
    """What `allocate` gave a model.

    Attributes:
        report: how bits were allocated.
        fitted: the choice itself, with what settling narrowed at last.
    """

    report: AllocationReport
    fitted: Fitted


def allocate(
    conversion: Conversion,
    source: Source,
    budget: Budget,
    *,
    logits: Sequence[bool],
    settle: Callable[[keras.Model], tuple[Adjustment, ...]],
    margin: int = 1,
    seed: int = 0,
    compensate: bool = True,
    progress: Progress = no_progress,
) -> Allocated:
    """Choose the widths of weights and of what they multiply; no step of training is taken.

    The calibrated formats are the upper limits. Formats of additions, tables and outputs stay.

    Args:
        conversion: its model is calibrated; the formats in it are changed.
        source: calibration data.
        budget: what to aim at.
        logits: for each output, whether it holds class scores.
        settle: brings the model into the state it is deployed in.
        margin: as the model was calibrated with.
        seed: of the sampled sensitivity.
        compensate: let the weights make good for rounding (see `calibrate.Compensator`); they move.
        progress: hears of every batch and trial.

    Raises:
        BudgetError: a budget or drop that cannot be met; says what can.
    """

    def sensitivity(candidates: Mapping[str, DataCandidates]) -> Sensitivity:
        return measure_sensitivity(
            conversion.clone, source, candidates, logits=logits, seed=seed, progress=progress
        )

    inputs = fitting_inputs(conversion.clone, source) if compensate else None
    fitter = make_fitter(
        conversion.model, conversion.clone, sensitivity, inputs=inputs, settle=settle, margin=margin
    )
    drop = None
    if budget.target_ebops is not None:
        fitted = fitter.fit(budget.target_ebops)
    else:
        search = _DropSearch(conversion, source, logits, fitter, float(budget.max_drop or 0), progress)
        fitted, drop = search.run()
    return Allocated(report=fitter.report(fitted, budget, drop), fitted=fitted)


@dataclass(frozen=True)
class _DropSearch:
    """The smallest EBOPs whose measured drop is within bounds, by bisection on their logarithm."""

    conversion: Conversion
    source: Source
    logits: Sequence[bool]
    fitter: Fitter
    max_drop: float
    progress: Progress

    def run(self) -> tuple[Fitted, float]:
        """The model is left with the formats found.

        Raises:
            BudgetError: the model names no classes, or even the widest formats lose more.
        """
        best = self.fitter.use(self.fitter.allocator.at_limits())
        drop = self._drop()
        if drop > self.max_drop:
            raise BudgetError(
                "even the widest formats that settings and rules allow lose more",
                received=f"max_drop {self.max_drop:g} points; lost: {drop:.2f}",
                remedy=f"allow {drop:.2f} points, or raise weight_bits and activation_bits",
            )
        found, high = drop, float(self.fitter.allocator.at_limits().ebops)
        low = high / _RANGE
        for count in range(_SEARCHES):
            aim = int((low * high) ** 0.5)
            try:
                tried = self.fitter.use(self.fitter.allocator.solve(aim), aim)
            except BudgetError:  # fewer than any allocation has
                low = aim
                continue
            drop = self._drop()
            if drop <= self.max_drop:
                high = aim
                if tried.ebops < best.ebops:
                    best, found = tried, drop
            else:
                low = aim
            values = {"EBOPs": float(tried.ebops), "drop": drop}
            self.progress(
                Event(stage="search", done=count + 1, total=_SEARCHES, unit="budgets", values=values)
            )
        return self.fitter.use(best.allocation, best.aim), found

    def _drop(self) -> float:
        """Points lost against the float model."""
        quality = measure(
            self.conversion.clone,
            self.conversion.model,
            self.source,
            logits=self.logits,
            limit=_SAMPLES,
            name="calibration data",
        )
        lost = points_lost(quality)
        if lost is None:
            raise BudgetError(
                "max_drop counts classes, and the model's outputs name none",
                remedy="give target_ebops instead",
            )
        return lost
