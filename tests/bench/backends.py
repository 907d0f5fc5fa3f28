"""What every backend of hls4ml makes of our programs: writes, compiles, exact. By hand.

    python tests/bench/backends.py

Refused backends are tried too, with the refusal out of the way, on one program without kernels of ours and on
one with such a kernel, to say honestly what happens. Prints one row of a table per backend and interface.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))

from small_programs import SMALL, joined

from hgqify.errors import ExportError
from hgqify.export import ProjectOptions, backends, compare, compile_project, random_inputs, write_project
from hgqify.export import kernels as kernels_module
from hgqify.export.project import refuse_unprintable
from hgqify.precision import Program

TRIED_ANYWAY = ("dense", "clip")


def allow(names: Sequence[str]) -> None:
    """Lift the refusal of some backends, in this process."""
    table = dict(backends.BACKENDS)
    for name in names:
        table[name] = backends.Backend(name=name, strategies=tuple(backends.Strategy), kernels="vivado")
    backends.BACKENDS = table
    kernels_module.BACKENDS = table


def short(error: ExportError) -> str:
    return " ".join(str(error).replace("/tmp/", "").split())[:160]


def attempt(program: Program, options: ProjectOptions) -> tuple[str, str, str, str]:
    """writes, compiles, exact, note."""
    steps = ["no", "-", "-"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "hls"
        try:
            write_project(program, folder, options)
            steps[:2] = ["yes", "no"]
            with compile_project(folder, optimization="-O0") as simulation:
                steps[1] = "yes"
                (result,) = compare(program, [random_inputs(program, 100)], name="x", simulation=simulation)
        except ExportError as error:
            return (*steps, short(error))
    steps[2] = "no" if result.differing else "yes"
    return (*steps, f"{result.differing} of {result.codes} codes differ")


def printable(options: ProjectOptions) -> tuple[list[str], list[str]]:
    """The operations that are printed for these options, and those refused."""
    accepted, refused = [], []
    for name, make in SMALL.items():
        try:
            refuse_unprintable(make(), options)
        except ExportError:
            refused.append(name)
        else:
            accepted.append(name)
    return accepted, refused


def main() -> int:
    supported = tuple(backends.BACKENDS)
    print("| backend | interface | programs | writes | compiles | exact | notes |")
    print("|---|---|---|---|---|---|---|")
    # First those refused: once registered for Vivado, our kernels reach its relatives in this process too.
    allow(list(backends.UNSUPPORTED))
    for name in backends.UNSUPPORTED:
        for io_type in backends.BOTH:
            for operation in TRIED_ANYWAY:
                row = (f"{name} (refused)", io_type, operation)
                found = attempt(SMALL[operation](), ProjectOptions(backend=name, io_type=io_type))
                print("| " + " | ".join((*row, *found)) + " |", flush=True)
    bad = 0
    for name in supported:
        for io_type in backends.BOTH:
            options = ProjectOptions(backend=name, io_type=io_type)
            accepted, refused = printable(options)
            *steps, note = attempt(joined([SMALL[n]() for n in accepted]), options)
            bad += steps != ["yes"] * 3
            lacks = f"; refused: {', '.join(refused)}" if refused else ""
            row = (name, io_type, f"{len(accepted)} operations", *steps, note + lacks)
            print("| " + " | ".join(row) + " |", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
