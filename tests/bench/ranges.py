"""What the choice of ranges brings, and what overflow costs: real models, nothing trained.

    python tests/bench/ranges.py FOLDER [NAME ...] [--part ranges|overflow]

FOLDER holds the material of `real_models.py`. Prints accuracy on data not used for calibration (at most 2,000
samples) with uniform 8, 6 and 5 bits and each choice of ranges, which all take the same EBOPs; and accuracy,
EBOPs and the modelled price of saturation, in LUTs, with each choice of overflow at default widths.
"""

import argparse
from pathlib import Path

import numpy as np
from budgets import accuracy
from real_models import CASES

import hgqify
from hgqify.overflow_choice import choose_overflow
from hgqify.progress import no_progress

NAMES = ("MNIST CNN", "DS-CNN", "ECG CNN", "jets BN")
BITS = (8, 6, 5)
CHOICES = {
    "min-max": {},
    "percentile 99.99": {"percentile": 99.99},
    "99.9": {"percentile": 99.9},
    "mse": {"ranges": "mse"},
}


def loaded(folder: Path, name: str):
    """Path of the model, calibration data, test data and classes."""
    case = CASES[name]
    calib, x, y = case.data(folder)
    x, y = x[:2000], np.asarray(y[:2000])
    return folder / case.model, calib, x, y.argmax(axis=1) if y.ndim > 1 else y


def ranges(folder: Path, names: list[str]) -> None:
    """Accuracy by width and choice of ranges."""
    print("| model | float | bits | EBOPs | " + " | ".join(CHOICES) + " |")
    print("|---" * (4 + len(CHOICES)) + "|", flush=True)
    for name in names:
        model, calib, x, y = loaded(folder, name)
        for bits in BITS:
            found = {
                choice: hgqify.convert(
                    model, calib, bits=bits, finetune_steps=0, progress=no_progress, **settings
                )
                for choice, settings in CHOICES.items()
            }
            first = found["min-max"]
            # Formats without any use differ: the same widths may count a little less.
            counts = {result.report.ebops for result in found.values()}
            ebops = " to ".join(f"{n:,}" for n in sorted({min(counts), max(counts)}))
            cells = [f"{accuracy(result.model, x, y):.2f}" for result in found.values()]
            base = f"{accuracy(first.float_model, x, y):.2f}"
            print(f"| {name} | {base} | {bits} | {ebops} | " + " | ".join(cells) + " |", flush=True)


OVERFLOW = {
    "SAT": {"overflow": "SAT"},
    "WRAP, margin 1": {"overflow": "WRAP", "margin": 1},
    "PROVED": {"overflow": "PROVED"},
    "AUTO": {"overflow": "AUTO"},
}


def overflow(folder: Path, names: list[str]) -> None:
    """Accuracy, EBOPs and prices by choice of overflow."""
    print("| model | overflow | accuracy | EBOPs | saturation, LUTs | can overflow | got bits |")
    print("|---" * 7 + "|", flush=True)
    for name in names:
        model, calib, x, y = loaded(folder, name)
        for choice, settings in OVERFLOW.items():
            result = hgqify.convert(model, calib, finetune_steps=0, progress=no_progress, **settings)
            left = choose_overflow(result.model)  # prices only
            wrapping = [q for q in result.report.overflow["quantizers"] if not q["overflow"].saturates]
            can = sum(c.saturating > 0 for c in left) + sum(q["status"] != "proved" for q in wrapping)
            widened = sum(c["widened"] for c in result.report.overflow["choices"])
            print(
                f"| {name} | {choice} | {accuracy(result.model, x, y):.2f} | {result.report.ebops:,} | "
                f"{sum(c.saturating for c in left):,} | {can} of {len(left) + len(wrapping)} | {widened} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"default: {', '.join(NAMES)}")
    parser.add_argument("--part", choices=("ranges", "overflow"), help="default: both")
    options = parser.parse_args()
    for part in (ranges, overflow):
        if options.part in (None, part.__name__):
            part(options.folder, options.names or list(NAMES))


if __name__ == "__main__":
    main()
