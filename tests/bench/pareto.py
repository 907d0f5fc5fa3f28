"""Accuracy against EBOPs: float, uniform widths, our allocation, and HGQ2's training. By hand.

    python tests/bench/pareto.py FOLDER [NAME ...] --results FILE [--methods ...] [--seeds N] [--steps N]
    python tests/bench/pareto.py FOLDER --results FILE --table

FOLDER holds the material that `pareto_cases.py` reads. Budgets are 1, 1/2, 1/4, 1/8 and 1/16 of the EBOPs
that uniform 8 bit takes (weights per channel, activations per tensor, inputs too). EBOPs are exact and of one
definition for all (`hgqify.precision.ebops`). HGQ2 comes with `pip install .[bench]`; its methods may run in
an environment of their own, into the same file.

Every figure is appended to the results as one line of JSON, and what is there is not computed again: an
interrupted run goes on (other --steps need another file). At the end the table of all that is there is
printed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
from pareto_cases import CASES, Case, Data, accuracy

import hgqify
from hgqify.export import compare
from hgqify.progress import no_progress

PARTS = (1, 2, 4, 8, 16)
UNIFORM = (8, 6, 4)
COMPARED = 200  # samples of the test set on which Keras must give the reference's codes
METHODS = ("float", "uniform", "allocation", "HGQ2 from scratch", "HGQ2 from float")
FILLED = 0.9  # of a budget: what takes less is said
NOTES = """\
Test accuracy in per cent at budgets of exact EBOPs, relative to uniform 8 bit: mean over the seeds (smallest
to largest); "at" says what part of uniform 8 bit was really taken where the budget was not filled; "-": no
checkpoint within the budget. Seconds are wall time on a shared machine: of one conversion, or of the one
training of a seed that serves all budgets. Uniform widths stand under the smallest budget they meet.

All are judged on the same test set. Our allocation sees unlabelled calibration samples (2,000, 2,000, 500,
1,000) and takes no gradient step. HGQ2 sees the labels of the training data that is there (13,500, 58,000,
400, 3,600) and chooses its checkpoints on more (1,500, 2,000, 100, 400). Our samples are among these.
The float DS-CNN and ResNet-8 were trained by others on the whole of data sets of which this is a small part:
HGQ2 from scratch cannot be as good there, and for the ResNet-8 its validation samples were training samples
of the float model. HGQ2 from float starts with folded batch normalizations, at 8 bits that hold weights and
activations. Activations have one width per tensor, but for HGQ2's magic_gamma MLPs one per element. The
trainings are short (1,200 steps are not even one pass over MNIST), at constant learning rates chosen on
magic_gamma's validation samples; HGQ2's authors train many times longer."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure of the table.

    Attributes:
        model, method: names.
        seed: of the method.
        part: the budget is that of uniform 8 bit by this; None: no budget.
        bits: of uniform widths; None for other methods.
        accuracy: on the test set, per cent; None if nothing met the budget.
        ebops: exact; None for float, and if nothing met the budget.
        declared: EBOPs as the method itself counts them; None where it counts as we do.
        steps: gradient steps taken, for all budgets of a seed together.
        seconds: the same of wall time: of one conversion, or of one training that serves all budgets.
        differing: codes for which Keras and the reference differ; None where not compared.
        rejected: what kept the method from giving a figure; None where nothing did.
    """

    model: str
    method: str
    seed: int = 0
    part: int | None = None
    bits: int | None = None
    accuracy: float | None = None
    ebops: int | None = None
    declared: int | None = None
    steps: int = 0
    seconds: float = 0.0
    differing: int | None = None
    rejected: str | None = None

    @property
    def key(self) -> tuple:
        return self.model, self.method, self.seed, self.part, self.bits


class Results:
    """The points of a file, which grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        points = [Point(**json.loads(line)) for line in lines]
        self.points = {point.key: point for point in points}

    def __contains__(self, point: Point) -> bool:
        return point.key in self.points

    def add(self, point: Point) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(point)) + "\n")
        self.points[point.key] = point
        print(point, file=sys.stderr, flush=True)

    def budget(self, model: str) -> int:
        """EBOPs of uniform 8 bit."""
        found = self.points.get(Point(model=model, method="uniform", bits=UNIFORM[0]).key)
        if found is None or found.ebops is None:
            raise SystemExit(f"{model}: uniform {UNIFORM[0]} bit comes first: it sets the budgets")
        return found.ebops

    def of(self, model: str, method: str) -> list[Point]:
        return [p for p in self.points.values() if (p.model, p.method) == (model, method)]


