"""Allocations brought to what a budget allows, as the firmware will have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.budget import AllocationReport, Budget
from hgqify.calibrate import (
    Adjustment,
    Allocation,
    Allocator,
    Compensator,
    Sensitivity,
    samples_to_fit,
)
from hgqify.calibrate.allocate import LEAST_USE
from hgqify.calibrate.candidates import DataCandidates
from hgqify.data import Source
from hgqify.errors import BudgetError
from hgqify.precision import Program, lower, total_ebops

_ATTEMPTS = 6
_SMALL = 15  # budgets below the widest formats' by this are small
_AIM = 0.99  # of the budget: what is settled lands a little above or below


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
    return Fitter(model, allocator, compensator, settle, allocator.halfway())


def _refuse_constant(fitted: Fitted, fitter: Fitter) -> None:
    """A budget so small that the outputs no longer depend on the inputs is none.

    Raises:
        BudgetError: every output is constant.
    """
    infos = [fitted.program.by_name[name].info for name in fitted.program.model_outputs]
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
        allocator: whose choice of widths it has.
        allocation: that choice.
        aim: EBOPs that weights which make good for rounding were brought to; see `Fitter.use`.
        program: its integers.
        ebops: exact, of the program.
        adjustments: what settling narrowed.
    """

    allocator: Allocator
    allocation: Allocation
    aim: int | None
    program: Program
    ebops: int
    adjustments: tuple[Adjustment, ...]


@dataclass(frozen=True)
class Fitter:
    """Allocations that hold after settling, which may take bits (float32) or add some (proved overflow).

    Attributes:
        model: the quantized model.
        allocator: of the model.
        compensator: lets weights make good for rounding; None if they stay.
        settle: brings the model into the state it is deployed in.
        cautious: another allocator of the model, which is tried too where budgets are small.
        caps: how often weights may be capped that settling would narrow.
    """

    model: keras.Model
    allocator: Allocator
    compensator: Compensator | None
    settle: Callable[[keras.Model], tuple[Adjustment, ...]]
    cautious: Allocator | None = None
    caps: int = 3

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
            allocator=self.allocator,
            allocation=allocation,
            aim=aim,
            program=program,
            ebops=total_ebops(program),
            adjustments=adjustments,
        )

    def fit(self, target: int) -> Fitted:
        """The model under ``target`` EBOPs; at small ones the better of two splits between weights and data.

        Weights with hardly any bits make good for little: how much, is tried rather than estimated.
        """
        found = self._fit(target)
        compensator, limit = self.compensator, self.allocator.at_limits().ebops
        if compensator is None or self.cautious is None or target * _SMALL > limit:
            return found
        noise = compensator.noise()
        other = dataclasses.replace(self, allocator=self.cautious)._fit(target)
        return other if compensator.noise() < noise else self._again(found)

    def _again(self, found: Fitted) -> Fitted:
        return dataclasses.replace(self, allocator=found.allocator).use(found.allocation, found.aim)

    def _fit(self, target: int) -> Fitted:
        """As close to ``target`` as a few corrected attempts come."""
        best: Fitted | None = None
        fewest: int | None = None
        fixed, limits = self.allocator.fixed, self.allocator.at_limits()
        aim = target
        for _ in range(_ATTEMPTS):
            allocation = self.allocator.solve(aim)
            tried = self.use(allocation, aim)
            # Bits that settling takes of rounded weights are errors nothing makes good for.
            narrowed = {a.layer for a in tried.adjustments if a.part == "kernel"}
            if narrowed and self.compensator is not None and self.caps > 0:
                allocator = self.allocator.capped(narrowed)
                return dataclasses.replace(self, allocator=allocator, caps=self.caps - 1)._fit(target)
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
        return best if best is tried else self._again(best)

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
            shares=fitted.allocator.shares(fitted.allocation),
        )
