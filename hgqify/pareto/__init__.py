"""One model under many budgets of EBOPs: the Pareto front from one calibration.

Run
    sweep -> Sweep (SweepPoint, Unmet, Metric); check_before any work
Parts
    prepare -> Prepared, once; Worker and do_point -> Outcome, per budget; Store keeps them on disk
    as_budgets, default_budgets, ranked, draw
"""

from hgqify.pareto.budgets import as_budgets, default_budgets
from hgqify.pareto.front import Metric, SweepPoint, Unmet, ranked
from hgqify.pareto.job import Outcome, Prepared, Worker, do_point, prepare
from hgqify.pareto.plot import draw
from hgqify.pareto.store import Store
from hgqify.pareto.sweeping import Sweep, check_before, sweep

__all__ = [
    "Metric",
    "Outcome",
    "Prepared",
    "Store",
    "Sweep",
    "SweepPoint",
    "Unmet",
    "Worker",
    "as_budgets",
    "check_before",
    "default_budgets",
    "do_point",
    "draw",
    "prepare",
    "ranked",
    "sweep",
]
