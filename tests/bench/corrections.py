"""What equalisation, bias correction and compensation bring on real models, nothing trained.

    python tests/bench/corrections.py FOLDER [NAME ...]

FOLDER holds the material of `real_models.py`. Prints a line per model and widths: uniform 8 and 6 bits for
weights and activations (8 for inputs), then mixed widths under an eighth of the EBOPs that uniform 8 bits
take. Every cell: accuracy in percent on data that was not used for calibration, signal to quantization noise
of the outputs on it in dB, and EBOPs. Compensation needs a budget.
"""

import sys
from pathlib import Path

import numpy as np
from real_models import CASES

import hgqify
from hgqify.calibrate import sqnr
from hgqify.calling import predict
from hgqify.progress import no_progress

SAMPLES = 1000
PART = 8
CORRECTIONS = {
    "nothing": {},
    "equalize": {"equalize": True},
    "correct_bias": {"correct_bias": True},
    "both": {"equalize": True, "correct_bias": True},
    "compensate": {"compensate": True},
    "compensate, equalize": {"compensate": True, "equalize": True},
}


def outputs(model, x) -> np.ndarray:
    return np.concatenate([predict(model, [x[n : n + 250]])[0] for n in range(0, len(x), 250)])


def cell(result, x, y) -> str:
    """Accuracy, SQNR and EBOPs."""
    fixed = outputs(result.model, x)
    accuracy = 100 * float(np.mean(fixed.argmax(axis=1) == y))
    noise = sqnr(outputs(result.float_model, x), fixed)
    return f"{accuracy:.1f} / {noise:.1f} / {result.report.ebops:,}"


def main(folder: Path, names: list[str]) -> None:
    """Print the table, a line as soon as it is known."""
    print("| model | float | widths | " + " | ".join(CORRECTIONS) + " |")
    print("|---" * (3 + len(CORRECTIONS)) + "|", flush=True)
    for name, case in CASES.items():
        if names and name not in names:
            continue
        calib, x, y = case.data(folder)
        x, y = x[:SAMPLES], np.asarray(y[:SAMPLES])
        y = y.argmax(axis=1) if y.ndim > 1 else y
        uniform = {bits: {"weight_bits": bits, "activation_bits": bits, "input_bits": 8} for bits in (8, 6)}
        widths = {f"uniform {bits}": settings for bits, settings in uniform.items()}
        budget, float_accuracy = 0, 0.0
        for kind in (*widths, f"1/{PART} of uniform 8"):
            cells = []
            for corrections in CORRECTIONS.values():
                if kind in widths and "compensate" in corrections:
                    cells.append("-")
                    continue
                settings = widths.get(kind, {"target_ebops": budget // PART})
                wanted = {"compensate": False, "finetune_steps": 0} | settings | corrections
                result = hgqify.convert(folder / case.model, calib, progress=no_progress, **wanted)
                if not budget:
                    budget = result.report.ebops
                    float_accuracy = 100 * float(np.mean(outputs(result.float_model, x).argmax(axis=1) == y))
                cells.append(cell(result, x, y))
            print(f"| {name} | {float_accuracy:.1f} | {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
