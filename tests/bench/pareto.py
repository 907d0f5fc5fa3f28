"""Accuracy against EBOPs: float, uniform widths, our allocation and fine-tuning, HGQ2's training. By hand.

    python tests/bench/pareto.py FOLDER [NAME ...] --results FILE [--methods ...] [--seeds N] [--steps N ...]
    python tests/bench/pareto.py FOLDER --results FILE --table

FOLDER holds the material that `pareto_cases.py` reads. Budgets are 1, 1/2, 1/4, 1/8 and 1/16 of the EBOPs
that uniform 8 bit takes (weights per channel, activations per tensor, inputs too). EBOPs are exact and of one
definition for all (`hgqify.precision.ebops`). HGQ2 comes with `pip install .[bench]`; its methods may run in
an environment of their own, into the same file.

Every figure is appended to the results as one line of JSON, and what is there is not computed again: an
interrupted run goes on, HGQ2's trainings at their last checkpoint, of which a file is kept beside the
results. At the end the table of all that is there is printed, and a verdict.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
from pareto_cases import CASES, CHECKPOINTS, Case, Data, accuracy
from pareto_results import METHODS, PARTS, UNIFORM, Point, Results
from pareto_table import COMPARED, NOTES, compared, declared, lost, table, verdict

import hgqify
from hgqify.export import compare
from hgqify.progress import no_progress

FINETUNED = (100, 300, 1000, 3000)  # steps


def convert_point(wanted: Point, model: keras.Model, data: Data, samples: Any, **settings) -> Point:
    """One conversion of ours, judged; a point of the first seed is compared with the reference too."""
    if wanted.activations is not None:
        settings["activation_granularity"] = wanted.activations
    start = time.monotonic()
    try:
        result = hgqify.convert(model, samples, seed=wanted.seed, progress=no_progress, **settings)
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


def wanted_points(name: str, method: str, seeds: range, steps: list[int] | None) -> Iterator[Point]:
    """The points of a method, seed by seed; what needs no seed has one.

    Args:
        name: of the model.
        method: one of METHODS.
        seeds: which.
        steps: of what is trained; None: FINETUNED, and what the case says of HGQ2.
    """
    case = CASES[name]
    if method == "float":
        yield Point(model=name, method=method)
        return
    if method == "uniform":
        for bits in UNIFORM:
            yield Point(model=name, method=method, bits=bits)
        return
    default = {"allocation": (0,), "fine-tuned": FINETUNED}.get(method, (case.steps,))
    counts = default if steps is None or method == "allocation" else steps
    activations = (None,) if method.startswith("HGQ2") else case.activations
    for seed in seeds:
        for count in counts:
            for granularity in activations:
                for part in PARTS:
                    fields = {"seed": seed, "part": part, "steps": count, "activations": granularity}
                    yield Point(model=name, method=method, **fields)


def compute(
    name: str, method: str, seeds: range, results: Results, options: argparse.Namespace, load: Callable
) -> None:
    """Whatever of a method is not there yet."""
    missing = [p for p in wanted_points(name, method, seeds, options.steps) if p not in results]
    if not missing:
        return
    case: Case = CASES[name]
    data: Data = load(name)
    model = _float_model(name, case, data, options)
    if method.startswith("HGQ2"):
        for seed, steps in sorted({(p.seed, p.steps) for p in missing}):
            _train(model, name, method, seed, steps, results, options, data)
        return
    for wanted in missing:
        if method == "float":
            results.add(Point(model=name, method=method, accuracy=accuracy(model, data.test)))
            continue
        if method == "uniform":
            widths = dict.fromkeys(("weight_bits", "activation_bits", "input_bits"), wanted.bits)
            settings = {"samples": data.calib, "finetune_steps": 0, **widths}
        else:
            settings = {"samples": data.calib, "target_ebops": results.budget(name) // (wanted.part or 1)}
            settings["finetune_steps"] = wanted.steps  # said for none too: the library's default may be some
        if method == "fine-tuned":
            settings["samples"], settings["labels"] = data.train
        results.add(convert_point(wanted, model, data, **settings))


def _train(
    model: keras.Model,
    name: str,
    method: str,
    seed: int,
    steps: int,
    results: Results,
    options: argparse.Namespace,
    data: Data,
) -> None:
    """One training of HGQ2, which serves all budgets."""
    from hgq2_models import train

    start = method.split()[-1]
    kept = options.results.with_suffix(f".{name.split()[0]}.{start}.{steps}.{seed}.training")
    budgets = {part: results.budget(name) // part for part in PARTS}
    figures = train(
        model, data, CASES[name], budgets, seed=seed, from_float=start == "float", steps=steps, kept=kept
    )
    for part, found in figures.items():
        results.add(Point(model=name, method=method, seed=seed, part=part, steps=steps, **found))
    kept.unlink()


def _float_model(name: str, case: Case, data: Data, options: argparse.Namespace) -> keras.Model:
    """What is trained here is kept beside the results: every method starts from the same weights."""
    kept = options.results.with_suffix(f".{name.split()[0]}.keras")
    if kept.exists():
        return keras.saving.load_model(kept)
    model = case.model(options.folder, data)
    model.save(kept)
    return model


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--results", type=Path, required=True, help="JSON-lines file, made or continued")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        help=f"of what is trained; default: fine-tuned {FINETUNED}, HGQ2 what the model's case says;"
        f" HGQ2's are multiples of {CHECKPOINTS}",
    )
    parser.add_argument("--table", action="store_true", help="compute nothing, print the table")
    options = parser.parse_args()
    if any(method.startswith("HGQ2") for method in options.methods):
        for steps in options.steps or ():
            if steps % CHECKPOINTS:
                parser.error(f"--steps {steps}: HGQ2's are multiples of {CHECKPOINTS}")
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
    sizes = {name: len(load(name).test[1]) for name in CASES if results.of(name, "fine-tuned")}
    texts = (table(results), NOTES, lost(results), declared(results), compared(results))
    texts += (verdict(results, sizes),)
    print("\n\n".join(text for text in texts if text))
    return 1 if any(p.differing for p in results.points.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
