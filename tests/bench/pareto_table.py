"""What `pareto.py` prints of its figures: the table, what it means, the verdict."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from pareto_cases import CASES
from pareto_results import METHODS, PARTS, Point, Results

COMPARED = 200  # samples of the test set on which Keras must give the reference's codes
TRAINED = tuple(method for method in METHODS if method.startswith("HGQ2"))
OURS, THEIRS = 1000, 10_000  # steps that the verdict compares
FILLED = 0.9  # of a budget: what takes less is said
NOTES = """\
Test accuracy in per cent at budgets of exact EBOPs, relative to uniform 8 bit: mean over the seeds (smallest
to largest); "at" says what part of uniform 8 bit was really taken where the budget was not filled; "-": no
checkpoint within the budget. Seconds are wall time on a shared machine: of one conversion, or of the one
training of a seed that serves all budgets. Uniform widths stand under the smallest budget they meet.

All are judged on the same test set. Our allocation sees unlabelled calibration samples (2,000, 2,000, 500,
1,000) and takes no gradient step. Our fine-tuning and HGQ2 see the training data that is there with labels
(13,500, 58,000, 400, 3,600), of which the calibration samples are a part. HGQ2 chooses its checkpoints on
more (1,500, 2,000, 100, 400), which we do not see. The float DS-CNN and ResNet-8 were trained by others on
the whole of data sets of which this is a small part: HGQ2 from scratch cannot be as good there, and for the
ResNet-8 its validation samples were training samples of the float model.

HGQ2 gets what its example and its authors' published sweeps do: Adam at one rate for weights and widths, a
price of EBOPs that rises log-linearly, and of 51 checkpoints the best within each budget. Its steps serve all
five budgets; ours are taken for each. From float it starts with folded batch normalizations, at 8 bits that
hold weights and activations. Activations have one width per tensor, but for HGQ2's magic_gamma MLPs one per
element, as in the rows of ours that say so.

How much HGQ2 was tuned, each by one seed's validation accuracy over the budgets: for magic_gamma 16 trainings
of 10,000 steps (two seeds for some), all at the rate of 3e-3, a constant rate or 50, 10 cosine cycles or one,
a last price of 10 or 3. The best was taken, a constant rate and 3. All but one cycle, and 50 from float with
3, which missed the smallest budgets, came within 0.8 points of each other, less than a standard error of 0.9
on these 1,500 samples, on which the checkpoints are chosen too; on 3,000 others the order was different. For
MNIST 4 trainings of 2,000 steps with a last price of 10: a cycle before every checkpoint was better than a
constant rate, from either start. The DS-CNN and ResNet-8 have that too, untried. No other rate was tried at
10,000 steps, nor anything of that length but for magic_gamma: a last price of 3 may be too low elsewhere for
the smallest budgets. Trainings below 10,000 steps end at 10. The default lengths are short (1,200 steps are
not even one pass over MNIST); HGQ2's authors train many times longer still."""


def table(results: Results) -> str:
    """Mean accuracy over the seeds at every budget, the smallest and largest behind it."""
    columns = ["the same" if part == 1 else f"1/{part}" for part in PARTS]
    head = ("model", "method", "seeds", "gradient steps", "seconds", *columns)
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for model in CASES:
        for method in METHODS:
            points = results.of(model, method)
            if not points:
                if results.of(model, "float"):
                    lines.append(f"| {model} | {method} | not run |" + " |" * (len(head) - 3))
            elif method == "float":
                lines.append(_row(model, f"float: {points[0].accuracy:.2f}", points, []))
            elif method == "uniform":
                for point in sorted(points, key=lambda p: -(p.bits or 0)):
                    ratio = (point.ebops or 0) / results.budget(model)
                    name = f"{point.bits} bit: {point.ebops:,} EBOPs"
                    lines.append(_row(model, name, [point], _place(point, ratio)))
            else:
                budget = results.budget(model)
                for (_, activations), group in _groups(points).items():
                    cells = [_cell([p for p in group if p.part == part], budget) for part in PARTS]
                    lines.append(_row(model, _title(method, activations), group, cells))
    return "\n".join(lines)


def _title(method: str, activations: str | None) -> str:
    return method if activations is None else f"{method}, activations per {activations}"


def _groups(points: list[Point]) -> dict[tuple[int, str | None], list[Point]]:
    """By steps and granularity of activations, the coarse granularity first."""
    keys = sorted({(p.activations or "", p.steps) for p in points})
    return {
        (steps, activations or None): [
            p for p in points if (p.activations or "", p.steps) == (activations, steps)
        ]
        for activations, steps in keys
    }


def _row(model: str, method: str, points: list[Point], cells: list[str]) -> str:
    seeds = len({p.seed for p in points})
    steps, seconds = (statistics.mean(getattr(p, name) for p in points) for name in ("steps", "seconds"))
    cells += [""] * (len(PARTS) - len(cells))
    return "| " + " | ".join((model, method, f"{seeds}", f"{steps:.0f}", f"{seconds:.0f}", *cells)) + " |"


def _place(point: Point, ratio: float) -> list[str]:
    """Uniform widths stand under the smallest budget they meet, with what they take of that of 8 bit."""
    last = max(n for n, part in enumerate(PARTS) if ratio <= 1 / part)
    return [""] * last + [f"{point.accuracy:.2f}" + (f" at {ratio:.2f}" if ratio < 1 else "")]


