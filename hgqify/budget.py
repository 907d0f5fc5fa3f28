"""A calibrated model brought under a budget of EBOPs, or down to what a given loss of accuracy allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calibrate import (
    Adjustment,
    Allocation,
    Allocator,
    Compensator,
    Sensitivity,
    Share,
    measure_sensitivity,
    samples_to_fit,
)
from hgqify.calibrate.allocate import LEAST_USE
from hgqify.calibrate.candidates import DataCandidates
from hgqify.convert import Conversion
from hgqify.data import Source
from hgqify.errors import BudgetError, RuleError
from hgqify.precision import Program, lower, total_ebops
from hgqify.progress import Event, Progress, no_progress
from hgqify.quality import measure, points_lost

_ATTEMPTS = 6
_SEARCHES = 9
_RANGE = 256  # the smallest budget tried is the widest formats' by this
_SAMPLES = 2000
_AIM = 0.99  # of the budget: what is settled lands a little above or below


@dataclass(frozen=True, kw_only=True)
class AllocationReport:
    """How the bits were allocated.

    Attributes:
        target_ebops: the budget; None if the drop decided.
        max_drop: the drop allowed, in points; None if the budget decided.
        ebops: exact EBOPs with the formats chosen.
        limit_ebops: the same with every quantizer as wide as settings and rules allow.
        loss: expected increase of the loss per sample (KL divergence from the float model for class
            scores), by the quadratic estimate, before weights made good for rounding.
        price: loss paid per EBOP at the end.
        drop: measured on calibration data, in points; None if the budget decided.
        samples: samples the sensitivity was measured on.
        compensated: whether weights were moved to make good for rounding.
        uncompensated: by layer, why its weights were not, although others were.
        shares: kernels and inputs with their part of the loss, the most sensitive first.
    """

    target_ebops: int | None
    max_drop: float | None
    ebops: int
    limit_ebops: int
    loss: float
    price: float
    drop: float | None
    samples: int
    compensated: bool
    uncompensated: Mapping[str, str]
    shares: tuple[Share, ...]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the allocation aims at: exactly one of the two.

    Attributes:
        target_ebops: exact EBOPs of the whole model, at most.
        max_drop: percentage points of accuracy (with labels) or of agreement with the float model (without)
            that may be lost on the calibration data.

    Raises:
        RuleError: both, or impossible values.
    """

    target_ebops: int | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        target, drop = self.target_ebops, self.max_drop
        if (target is None) == (drop is None):
            raise RuleError(
                "give either target_ebops or max_drop",
                received=f"target_ebops={target!r}, max_drop={drop!r}",
            )
        if target is not None and (isinstance(target, bool) or not isinstance(target, int) or target < 1):
            raise RuleError("target_ebops must be a whole number above 0", received=repr(target))
        if drop is not None and (
            isinstance(drop, bool) or not isinstance(drop, int | float) or not drop >= 0
        ):
            raise RuleError("max_drop must be a number of percentage points, 0 or more", received=repr(drop))


def refuse_training(finetune_steps: int | None) -> None:
    """Under a budget no step of training is taken.

    Raises:
        RuleError: steps are asked for.
    """
    if finetune_steps:
        raise RuleError(
            "fine-tuning does not keep a budget yet: moved weights may take more EBOPs",
            received=f"finetune_steps={finetune_steps}",
            remedy="leave finetune_steps out under a budget, or leave the budget out",
        )


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
) -> tuple[AllocationReport, tuple[Adjustment, ...]]:
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

    Returns:
        The report, and what settling narrowed at last.

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
    return fitter.report(fitted, budget, drop), fitted.adjustments


def fitting_inputs(clone: keras.Model, source: Source) -> tuple[np.ndarray, ...]:
    """The samples that weights are refitted to."""
    count = samples_to_fit(clone)
    return next(iter(source.batches(count, limit=count))).inputs


def make_fitter(
    model: keras.Model,
    clone: keras.Model,
    sensitivity: Callable[[Mapping[str, DataCandidates]], Sensitivity],
    *,
    inputs: Sequence[np.ndarray] | None,
    settle: Callable[[keras.Model], tuple[Adjustment, ...]],
    margin: int = 1,
) -> Fitter:
    """What brings a calibrated model under any budget.

    Args:
        model: calibrated quantized model, which will be changed.
        clone: float model with the same layers.
        sensitivity: from the candidates of every layer's input to their losses.
        inputs: what the weights are refitted to, see `fitting_inputs`; None leaves them as they are.
        settle, margin: as for `allocate`.

    Raises:
        BudgetError: the model has nothing to allocate.
    """
    if inputs is None:
        return Fitter(model, Allocator(model, sensitivity, margin=margin), None, settle)
    compensator = Compensator(model, clone, inputs)
    allocator = Allocator(model, sensitivity, margin=margin, remaining=compensator.remaining)
    return Fitter(model, allocator, compensator, settle)


