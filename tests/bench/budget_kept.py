"""Budgets are kept: keyword spotting (DS-CNN) at a quarter of what uniform 8 bits take, five seeds.

    python tests/bench/budget_kept.py [STEPS]

Converts the fixture `kws` for every seed with the default settings (or STEPS steps). A line each: exact
EBOPs of the deployed integers and their share of the budget, the held-out loss of the calibration data before
and after training, agreement with the float model and accuracy on data not used for calibration, and what
collapsed. Ends with status 1 if a seed missed the budget.
"""

import sys
from pathlib import Path

import numpy as np

import hgqify
from hgqify.calling import predict
from hgqify.precision import lower, total_ebops
from hgqify.progress import no_progress

KWS = Path(__file__).parents[2] / "fixtures/kws"
SEEDS = range(5)
PART = 4
LEAST_USE = 0.95
UNIFORM = {"weight_bits": 8, "activation_bits": 8, "input_bits": 8}
COLUMNS = (
    "seed",
    "EBOPs",
    "share of budget",
    "held-out loss",
    "kept step",
    "agrees with float",
    "accuracy",
    "collapses",
)


def classes(model, x: np.ndarray) -> np.ndarray:
    """The class of every sample."""
    return np.concatenate([predict(model, [x[n : n + 250]])[0] for n in range(0, len(x), 250)]).argmax(axis=1)


def main(steps: int | None) -> int:
    """Print the table, a line as soon as it is known."""
    path, calib = KWS / "model.keras", np.load(KWS / "calib.npy")
    with np.load(KWS / "holdout.npz") as held:
        x, y = held["x"], held["y"]
    uniform = hgqify.convert(path, calib, finetune_steps=0, progress=no_progress, **UNIFORM)
    budget = uniform.report.ebops // PART
    wanted = classes(uniform.float_model, x)
    print(f"uniform 8 bits: {uniform.report.ebops:,} EBOPs; budget: {budget:,}")
    print(f"float: accuracy {100 * np.mean(wanted == y):.1f} %, {len(x)} samples\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    missed = 0
    for seed in SEEDS:
        result = hgqify.convert(
            path, calib, target_ebops=budget, seed=seed, finetune_steps=steps, progress=no_progress
        )
        trained, found = result.report.finetune, classes(result.model, x)
        # Counted anew on what was deployed, whatever a report says.
        ebops = total_ebops(lower(result.model))
        missed += not LEAST_USE * budget < ebops <= budget
        cells = (
            seed,
            f"{ebops:,}",
            f"{ebops / budget:.4f}",
            f"{trained['start_loss']:.4f} -> {trained['loss']:.4f}",
            f"{trained['best_step']} of {trained['steps']}",
            f"{100 * np.mean(found == wanted):.1f} %",
            f"{100 * np.mean(found == y):.1f} %",
            len(trained["collapses"]),
        )
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
