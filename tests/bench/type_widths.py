"""Our types against those of hls4ml's own `bit_exact` pass, over every model there is.

    python tests/bench/type_widths.py [FOLDER] [--only NAME ...]

The tiny models, the models of fixtures/, and with FOLDER those of tests/bench/real_models.py are converted
without fine-tuning; tiny ones once at defaults and once with one format per element and WRAP. hls4ml gets the
same network with all precisions 'auto'. Types are compared by their width. Where ours is the wider one, the
tensor is stored in hls4ml's type in the reference: if that changes an output, hls4ml's type is not exact.
"""

import argparse
import collections
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bit_exact_types import Widths, compare_types
from real_models import CASES
from tiny_zoo import tiny_models

import hgqify
from hgqify.errors import HgqifyError
from hgqify.graph import load_model
from hgqify.progress import no_progress

ROOT = Path(__file__).parents[2]
KINDS = ("result", "accum", "weight", "bias", "table")
PER_ELEMENT = {"activation_granularity": "element", "overflow": "WRAP", "io_type": "io_parallel"}
Convert = Callable[[], hgqify.Result]


def tiny(name: str, **settings: str) -> Convert:
    def convert() -> hgqify.Result:
        model = tiny_models.build(name, seed=1)
        data = tiny_models.inputs(model, 64, seed=3)
        return hgqify.convert(model, data, finetune_steps=0, progress=no_progress, **settings)

    return convert


def given(model: Path, data: Callable[[], np.ndarray]) -> Convert:
    return lambda: hgqify.convert(load_model(model), data(), finetune_steps=0, progress=no_progress)


def networks(folder: Path | None) -> Iterator[tuple[str, Convert]]:
    for name in tiny_models.ZOO:
        yield name, tiny(name)
        yield f"{name}, per element, WRAP", tiny(name, **PER_ELEMENT)
    for name in ("mnist", "kws"):
        path = ROOT / "fixtures" / name
        yield f"fixtures/{name}", given(path / "model.keras", lambda path=path: np.load(path / "calib.npy"))
    if folder is not None:
        for name, case in CASES.items():
            yield name, given(folder / case.model, lambda case=case: case.data(folder)[0])


def row(name: str, io_type: str, found: Widths) -> str:
    sums = [f"{ours} / {theirs}" for ours, theirs in (found.bits(kind) for kind in KINDS)]
    counts = [str(len(part)) for part in (found.pairs, found.wider, found.too_narrow, found.unmatched)]
    cells = [name, io_type, *counts, *sums]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*", help="parts of names")
    parser.add_argument("--all", action="store_true", help="list every type, and what has no counterpart")
    options = parser.parse_args()
    total = Widths()
    failures: list[str] = []
    header = ["network", "interface", "types", "ours wider", "hls4ml not exact", "unmatched"]
    header += [f"{kind} bits, ours / hls4ml" for kind in KINDS]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header), flush=True)
    for name, convert in networks(options.folder):
        if options.only and not any(part in name for part in options.only):
            continue
        try:
            result = convert()
            io_type = result.project.io_type
            found = compare_types(result.program, io_type)
        except HgqifyError as error:
            failures.append(f"{name}: refused by us: {' '.join(str(error).split())[:160]}")
            continue
        if found.failure is not None:
            failures.append(f"{name}: hls4ml's pass fails: {found.failure.splitlines()[0][:160]}")
            continue
        total.pairs += found.pairs
        total.unmatched += found.unmatched
        total.too_narrow += found.too_narrow
        print(row(name, io_type, found), flush=True)
        for pair in found.pairs if options.all else [*found.wider, *found.too_narrow]:
            print(f"    {pair.layer} {pair.kind}: {pair.our_type} against {pair.their_type}", flush=True)
        if options.all:
            print(*(f"    {text}" for text in found.unmatched), sep="\n", flush=True)
    print(row("total", "", total))
    reasons = collections.Counter(text.partition(": ")[2] for text in total.unmatched)
    print("\nunmatched: " + "; ".join(f"{count} {reason}" for reason, count in reasons.items()))
    print(*failures, sep="\n")
    return 1 if total.wider else 0


if __name__ == "__main__":
    sys.exit(main())
