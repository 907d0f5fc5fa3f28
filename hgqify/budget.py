"""A budget of EBOPs, and how bits were allocated under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hgqify.calibrate import (
    Share,
)
from hgqify.errors import RuleError


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
    """Points of a sweep are allocated, not trained.

    Raises:
        RuleError: steps are asked for.
    """
    if finetune_steps:
        raise RuleError(
            "the points of a sweep over several budgets are not fine-tuned",
            received=f"finetune_steps={finetune_steps}",
            remedy="leave finetune_steps out; fine-tune the chosen budget with target_ebops",
        )
