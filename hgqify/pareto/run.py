"""All points of a sweep, here or on whatever joblib's backend reaches."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from typing import Any

import joblib
from joblib.parallel import LokyBackend, MultiprocessingBackend, SequentialBackend, get_active_backend

from hgqify.errors import RuleError
from hgqify.pareto.front import Metric
from hgqify.pareto.job import Outcome, Prepared, Worker, do_point, packed
from hgqify.pareto.store import Store
from hgqify.progress import Event, Progress


def check_jobs(jobs: int | None) -> None:
    """Refuse what joblib would not take, or take and never finish.

    Raises:
        RuleError: neither None nor a whole number other than 0; or joblib's backend forks.
    """
    if type(get_active_backend()[0]) is MultiprocessingBackend:  # Ray's is a subclass that does not fork
        raise RuleError(
            "joblib's backend 'multiprocessing' forks this process, and JAX does not work in the copy",
            remedy="use 'loky', joblib's default",
        )
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs == 0):
        raise RuleError(
            "jobs must be a whole number: how many processes, or -1 for one per core", received=repr(jobs)
        )


def run_points(
    prepared: Prepared,
    budgets: Sequence[int],
    *,
    metric: Metric,
    jobs: int | None,
    store: Store | None,
    progress: Progress,
) -> tuple[Outcome, ...]:
    """One outcome per budget, in their order.

    Args:
        prepared: what all points share.
        budgets: each once.
        metric: what progress tells of every point.
        jobs: processes; None for one, or as the active joblib backend has it.
        store: finished points are taken from it, and each new one is written to it at once.
        progress: hears of every point.

    Raises:
        HgqifyError: what stops a point, other than a budget that cannot be met.
    """
    found = {target: store.load(target) for target in budgets} if store is not None else {}
    done = {target: outcome for target, outcome in found.items() if outcome is not None}
    missing = [target for target in budgets if target not in done]
    progress(Event(stage="sweep", done=len(done), total=len(budgets), unit="points"))
    outcomes = _outcomes(prepared, missing, jobs)
    try:
        for outcome in outcomes:
            if store is not None:
                store.save(outcome)
            done[outcome.target_ebops] = outcome
            progress(
                Event(
                    stage="sweep",
                    done=len(done),
                    total=len(budgets),
                    unit="points",
                    values=_figures(outcome, metric),
                    milestone=True,
                )
            )
    finally:
        # Workers stop at once when something is raised; joblib warns of jobs that are dropped.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            outcomes.close()
    return tuple(done[target] for target in budgets)


def _outcomes(prepared: Prepared, targets: Sequence[int], jobs: int | None) -> Generator[Outcome]:
    """As they come."""
    if not targets:
        return
    if _is_alone(jobs):
        worker = Worker(prepared)
        yield from (worker.point(target) for target in targets)
        return
    data = packed(prepared)
    calls = [joblib.delayed(do_point)(data, target) for target in targets]
    make: Any = joblib.Parallel
    try:
        parallel = make(n_jobs=jobs, batch_size=1, return_as="generator_unordered")
    except ValueError:  # Ray: results come only when all are there
        parallel = make(n_jobs=jobs, batch_size=1)
    yield from parallel(calls)


def _is_alone(jobs: int | None) -> bool:
    """Whether one process of this machine does all: this one then, which builds the models once.

    A backend that the user chose is used even for one job: it may be another machine.
    """
    backend, _ = get_active_backend()
    count: Any = jobs
    return joblib.effective_n_jobs(count) == 1 and isinstance(backend, LokyBackend | SequentialBackend)


def _figures(outcome: Outcome, metric: Metric) -> dict[str, float]:
    figures = {"budget": float(outcome.target_ebops)}
    if outcome.allocation is not None and outcome.quality is not None:
        figures["EBOPs"] = float(outcome.allocation.ebops)
        figures[f"{metric.value} {metric.unit}"] = metric.of(outcome.quality)
    return figures
