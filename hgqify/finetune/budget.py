"""Under which budget a model is trained, and how EBOPs are counted for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from hgqify.finetune.judge import Look
from hgqify.finetune.twin import Limits

LEAST_USE = 0.95
"""Share of the budget that a trained model uses at least."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingBudget:
    """What the training has to keep.

    Attributes:
        target_ebops: exact EBOPs of the deployed model, at most; with ``max_drop`` those it starts from.
        price: of one EBOP in units of the loss, at which allocation ended: where the controller starts.
        limits: by name, of the layers whose widths are trained.
        count: exact EBOPs of a settled model.
        max_drop: percentage points that may be lost (see `Look.lost`), for as few EBOPs as that allows; None
            for a fixed budget.
    """

    target_ebops: int
    price: float
    limits: Mapping[str, Limits]
    count: Callable[[keras.Model], int]
    max_drop: float | None = None

    def allows(self, ebops: int | None, lost: float | None = None) -> bool:
        """Whether so many EBOPs keep the budget and use it; with ``max_drop``, whether so little is lost."""
        if self.max_drop is not None:
            return lost is not None and lost <= self.max_drop
        return ebops is not None and LEAST_USE * self.target_ebops < ebops <= self.target_ebops

    def better(self, look: Look, best: Look) -> bool:
        """Whether one of two allowed models is better: less loss; with ``max_drop``, fewer EBOPs first."""
        if self.max_drop is None:
            return look.loss < best.loss
        return (look.ebops or 0, look.loss) < (best.ebops or 0, best.loss)
