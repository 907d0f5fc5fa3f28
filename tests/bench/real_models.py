"""Real models that may not all be redistributed: convert at defaults, measure, check every code.

    python tests/bench/real_models.py FOLDER [NAME ...]

FOLDER holds the material the README names (mnist/, kws_dscnn/, cifar10/, jets_mlp/, ecg_mitbih/). Prints
a table: accuracy of the float and of the quantized model on data that was not used for calibration, and
how many codes differ between Keras, the integer reference and C simulation on that data and on random
inputs, a quarter of them four times beyond the calibrated range.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import hgqify
from hgqify.calling import predict
from hgqify.graph import load_model
from hgqify.progress import no_progress
from hgqify.scoring import classes


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, calibration data, and data to judge it by."""

    model: str
    data: Callable[[Path], tuple[np.ndarray, np.ndarray, np.ndarray]]


def shuffled(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of these sets are sorted by class: the first samples would be all of one kind."""
    order = np.random.default_rng(0).permutation(len(x))
    return x[order], y[order]


def mnist(folder: Path):
    raw = np.load(folder / "mnist/mnist.npz")
    calib, test = (raw[k][:n, ..., None].astype("f4") / 255 for k, n in (("x_train", 2000), ("x_test", None)))
    return calib, *shuffled(test, raw["y_test"])


def kws(folder: Path):
    raw = np.load(folder / "kws_dscnn/kws01.npz")
    x = (raw["q"].astype("f4") - 83) * np.float32(0.58470291)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[:500]], x[order[500:]], raw["y"][order[500:]]


def cifar(folder: Path):
    raw = np.load(folder / "cifar10/cifar10_4k1k.npz")
    return raw["x_train"][:1000].astype("f4"), raw["x_test"].astype("f4"), raw["y_test"].ravel()


def jets(labels: str):
    def load(folder: Path):
        raw = np.load(folder / "jets_mlp/jets100.npz")
        return raw["x"][:40], raw["x"][40:], raw[labels][40:]

    return load


def ecg(folder: Path):
    raw = np.load(folder / "ecg_mitbih/ecg_beats.npz")
    return raw["x_train"][:2000].astype("f4"), *shuffled(raw["x_test"].astype("f4"), raw["y_test"])


CASES = {
    "MNIST CNN": Case(model="mnist/cnn_moonflower.keras", data=mnist),
    "DS-CNN": Case(model="kws_dscnn/kws_ds_cnn.keras", data=kws),
    "ResNet-8": Case(model="cifar10/mlperf_resnet8.h5", data=cifar),
    "jets BN": Case(model="jets_mlp/keras_3layer_batch_norm.h5", data=jets("y_gqwzt")),
    "jets 70 % pruned": Case(model="jets_mlp/keras_3layer_70pruned_retrained.h5", data=jets("y_gqwzt")),
    "jets 75 % pruned": Case(model="jets_mlp/tutorial_mlp_75pct_pruned.h5", data=jets("y_gqtwz")),
    "ECG CNN": Case(model="ecg_mitbih/cnn_model.keras", data=ecg),
}


def accuracy(model, x, y) -> float:
    found = np.concatenate([predict(model, [x[n : n + 250]])[0] for n in range(0, len(x), 250)])
    named = classes(found, logits=True)
    if y.ndim == 2:
        y = y.argmax(axis=1)
    return float(np.mean(named == y))


def run(name: str, case: Case, folder: Path, samples: int, settings: dict) -> tuple[str, ...]:
    calib, test, labels = case.data(folder)
    start = time.monotonic()
    result = hgqify.convert(folder / case.model, calib, progress=no_progress, **settings)
    seconds = time.monotonic() - start
    float_accuracy = accuracy(load_model(folder / case.model), test, labels)
    fixed_accuracy = accuracy(result.model, test, labels)
    with tempfile.TemporaryDirectory() as scratch:
        saved = result.save(Path(scratch) / "result")
        report = hgqify.check(saved, data=test, limit=samples, random=samples, progress=no_progress)
    by = {(c.what, c.inputs): f"{c.differing}/{c.codes}" for c in report.comparisons}
    for comparison in report.comparisons:
        if comparison.place:
            print(f"{name}: {comparison}", file=sys.stderr)
    return (
        name,
        result.project.io_type,
        f"{len(test)}",
        f"{float_accuracy:.4f}",
        f"{fixed_accuracy:.4f}",
        f"{100 * (fixed_accuracy - float_accuracy):+.2f}",
        f"{result.report.ebops:,}",
        "yes" if result.report.float32_proved else "no",
        *(by.get(key, "-") for key in _KEYS),
        f"{seconds:.0f} s",
    )


_KEYS = [(what, data) for what in ("Keras", "C simulation") for data in ("the data", "random inputs")]
HEADER = (
    "model",
    "interface",
    "test samples",
    "float",
    "quantized",
    "difference (points)",
    "EBOPs",
    "float32 proved",
    "Keras, test",
    "Keras, random",
    "C sim, test",
    "C sim, random",
    "convert",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--samples", type=int, default=200, help="compared by check, of each kind")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of convert")
    options = parser.parse_args()
    settings = {k: int(v) if v.isdigit() else v for k, v in (item.split("=", 1) for item in options.set)}
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    worst = True
    for name in options.names or CASES:
        row = run(name, CASES[name], options.folder, options.samples, settings)
        worst &= all(cell.startswith("0/") or cell == "-" for cell in row[8:12])
        print("| " + " | ".join(row) + " |", flush=True)
    return 0 if worst else 1


if __name__ == "__main__":
    sys.exit(main())
