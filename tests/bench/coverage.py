"""Which layers of Keras are converted, and how far each is proved exact, as a table.

    python tests/bench/coverage.py                  # read, convert, calibrate, reference, print
    python tests/bench/coverage.py --csim           # and C simulation, all layers in one build an interface
    python tests/bench/coverage.py --only LSTM GRU

One row for every public class in `keras.layers` (aliases once). A cell says yes, or the row says why not:
the step that refused it and its remedy.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
sys.path.insert(0, str(Path(__file__).parent))

import keras
from branches import IO_TYPES, Branch, convert_joined
from coverage_models import MODELS, WITHOUT

from hgqify.errors import ExportError, HgqifyError
from hgqify.export import ProjectOptions, refuse_unprintable

STEPS = ("read", "converted", "reference exact", *IO_TYPES)


@dataclass
class Row:
    """What became of one class: a cell for each step it reached, and why it went no further."""

    cells: dict[str, str] = field(default_factory=dict)
    reason: str = ""

    def text(self, name: str, columns: tuple[str, ...]) -> str:
        cells = [self.cells.get(column, "") for column in columns]
        return f"| {name} | {' | '.join(cells)} | {self.reason} |"


def classes() -> list[str]:
    """Every public layer class by the name it was defined with."""
    found = {c for c in vars(keras.layers).values() if isinstance(c, type)}
    return sorted({c.__name__ for c in found if issubclass(c, keras.layers.Layer)})


def last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().replace("|", "\\|")


def examine(name: str, make: Branch) -> Row:
    """Everything but C simulation."""
    row = Row()
    try:
        # Keras itself, before hgqify: a class that cannot be built here has no row to fill.
        keras.Model(*make())
    except Exception as error:  # any class of Keras may fail in a way of its own
        row.reason = f"Keras cannot build it here: {last_line(error)}"
        return row
    try:
        joined = convert_joined({name: make})
    except HgqifyError as error:
        row.cells = {"read": "yes"} if "cannot be converted" in str(error) else {}
        row.reason = last_line(error)
        return row
    row.cells = {"read": "yes", "converted": "yes"}
    outcome = joined.keras()[name]
    row.cells["reference exact"] = "yes" if outcome.differing == 0 else f"{outcome.differing} differ"
    for io_type in IO_TYPES:
        try:
            refuse_unprintable(joined.part(name), ProjectOptions(io_type=io_type))
            row.cells[io_type] = "prints"
        except ExportError as error:
            row.cells[io_type] = "no"
            # Both interfaces may refuse for different reasons.
            row.reason += f"{'; ' if row.reason else ''}{io_type}: {last_line(error)}"
    return row


def simulate(rows: dict[str, Row]) -> None:
    """C simulation of all that prints, in one build for each interface."""
    branches = {name: MODELS[name] for name, row in rows.items() if "prints" in row.cells.values()}
    with tempfile.TemporaryDirectory() as folder:
        found = convert_joined(branches).simulate(Path(folder))
    for io_type, outcomes in found.items():
        for name, outcome in outcomes.items():
            if not outcome.refused:
                rows[name].cells[io_type] = "exact" if outcome.differing == 0 else str(outcome)


def count(rows: dict[str, Row], step: str) -> int:
    """How many classes got so far: by C simulation where it ran."""
    return sum(row.cells.get(step) in ("yes", "prints", "exact") for row in rows.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--csim", action="store_true", help="C simulation of all that prints")
    parser.add_argument("--only", nargs="*", help="these classes only")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: dict[str, Row] = {}
    for name in options.only or classes():
        if name in MODELS:
            rows[name] = examine(name, MODELS[name])
        else:
            rows[name] = Row(reason=WITHOUT.get(name, "no model yet"))
        print(rows[name].text(name, STEPS), file=sys.stderr, flush=True)
    if options.csim:
        simulate(rows)
    print(f"| layer | {' | '.join(STEPS)} | why not |\n|{'---|' * (len(STEPS) + 2)}")
    for name, row in rows.items():
        print(row.text(name, STEPS))
    print(f"\n{len(rows)} classes: " + ", ".join(f"{count(rows, step)} {step}" for step in STEPS))
    wrong = [name for name, row in rows.items() if any("differ" in cell for cell in row.cells.values())]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
