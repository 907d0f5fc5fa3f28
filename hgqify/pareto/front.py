"""Points of a sweep: which are on the Pareto front, and which one is chosen."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from hgqify.report import Quality

FREE_DROP = 0.5
"""Percentage points that the chosen point may lose where no max_drop is given."""

GOOD_SQNR_DB = 30.0
"""The same for outputs without classes: errors of 3 % of the output's root mean square."""


class Metric(enum.StrEnum):
    """What points are judged by: the first of these that model and data have."""

    ACCURACY = "accuracy"
    AGREEMENT = "agreement"
    SQNR = "sqnr"

    @property
    def unit(self) -> str:
        """Of its values."""
        return "dB" if self is Metric.SQNR else "%"

    @property
    def title(self) -> str:
        """For people."""
        return _TITLES[self]

    def of(self, quality: Quality) -> float:
        """Its value, in its unit."""
        if self is Metric.SQNR:
            return quality.output_sqnr_db
        found = quality.accuracy if self is Metric.ACCURACY else quality.agreement
        return 100 * (found or 0.0)


_TITLES = {
    Metric.ACCURACY: "accuracy",
    Metric.AGREEMENT: "same class as float",
    Metric.SQNR: "signal to quantization noise",
}


def metric_of(quality: Quality) -> Metric:
    """What points are judged by: accuracy with labels, else agreement with the float model, else SQNR."""
    if quality.accuracy is not None:
        return Metric.ACCURACY
    return Metric.SQNR if quality.agreement is None else Metric.AGREEMENT


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One budget of a sweep.

    Attributes:
        target_ebops: the budget.
        ebops: exact EBOPs of the model under it.
        metric: value of the sweep's metric: percent, or dB.
        drop: percentage points lost against the float model; None for outputs without classes.
        loss: expected increase of the loss per sample, by which bits were allocated.
        quality: all that was measured.
        seconds: of work for this point.
        on_front: no other point has more of the metric for as many EBOPs, or as much for fewer.
        chosen: whether it is the sweep's choice.
    """

    target_ebops: int
    ebops: int
    metric: float
    drop: float | None
    loss: float
    quality: Quality
    seconds: float
    on_front: bool = False
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Unmet:
    """A budget that no allocation meets.

    Attributes:
        target_ebops: the budget.
        reason: why, and what can be met.
    """

    target_ebops: int
    reason: str


def rule_of(metric: Metric, max_drop: float | None) -> str:
    """By what the point is chosen, in words."""
    if max_drop is not None:
        return f"the fewest EBOPs that lose at most {max_drop:g} points"
    if metric is Metric.SQNR:
        return f"the fewest EBOPs with at least {GOOD_SQNR_DB:g} dB, else the most dB"
    return f"the fewest EBOPs that lose at most {FREE_DROP:g} points, else the best {metric.title}"


def ranked(points: Sequence[SweepPoint], metric: Metric, max_drop: float | None) -> tuple[SweepPoint, ...]:
    """The points, most EBOPs first, with front and choice marked.

    Args:
        points: of one sweep.
        metric: what they are judged by.
        max_drop: points that may be lost; then none is chosen if all lose more.
    """
    points = sorted(points, key=lambda point: (-point.target_ebops, -point.ebops))
    chosen = _choice(points, metric, max_drop)
    return tuple(
        dataclasses.replace(
            point, on_front=not any(_beats(other, point) for other in points), chosen=point is chosen
        )
        for point in points
    )


def _beats(one: SweepPoint, other: SweepPoint) -> bool:
    """Whether ``one`` is as good in both, and better in one."""
    no_worse = one.ebops <= other.ebops and one.metric >= other.metric
    return no_worse and (one.ebops, one.metric) != (other.ebops, other.metric)


def _choice(points: Sequence[SweepPoint], metric: Metric, max_drop: float | None) -> SweepPoint | None:
    if metric is Metric.SQNR:
        within = [point for point in points if point.metric >= GOOD_SQNR_DB]
    else:
        limit = FREE_DROP if max_drop is None else max_drop
        # A drop is a difference of fractions: 0.4 points may come out as 0.4 and a rounding error.
        within = [point for point in points if point.drop is not None and point.drop <= limit + 1e-9]
    if within:
        return min(within, key=lambda point: (point.ebops, -point.metric))
    if max_drop is not None or not points:
        return None
    return max(points, key=lambda point: (point.metric, -point.ebops))