def _refuse_constant(fitted: Fitted, fitter: Fitter) -> None:
    """A budget so small that the outputs no longer depend on the inputs is none.

    Raises:
        BudgetError: every output is constant.
    """
    infos = [fitted.program.by_name[name].info for name in fitted.program.outputs]
    if all(info is not None and bool(np.all(info.low == info.high)) for info in infos):
        raise BudgetError(
            "the budget leaves nothing of the model: its outputs are constant",
            received=f"{fitted.ebops:,} EBOPs",
            remedy=f"raise it; the widest formats take {fitter.allocator.at_limits().ebops:,}",
        )


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A model under a budget, settled.

    Attributes:
        allocation: the choice of widths it has.
        aim: EBOPs that weights which make good for rounding were brought to; see `Fitter.use`.
        program: its integers.
        ebops: exact, of the program.
        adjustments: what settling narrowed.
    """

    allocation: Allocation
    aim: int | None
    program: Program
    ebops: int
    adjustments: tuple[Adjustment, ...]


@dataclass(frozen=True)
class Fitter:
    """Allocations that hold after settling, which may take bits (float32) or add some (proved overflow)."""

    model: keras.Model
    allocator: Allocator
    compensator: Compensator | None
    settle: Callable[[keras.Model], tuple[Adjustment, ...]]

    def use(self, allocation: Allocation, aim: int | None = None) -> Fitted:
        """Give the model an allocation, settled, and count what the firmware will have.

        Args:
            allocation: of the allocator.
            aim: EBOPs that weights which make good for rounding are brought to; None for the allocation's
                own price.
        """
        if self.compensator is None:
            self.allocator.apply(allocation)
        else:
            self.compensator.apply(self.allocator, allocation, aim)
        adjustments = self.settle(self.model)
        program = lower(self.model)
        return Fitted(
            allocation=allocation,
            aim=aim,
            program=program,
            ebops=total_ebops(program),
            adjustments=adjustments,
        )

    def fit(self, target: int) -> Fitted:
        """The model under ``target`` EBOPs, as close to it as a few corrected attempts come."""
        best: Fitted | None = None
        fewest: int | None = None
        fixed, limits = self.allocator.fixed, self.allocator.at_limits()
        aim = target
        for _ in range(_ATTEMPTS):
            allocation = self.allocator.solve(aim)
            tried = self.use(allocation, aim)
            fewest = tried.ebops if fewest is None else min(fewest, tried.ebops)
            if tried.ebops <= target and (best is None or tried.ebops > best.ebops):
                best = tried
            at_limits = allocation is limits
            if tried.ebops <= target and (tried.ebops >= LEAST_USE * target or at_limits):
                break
            # What is not allocated stays; the rest was missed by a factor that hardly changes.
            miss = (_AIM * target - fixed) / max(tried.ebops - fixed, 1)
            aim = max(fixed + 1, fixed + int((aim - fixed) * miss))
        if best is None:
            raise BudgetError(
                "no allocation that stays exact meets the budget",
                received=f"{target:,} EBOPs",
                remedy=f"the least that was reached is {fewest:,}",
            )
        return best if best is tried else self.use(best.allocation, best.aim)

    def report(self, fitted: Fitted, budget: Budget, drop: float | None = None) -> AllocationReport:
        """How the bits were allocated.

        Args:
            fitted: what this fitter gave the model.
            budget: what was aimed at.
            drop: points lost, where they were measured.

        Raises:
            BudgetError: the outputs no longer depend on the inputs.
        """
        _refuse_constant(fitted, self)
        return AllocationReport(
            target_ebops=budget.target_ebops,
            max_drop=budget.max_drop,
            ebops=fitted.ebops,
            limit_ebops=self.allocator.at_limits().ebops,
            loss=fitted.allocation.loss,
            price=fitted.allocation.price,
            drop=drop,
            samples=self.allocator.sensitivity.samples,
            compensated=self.compensator is not None,
            uncompensated={} if self.compensator is None else self.compensator.left,
            shares=self.allocator.shares(fitted.allocation),
        )


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
