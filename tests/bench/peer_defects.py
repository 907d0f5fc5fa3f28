"""What goes wrong at the peers, and what becomes of it here, as a table.

    python tests/bench/peer_defects.py

One row for a line of the design's section 7: codes that differ of those compared, between Keras and the
reference and between C simulation and the reference for each interface, or the error that refuses it.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))

from branches import IO_TYPES, Joined, convert_joined, join
from defect_models import EXACT, REFUSED
from feature_models import BRANCHES
from refused_models import REFUSED as REFUSED_FLOAT

import hgqify


def rows(joined: Joined) -> int:
    """Print a row for each branch; the number of rows with a difference in C simulation."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"Keras": joined.keras(), **joined.simulate(Path(folder))}
    for name in joined.places:
        outcomes = [found[what][name] for what in ("Keras", *IO_TYPES)]
        cells = [f"refused: {o}" if o.refused else f"{o.differing}/{o.codes}" for o in outcomes]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return sum(any(found[io][name].differing for io in IO_TYPES) for name in joined.places)


def main() -> int:
    print("| line | Keras | C simulation, io_parallel | C simulation, io_stream |\n|---|---|---|---|")
    wrong = rows(join({**EXACT, **REFUSED})) + rows(convert_joined(BRANCHES))
    for name, (make, _, _) in REFUSED_FLOAT.items():
        try:
            hgqify.convert(make(), "no such file.npy")
        except hgqify.HgqifyError as error:
            print(f"| {name} | refused: {str(error).splitlines()[-1].strip()} | | |")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
