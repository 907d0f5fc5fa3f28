"""What equalisation, bias correction and compensation bring on real models, nothing trained.

    python tests/bench/corrections.py FOLDER [NAME ...] [--uniform]

FOLDER holds the material of `real_models.py`. Prints a line per model and widths: uniform 8 and 6 bits for
weights and activations (8 for inputs), then mixed widths under an eighth of the EBOPs that uniform 8 bits
take. Every cell: accuracy in percent on data that was not used for calibration, signal to quantization noise
of the outputs on it in dB, and EBOPs. Compensation needs a budget; --uniform leaves budgets out.
"""

import sys
from functools import partial
from pathlib import Path

import numpy as np
from real_models import CASES

from hgqify import graph
from hgqify.allocating import allocate
from hgqify.budget import Budget
from hgqify.calibrate import calibrate, correct_bias, sqnr
from hgqify.calling import predict
from hgqify.convert import ConvertSettings, convert
from hgqify.convert.interface import choose_io_type
from hgqify.equalizing import equalize
from hgqify.opening import open_for
from hgqify.precision import lower, total_ebops
from hgqify.quality import scoring_outputs
from hgqify.settling import settle

SAMPLES = 1000
PART = 8
CORRECTIONS = {
    "nothing": {},
    "equalize": {"equal": True},
    "correct_bias": {"bias": True},
    "both": {"equal": True, "bias": True},
    "compensate": {"compensate": True},
    "compensate, equalize": {"compensate": True, "equal": True},
}


def converted(model, calib, settings, *, budget=None, equal=False, bias=False, compensate=False):
    """What `hgqify.convert` does, less fine-tuning and the report, which takes longer than all of it."""
    read = graph.read(model)
    conversion = convert(read, ConvertSettings(io_type=choose_io_type(read, "tensor"), **settings))
    source = open_for(model, calib)
    logits = scoring_outputs(conversion.logits, conversion.clone, source)
    if equal:
        conversion, _ = equalize(conversion, source, logits=logits)
    calibrate(conversion.model, conversion.probe, conversion.sites, source, settle=settle)
    if budget is not None:
        aim = Budget(target_ebops=budget)
        allocate(conversion, source, aim, logits=logits, settle=settle, compensate=compensate)
    if bias:
        correct_bias(conversion.model, conversion.clone, source)
        settle(conversion.model)
    return conversion


def outputs(model, x) -> np.ndarray:
    return np.concatenate([predict(model, [x[n : n + 250]])[0] for n in range(0, len(x), 250)])


def main(folder: Path, names: list[str], *, budgets: bool) -> None:
    """Print the table, a line as soon as it is known."""
    print("| model | float | widths | " + " | ".join(CORRECTIONS) + " |")
    print("|---" * (3 + len(CORRECTIONS)) + "|", flush=True)
    for name, case in CASES.items():
        if names and name not in names:
            continue
        calib, x, y = case.data(folder)
        x, y = x[:SAMPLES], np.asarray(y[:SAMPLES])
        y = y.argmax(axis=1) if y.ndim > 1 else y
        make = partial(converted, graph.load_model(folder / case.model), calib)
        kinds = {
            f"uniform {bits}": {"weight_bits": bits, "activation_bits": bits, "input_bits": 8}
            for bits in (8, 6)
        }
        if budgets:
            kinds[f"1/{PART} of uniform 8"] = {"weight_granularity": "element"}
        budget, wanted = None, None
        for kind, settings in kinds.items():
            cells = []
            for corrections in CORRECTIONS.values():
                if kind.startswith("uniform") and "compensate" in corrections:
                    cells.append("-")
                    continue
                part = budget // PART if budget and not kind.startswith("uniform") else None
                done = make(settings, budget=part, **corrections)
                ebops, fixed = total_ebops(lower(done.model)), outputs(done.model, x)
                wanted = outputs(done.clone, x) if wanted is None else wanted
                budget = ebops if budget is None else budget
                right = 100 * float(np.mean(fixed.argmax(axis=1) == y))
                cells.append(f"{right:.1f} / {sqnr(wanted, fixed):.1f} / {ebops:,}")
            origin = 100 * float(np.mean(wanted.argmax(axis=1) == y))
            print(f"| {name} | {origin:.1f} | {kind} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    words = [word for word in sys.argv[2:] if word != "--uniform"]
    main(Path(sys.argv[1]), words, budgets="--uniform" not in sys.argv)
