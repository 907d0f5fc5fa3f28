"""Mixed widths under a budget, nothing trained: real models at what uniform 8 bits take, and at parts of it.

    python tests/bench/budgets.py FOLDER [NAME ...]

FOLDER holds the material of `real_models.py`. Prints accuracy on data not used for calibration: of the float
model, with uniform 8 bits (weights per channel, activations per tensor), and allocated to the same EBOPs, a
half, a quarter, an eighth and a sixteenth of them, with and without compensation.
"""

import sys
from pathlib import Path

import numpy as np
from real_models import CASES

import hgqify
from hgqify.calling import predict
from hgqify.progress import no_progress

PARTS = (1, 2, 4, 8, 16)
UNIFORM = {"weight_bits": 8, "activation_bits": 8, "input_bits": 8}


def accuracy(model, x, y) -> float:
    outputs = np.concatenate([predict(model, [x[n : n + 250]])[0] for n in range(0, len(x), 250)])
    return 100 * float(np.mean(outputs.argmax(axis=1) == y))


def main(folder: Path, names: list[str]) -> None:
    """Print the table, a line as soon as it is known."""
    print("| model | float | uniform 8 bit | its EBOPs | compensation |", end="")
    print("".join(f" 1/{part} |" if part > 1 else " the same |" for part in PARTS))
    print("|---" * (5 + len(PARTS)) + "|")
    for name, case in CASES.items():
        if names and name not in names:
            continue
        calib, x, y = case.data(folder)
        x, y = x[:2000], np.asarray(y[:2000])
        y = y.argmax(axis=1) if y.ndim > 1 else y
        path, options = folder / case.model, {"progress": no_progress}
        uniform = hgqify.convert(path, calib, finetune_steps=0, **UNIFORM, **options)
        budget = uniform.report.ebops
        base = f"{accuracy(uniform.float_model, x, y):.2f} | {accuracy(uniform.model, x, y):.2f} | {budget:,}"
        for compensate in (False, True):
            found = []
            for part in PARTS:
                result = hgqify.convert(
                    path, calib, target_ebops=budget // part, compensate=compensate, **options
                )
                found.append(f"{accuracy(result.model, x, y):.2f}")
            word = "on" if compensate else "off"
            print(f"| {name} | {base} | {word} | " + " | ".join(found) + " |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
