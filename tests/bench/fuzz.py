"""As many random networks and programs as wanted, all failures collected, and a table of what ran.

    python tests/bench/fuzz.py --networks 1000 --programs 500 --simulate 80 --seed 1

Networks: Keras = integer reference. Programs: reference = exact rationals. Of both, --simulate are drawn for
each interface and go through C simulation. Failures are printed as what `tests/fuzz` can build again.
"""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

from check import Tally, check_network, check_program, check_simulation, drawn, stimuli, subjects
from networks import networks, programs

BATCH = 24


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--simulate", type=int, default=40, help="drawn for each interface")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally, failed = Tally(), 0

    def attempt(what, run):
        nonlocal failed
        try:
            run()
        except Exception:
            failed += 1
            print(f"FAILED {what}\n{traceback.format_exc(limit=-3)}", flush=True)

    for network in drawn(networks(), options.networks, options.seed):
        attempt(network, lambda network=network: check_network(network, tally))
    for number, program in enumerate(drawn(programs(), options.programs, options.seed)):
        inputs = stimuli(program, number)
        attempt(
            f"program {number} of seed {options.seed}",
            lambda program=program, inputs=inputs: check_program(program, inputs, tally, slow=True),
        )
    for io_type in ("io_parallel", "io_stream") if options.simulate else ():
        uniform = io_type == "io_stream"
        some = max(options.simulate // 4, 1)
        sources = drawn(networks(uniform=uniform), options.simulate - some, options.seed)
        sources += drawn(programs(uniform=uniform), some, options.seed)
        chosen = list(subjects(sources, io_type, tally))
        for start in range(0, len(chosen), BATCH):
            with tempfile.TemporaryDirectory() as folder:
                batch = chosen[start : start + BATCH]
                attempt(
                    f"C simulation, {io_type}, from {start} on",
                    lambda batch=batch, folder=folder: check_simulation(batch, Path(folder), tally),
                )
    print(tally.table())
    print(f"{failed} failed" if failed else "nothing differs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