def _cell(points: list[Point], whole: int) -> str:
    found = [p for p in points if p.accuracy is not None]
    if not points:
        return ""
    if not found:
        return "refused" if any(p.rejected for p in points) else "-"
    values = [p.accuracy for p in found]
    text = f"{statistics.mean(values):.2f}"
    if len(found) > 1:
        text += f" ({min(values):.2f} to {max(values):.2f})"
    ratio = statistics.mean(p.ebops for p in found) / whole
    if ratio < FILLED / (points[0].part or 1):
        text += f" at {ratio:.2g}"
    return text if len(found) == len(points) else f"{text}, {len(found)} of {len(points)} seeds"


def lost(results: Results) -> str:
    """What our allocation loses against float, mean over the seeds, at the first budget and at a quarter."""
    texts = []
    for model in CASES:
        base = results.points.get(Point(model=model, method="float").key)
        points = [
            p for p in results.of(model, "allocation") if p.accuracy is not None and p.activations is None
        ]
        found = [[p.accuracy for p in points if p.part == part] for part in (1, 4)]
        if base is not None and all(found):
            means = [base.accuracy - statistics.mean(values) for values in found]
            texts.append(f"{model} {means[0]:.2f} and {means[1]:.2f}")
    where = "at the EBOPs of uniform 8 bit and at a quarter"
    return f"Points of accuracy that allocation loses, {where}: {'; '.join(texts)}." if texts else ""


def declared(results: Results) -> str:
    """How HGQ2's own count of EBOPs compares with ours."""
    ratios = [p.declared / p.ebops for p in results.points.values() if p.declared and p.ebops]
    if not ratios:
        return ""
    return f"HGQ2's own count of EBOPs was {min(ratios):.1f} to {max(ratios):.1f} times the exact one."


def compared(results: Results) -> str:
    """What the comparisons of Keras with the reference found."""
    points = [p for p in results.points.values() if p.differing is not None]
    bad = sum(p.differing or 0 for p in points)
    return f"Keras = reference on {COMPARED} test samples for {len(points)} conversions: {bad} codes differ."


VERDICT = f"""\
Is the fine-tuned front at {OURS:,} steps at or above HGQ2's at {THEIRS:,}? Mean test accuracy over the seeds,
± its standard error (seeds that met the budget). Of HGQ2's two starts the better on the test set, each with
its longest training of at most {THEIRS:,} steps. "Error of it": standard error of the difference over the
seeds. "Of the test set": binomial standard error of HGQ2's figure; that of the difference is mostly smaller,
for both are judged on the same samples. "Within the noise": below by no more than both errors together. Where
no checkpoint of HGQ2 met the budget nothing is decided: another price may have met it."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Accuracy at one budget, over seeds.

    Attributes:
        name: of the method.
        accuracy: mean over the seeds that met the budget, per cent.
        error: standard error of that mean; None from one seed.
        seeds: how many.
    """

    name: str
    accuracy: float
    error: float | None
    seeds: int

    @classmethod
    def of(cls, name: str, points: list[Point]) -> "Mean | None":
        values = [p.accuracy for p in points if p.accuracy is not None]
        if not values:
            return None
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
        return cls(name=name, accuracy=statistics.mean(values), error=error, seeds=len(values))

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2f}"
        return f"{self.accuracy:.2f}{error} ({self.seeds})"


def verdict(results: Results, sizes: Mapping[str, int]) -> str:
    """Whether our front is at or above HGQ2's after ten times the steps, budget by budget.

    Args:
        results: the points.
        sizes: samples of the test sets of the models that were fine-tuned.
    """
    head = ("model", "budget", "ours", "HGQ2", "difference", "error of it", "of the test set", "at or above")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for model, size in sizes.items():
        tuned = [p for p in results.of(model, "fine-tuned") if p.steps == OURS]
        for (_, activations), group in _groups(tuned).items():
            for part in PARTS:
                ours = Mean.of("fine-tuned", [p for p in group if p.part == part])
                found = [_longest(results, model, method, part) for method in TRAINED]
                theirs = max((m for m in found if m), key=lambda m: m.accuracy, default=None)
                missing = not any(results.of(model, method) for method in TRAINED)
                cells = (_title(model, activations), "the same" if part == 1 else f"1/{part}")
                cells += _judged(ours, theirs, size, missing=missing)
                lines.append("| " + " | ".join(cells) + " |")
    return f"{VERDICT}\n\n" + "\n".join(lines) if len(lines) > 2 else ""


def _longest(results: Results, model: str, method: str, part: int) -> Mean | None:
    """Of HGQ2's trainings the longest that is not longer than the verdict speaks of."""
    points = [p for p in results.of(model, method) if p.part == part and p.steps <= THEIRS]
    steps = max((p.steps for p in points), default=0)
    return Mean.of(f"{method}, {steps:,}", [p for p in points if p.steps == steps])


def _judged(ours: Mean | None, theirs: Mean | None, size: int, *, missing: bool) -> tuple[str, ...]:
    """Both figures, their difference, its two kinds of noise, the answer; none where HGQ2 did not run."""
    texts = tuple("-" if mean is None else f"{mean.name}: {mean}" for mean in (ours, theirs))
    if ours is None or theirs is None:
        if theirs is not None:
            answer = "no"
        elif missing:
            answer = ""
        else:
            answer = "neither met it" if ours is None else "only ours met it"
        return *texts, "", "", "", answer
    difference = ours.accuracy - theirs.accuracy
    error = math.hypot(*(mean.error or 0 for mean in (ours, theirs)))
    share = theirs.accuracy / 100
    binomial = 100 * (share * (1 - share) / size) ** 0.5
    small = -difference <= math.hypot(error, binomial)
    answer = "yes" if difference >= 0 else "no, within the noise" if small else "no"
    known = "" if ours.error is None or theirs.error is None else f"{error:.2f}"
    return *texts, f"{difference:+.2f}", known, f"{binomial:.2f}", answer
