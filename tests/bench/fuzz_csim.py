"""Random fixed programs through hls4ml and g++, against the integer reference, by hand.

    python tests/bench/fuzz_csim.py --programs 20 --seed 0

Every program is printed for both interfaces where they allow it. Prints one line a program and a total.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz_programs import quantized_once, wrapping_ends
from programs import random_program

from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, compare, compile_project, random_inputs, write_project


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    codes = differing = simulated = refused = 0
    for seed in range(options.seed, options.seed + options.programs):
        rng = np.random.default_rng(seed)
        program = random_program(rng, options.nodes)
        # Behind every second one, wrapping quantizers: then bits that nobody sees are not stored.
        program = quantized_once(wrapping_ends(rng, program) if seed % 2 else program)
        inputs = random_inputs(program, options.samples, seed=seed)
        for io_type in ("io_parallel", "io_stream"):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "hls"
                try:
                    write_project(program, folder, ProjectOptions(io_type=io_type))
                except ExportError as error:
                    refused += 1
                    print(f"{seed} {io_type}: refused: {str(error).splitlines()[-1][:150]}", flush=True)
                    continue
                with compile_project(folder, optimization="-O0") as simulation:
                    (result,) = compare(program, [inputs], name="random inputs", simulation=simulation)
            simulated, codes, differing = simulated + 1, codes + result.codes, differing + result.differing
            print(f"{seed} {io_type}: {result.differing} of {result.codes} differ", flush=True)
            if result.place:
                print(f"    {result.place}", flush=True)
    print(f"{simulated} projects simulated, {refused} refused, {differing} of {codes} codes differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
