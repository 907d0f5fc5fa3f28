"""A sweep: one calibration and one sensitivity, many budgets, one front."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hgqify.budget import AllocationReport, Budget
from hgqify.calibrated import Calibrated, timed
from hgqify.data import Source, collect
from hgqify.errors import BudgetError, ExportError
from hgqify.files import atomic_write
from hgqify.pareto.budgets import as_budgets, default_budgets
from hgqify.pareto.front import Metric, SweepPoint, Unmet, metric_of, ranked, rule_of
from hgqify.pareto.job import Outcome, Prepared, prepare
from hgqify.pareto.plot import draw
from hgqify.pareto.run import check_jobs, run_points
from hgqify.pareto.store import Store, check_folder, fingerprint
from hgqify.pareto.table import aligned
from hgqify.progress import Progress
from hgqify.quality import points_lost, scoring_outputs
from hgqify.report import Quality, plain
from hgqify.result import Result
from hgqify.version import hgqify_version

SCHEMA = 1
REPORT_FILE = "sweep.json"
PLOTS = ("sweep.png", "sweep.svg")
CALIBRATION_SAMPLES = 2000
"""Most samples judged on, of the calibration data: those that a report of a conversion is measured on."""
VALIDATION_SAMPLES = 10_000
"""Most samples judged on, of separate data: they go to every worker."""


class Finish(Protocol):
    """The last stages of a conversion, see `hgqify.concluding.finished`."""

    def __call__(self, state: Calibrated, allocation: AllocationReport | None, /) -> Result: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """Budgets of EBOPs and what is left of the model under each.

    Attributes:
        points: one per budget that was met, the largest first.
        unmet: the budgets that were not.
        metric: what points are judged by.
        float_metric: the float model's; None where it is judged by itself (agreement, SQNR).
        samples: number of samples judged on.
        data: what they are.
        limit_ebops: of the widest formats that settings and rules allow.
        max_drop: points that may be lost; None for the default rule.
        model: its name.
        notes: what was not done, and why.
        files: what was written to the output folder.
        seconds: time of each stage.
    """

    points: tuple[SweepPoint, ...]
    unmet: tuple[Unmet, ...]
    metric: Metric
    float_metric: float | None
    samples: int
    data: str
    limit_ebops: int
    max_drop: float | None
    model: str
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    _results: _Results = field(repr=False)

    @property
    def chosen(self) -> SweepPoint | None:
        """The point of choice; None where all lose more than ``max_drop``."""
        return next((point for point in self.points if point.chosen), None)

    @property
    def rule(self) -> str:
        """By what the point is chosen."""
        return rule_of(self.metric, self.max_drop)

    def result(self, point: SweepPoint | None = None) -> Result:
        """The conversion of a point, as ``convert(target_ebops=point.target_ebops)`` gives it; nothing is
        allocated again.

        Args:
            point: of this sweep; None for the one chosen.

        Raises:
            BudgetError: none is chosen, because all lose more than ``max_drop``.
        """
        if point is None:
            point = self.chosen
        if point is None:
            best = min(self.points, key=lambda point: (point.drop or 0.0, point.ebops))
            raise BudgetError(
                "every point of the sweep loses more than is allowed",
                received=f"max_drop {self.max_drop:g} points",
                remedy=f"the least lost is {best.drop or 0.0:.2f}, at {best.ebops:,} EBOPs: allow that, or "
                "give larger budgets",
            )
        result = self._results.make(point.target_ebops)
        return dataclasses.replace(result, report=dataclasses.replace(result.report, sweep=self._told()))

    def _told(self) -> dict[str, Any]:
        """The sweep for the report of one of its points."""
        names = ("target_ebops", "ebops", "metric", "drop", "loss", "on_front", "chosen")
        return {
            "points": [{name: getattr(point, name) for name in names} for point in self.points],
            "metric": self.metric.value,
            "float_metric": self._reference(),
            "samples": self.samples,
            "data": self.data,
            "rule": self.rule,
        }

    def table(self) -> str:
        """The points as aligned text, the one chosen marked, and what was judged on."""
        names = ["budget", "EBOPs", f"{self.metric.value} {self.metric.unit}"]
        classes = self.metric is not Metric.SQNR
        rows = [[*names, *(["points lost"] if classes else []), "loss", "s", ""]]
        for point in self.points:
            mark = "<- chosen" if point.chosen else "" if point.on_front else "dominated"
            rows.append(
                [
                    *(f"{point.target_ebops:,}", f"{point.ebops:,}", f"{point.metric:.2f}"),
                    *([f"{point.drop:.2f}"] if point.drop is not None else []),
                    *(f"{point.loss:.3g}", f"{point.seconds:.1f}", mark),
                ]
            )
        judged = f"{self.metric.title} on {self.samples:,} samples of {self.data}"
        if self.float_metric is not None:
            judged += f"; float model {self.float_metric:.2f} {self.metric.unit}"
        lines = [f"{self.model}: {judged}; widest formats {self.limit_ebops:,} EBOPs", aligned(rows)]
        lines += [f"{unmet.target_ebops:,}: {unmet.reason}" for unmet in self.unmet]
        missed = "" if self.chosen is not None else ", and there is none"
        return "\n".join([*lines, f"chosen: {self.rule}{missed}", *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the schema's version; numbers that JSON lacks (infinity) become None."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "_results"}
        for name in ("points", "unmet"):
            fields[name] = [dataclasses.asdict(entry) for entry in fields[name]]
        return {"schema": SCHEMA, "version": hgqify_version(), "rule": self.rule, **plain(fields)}

    def to_json(self) -> str:
        """The sweep as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw EBOPs against the metric, the front joined, the point chosen marked.

        Args:
            path: of the picture: .png, .svg or .pdf.

        Raises:
            ExportError: matplotlib is not installed, or does not know the format.
        """
        title = f"{self.model}: {self.samples:,} samples of {self.data}"
        draw(path, self.points, metric=self.metric, float_metric=self._reference(), title=title)

    def _reference(self) -> float | None:
        return 100.0 if self.metric is Metric.AGREEMENT else self.float_metric


@dataclass(frozen=True, eq=False)
class _Results:
    """Points as models: built from the variables that their jobs gave."""

    state: Calibrated
    prepared: Prepared
    outcomes: dict[int, Outcome]
    finish: Finish

    def make(self, target: int) -> Result:
        outcome = self.outcomes[target]
        model = self.prepared.model.build(outcome.weights)
        clone = self.prepared.clone.build()
        conversion = dataclasses.replace(self.state.conversion, model=model, clone=clone)
        state = self.state.allocated(conversion, outcome.adjustments)
        allocated = round(outcome.seconds, 2)
        state = dataclasses.replace(state, seconds={**state.seconds, "allocate": allocated})
        return self.finish(state, outcome.allocation)


def sweep(
    state: Calibrated,
    finish: Finish,
    *,
    budgets: Sequence[int] | None = None,
    validation: Source | None = None,
    max_drop: float | None = None,
    compensate: bool = True,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    jobs: int | None = None,
    progress: Progress,
) -> Sweep:
    """Bring a calibrated model under several budgets; see `hgqify.sweep`.

    Args:
        state: its model is not changed.
        finish: makes the result of a point.
        budgets, max_drop, compensate, output, force, jobs, progress: as for `hgqify.sweep`.
        validation: what to judge on; None for the calibration data.

    Raises:
        HgqifyError: as `hgqify.sweep`.
    """
    conversion, seconds = state.conversion, {**state.seconds}
    judged_on = state.source if validation is None else validation
    limit = CALIBRATION_SAMPLES if validation is None else VALIDATION_SAMPLES
    with timed("sensitivity", seconds):
        prepared = prepare(
            state,
            logits=scoring_outputs(state.logits, conversion.clone, judged_on),
            data=collect(judged_on, limit),
            data_name="calibration data" if validation is None else "validation data",
            compensate=compensate,
            progress=progress,
        )
    widest = prepared.quality(conversion.clone, conversion.model)
    metric = metric_of(widest)
    if max_drop is not None and metric is Metric.SQNR:
        raise BudgetError(
            "max_drop counts classes, and the model's outputs name none", remedy="leave max_drop out"
        )
    targets = default_budgets(prepared.limit_ebops) if budgets is None else as_budgets(budgets)
    store = None
    if output is not None:
        store = Store(Path(output), fingerprint(prepared, state), force=force)
    with timed("points", seconds):
        outcomes = run_points(prepared, targets, metric=metric, jobs=jobs, store=store, progress=progress)
    unmet = tuple(Unmet(target_ebops=o.target_ebops, reason=o.reason) for o in outcomes if o.reason)
    if len(unmet) == len(outcomes):
        raise BudgetError(
            "no budget of the sweep can be met:\n  "
            + "\n  ".join(f"{entry.target_ebops:,}: {entry.reason}" for entry in unmet),
            remedy=f"give larger ones; the widest formats take {prepared.limit_ebops:,} EBOPs",
        )
    found = Sweep(
        points=ranked([_point(o, metric) for o in outcomes if not o.reason], metric, max_drop),
        unmet=unmet,
        metric=metric,
        float_metric=None if metric is not Metric.ACCURACY else 100 * (widest.float_accuracy or 0.0),
        samples=widest.samples,
        data=prepared.data_name,
        limit_ebops=prepared.limit_ebops,
        max_drop=max_drop,
        model=conversion.model.name,
        seconds=seconds,
        _results=_Results(state, prepared, {o.target_ebops: o for o in outcomes}, finish),
    )
    return found if output is None else _written(found, Path(output))


def check_before(
    *,
    budgets: object = None,
    max_drop: float | None = None,
    jobs: int | None = None,
    output: str | os.PathLike[str] | None = None,
) -> None:
    """Refuse what is wrong about a sweep before any work.

    Raises:
        HgqifyError: impossible budgets, drop or jobs, or an output folder that holds something else.
    """
    check_jobs(jobs)
    if budgets is not None:
        as_budgets(budgets)
    if max_drop is not None:
        Budget(max_drop=max_drop)
    if output is not None:
        check_folder(output)


def _point(outcome: Outcome, metric: Metric) -> SweepPoint:
    quality, allocation = _measured(outcome)
    return SweepPoint(
        target_ebops=outcome.target_ebops,
        ebops=allocation.ebops,
        metric=metric.of(quality),
        drop=points_lost(quality),
        loss=allocation.loss,
        quality=quality,
        seconds=outcome.seconds,
    )


def _measured(outcome: Outcome) -> tuple[Quality, AllocationReport]:
    if outcome.quality is None or outcome.allocation is None:
        raise BudgetError(outcome.reason, where=f"{outcome.target_ebops:,} EBOPs")
    return outcome.quality, outcome.allocation


def _written(found: Sweep, folder: Path) -> Sweep:
    """Table and plots beside the points; what cannot be drawn is noted."""
    files, notes = [REPORT_FILE], list(found.notes)
    try:
        for name in PLOTS:
            found.plot(folder / name)
            files.append(name)
    except ExportError as error:
        notes.append(str(error))
    found = dataclasses.replace(found, notes=tuple(notes), files=tuple(files))
    atomic_write(folder / REPORT_FILE, found.to_json() + "\n")
    return found