def convert_point(wanted: Point, model: keras.Model, data: Data, **settings) -> Point:
    """One conversion of ours, judged; a point of the first seed is compared with the reference too."""
    start = time.monotonic()
    try:
        result = hgqify.convert(model, data.calib, seed=wanted.seed, progress=no_progress, **settings)
    except hgqify.HgqifyError as error:
        return Point(**{**asdict(wanted), "rejected": " ".join(str(error).split())})
    seconds = time.monotonic() - start
    differing = None
    if wanted.seed == 0:
        batch = [data.test[0][:COMPARED]]
        (comparison,) = compare(result.program, [batch], name="the test set", model=result.model)
        differing = comparison.differing
    figures = {
        "accuracy": accuracy(result.model, data.test),
        "ebops": result.report.ebops,
        "seconds": round(seconds, 1),
        "differing": differing,
    }
    return Point(**{**asdict(wanted), **figures})


def wanted_points(model: str, method: str, seeds: range) -> Iterator[Point]:
    """The points of a method, seed by seed; what needs no seed has one."""
    if method == "float":
        yield Point(model=model, method=method)
    elif method == "uniform":
        for bits in UNIFORM:
            yield Point(model=model, method=method, bits=bits)
    else:
        for seed in seeds:
            for part in PARTS:
                yield Point(model=model, method=method, seed=seed, part=part)


def compute(
    name: str, method: str, seeds: range, results: Results, options: argparse.Namespace, load: Callable
) -> None:
    """Whatever of a method is not there yet."""
    missing = [p for p in wanted_points(name, method, seeds) if p not in results]
    if not missing:
        return
    case: Case = CASES[name]
    data: Data = load(name)
    model = _float_model(name, case, data, options)
    if method.startswith("HGQ2"):
        from hgq2_models import train

        budgets = {part: results.budget(name) // part for part in PARTS}
        for seed in sorted({p.seed for p in missing}):
            start = {"from_float": method.endswith("float"), "steps": options.steps}
            for part, found in train(model, data, case, budgets, seed=seed, **start).items():
                results.add(Point(model=name, method=method, seed=seed, part=part, **found))
        return
    for wanted in missing:
        if method == "float":
            results.add(Point(model=name, method=method, accuracy=accuracy(model, data.test)))
        elif method == "uniform":
            widths = dict.fromkeys(("weight_bits", "activation_bits", "input_bits"), wanted.bits)
            results.add(convert_point(wanted, model, data, finetune_steps=0, **widths))
        else:
            budget = results.budget(name) // (wanted.part or 1)
            results.add(convert_point(wanted, model, data, target_ebops=budget))


def _float_model(name: str, case: Case, data: Data, options: argparse.Namespace) -> keras.Model:
    """What is trained here is kept beside the results: every method starts from the same weights."""
    kept = options.results.with_suffix(f".{name.split()[0]}.keras")
    if kept.exists():
        return keras.saving.load_model(kept)
    model = case.model(options.folder, data)
    model.save(kept)
    return model


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
                cells = [_cell([p for p in points if p.part == part], budget) for part in PARTS]
                lines.append(_row(model, method, points, cells))
    return "\n".join(lines)


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
        points = [p for p in results.of(model, "allocation") if p.accuracy is not None]
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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--results", type=Path, required=True, help="JSON-lines file, made or continued")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--steps", type=int, help="of HGQ2, gradient steps; default: the model's own")
    parser.add_argument("--table", action="store_true", help="compute nothing, print the table")
    options = parser.parse_args()
    results = Results(options.results)
    loaded: dict[str, Data] = {}

    def load(name: str) -> Data:
        if name not in loaded:
            loaded[name] = CASES[name].data(options.folder)
        return loaded[name]

    if not options.table:
        # One seed of everything first: an interrupted run leaves a whole table.
        for seed in range(options.seeds):
            for method in options.methods:
                for name in options.names or CASES:
                    compute(name, method, range(seed, seed + 1), results, options, load)
    texts = (table(results), NOTES, lost(results), declared(results), compared(results))
    print("\n\n".join(text for text in texts if text))
    return 1 if any(p.differing for p in results.points.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
