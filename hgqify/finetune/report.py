"""What a fine-tuning did."""

from __future__ import annotations

from dataclasses import dataclass

from hgqify.finetune.callbacks import Collapse
from hgqify.finetune.judge import Look


@dataclass(frozen=True, kw_only=True)
class FinetuneReport:
    """What fine-tuning did.

    Attributes:
        steps: optimizer steps taken.
        best_step: the step whose weights were kept; 0 for those before training.
        start_loss, loss: loss on the held-out samples before, and of the weights kept.
        losses: held-out loss by step, as evaluated.
        samples, holdout: samples trained on, and held out.
        width_steps: the first of the steps, in which widths were trained too.
        lost: percentage points that the weights kept lose, where a drop was asked for (see `Look.lost`).
        looks: every evaluation with its exact EBOPs, under a budget.
        collapses: layers that lost all bits, and were given them back.
        interrupted: whether the user stopped it.
        resumed_at: the step from which it went on after it had been stopped; None if it never was.
        note: why nothing was trained; empty otherwise.
    """

    steps: int
    best_step: int
    start_loss: float
    loss: float
    losses: tuple[tuple[int, float], ...]
    samples: int
    holdout: int
    width_steps: int = 0
    lost: float | None = None
    looks: tuple[Look, ...] = ()
    collapses: tuple[Collapse, ...] = ()
    interrupted: bool = False
    resumed_at: int | None = None
    note: str = ""
