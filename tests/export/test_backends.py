"""Every backend that is not refused writes projects that compile and compute the reference's codes."""

from pathlib import Path

import export_programs as programs
import pytest
from small_programs import SMALL, joined

from hgqify.errors import ExportError
from hgqify.export import (
    BACKENDS,
    ProjectOptions,
    compare,
    compile_project,
    compiler,
    random_inputs,
    refuse_unprintable,
    write_project,
)
from hgqify.export.backends import UNSUPPORTED
from hgqify.precision.program import Program

needs_compiler = pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")

STREAMS_LACK = {"maximum, overlapping", "format per element", "matrix product", "a table per edge"}
AC_LACKS = {"format per element", "one bit", "crop", "crop a volume", "matrix product", "a table per edge"}
# What each backend refuses; all else it must compute exactly.
REFUSED = {
    ("Vitis", "io_parallel"): set(),
    ("Vitis", "io_stream"): STREAMS_LACK,
    ("Vivado", "io_parallel"): set(),
    ("Vivado", "io_stream"): STREAMS_LACK,
    ("Catapult", "io_parallel"): AC_LACKS,
    ("Catapult", "io_stream"): STREAMS_LACK | AC_LACKS | {"transpose", "larger", "smaller", "concatenate"},
    ("Quartus", "io_parallel"): AC_LACKS,
    ("Quartus", "io_stream"): STREAMS_LACK | AC_LACKS,
}


def is_refused(program: Program, options: ProjectOptions) -> bool:
    try:
        refuse_unprintable(program, options)
    except ExportError:
        return True
    return False


def differing(program: Program, options: ProjectOptions, folder: Path, samples: int = 100) -> str:
    """The first place that differs, as text; empty if all codes are equal."""
    write_project(program, folder, options)
    with compile_project(folder, optimization="-O0") as simulation:
        (comparison,) = compare(
            program, [random_inputs(program, samples, seed=1)], name="random inputs", simulation=simulation
        )
    assert comparison.codes > 0
    return str(comparison.place) if comparison.differing else ""


def test_every_backend_is_here() -> None:
    assert {backend for backend, _ in REFUSED} == set(BACKENDS)


@pytest.mark.parametrize(("backend", "io_type"), REFUSED)
def test_what_is_refused(backend: str, io_type: str) -> None:
    options = ProjectOptions(backend=backend, io_type=io_type)
    assert {name for name, make in SMALL.items() if is_refused(make(), options)} == REFUSED[backend, io_type]


@needs_compiler
@pytest.mark.parametrize(("backend", "io_type"), REFUSED)
def test_every_operation_is_exact(backend: str, io_type: str, tmp_path: Path) -> None:
    options = ProjectOptions(backend=backend, io_type=io_type)
    program = joined([make() for name, make in SMALL.items() if name not in REFUSED[backend, io_type]])
    assert differing(program, options, tmp_path / "hls") == ""


@needs_compiler
@pytest.mark.parametrize(
    ("backend", "name", "io_type"),
    [
        ("Vivado", "separable", "io_stream"),
        ("Vivado", "meetings", "io_parallel"),
        ("Catapult", "separable", "io_parallel"),
        ("Catapult", "streamed", "io_stream"),
        ("Catapult", "packs", "io_stream"),
        ("Quartus", "separable", "io_stream"),
        ("Quartus", "merging", "io_parallel"),
        ("Quartus", "packs", "io_stream"),
    ],
)
def test_operations_meet_exactly(backend: str, name: str, io_type: str, tmp_path: Path) -> None:
    options = ProjectOptions(backend=backend, io_type=io_type)
    assert differing(getattr(programs, name)(), options, tmp_path / "hls") == ""


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_backend_says_why(name: str) -> None:
    with pytest.raises(ExportError) as caught:
        ProjectOptions(backend=name)
    message = str(caught.value)
    assert UNSUPPORTED[name] in message
    assert all(supported in message for supported in BACKENDS)


def test_a_missing_kernel_is_named_with_ways_out() -> None:
    with pytest.raises(ExportError, match=r"net/only: Catapult has no kernel for a transposition in io_stream"
                                          r"\. Use io_parallel or export for Vitis or Vivado"):  # fmt: skip
        refuse_unprintable(SMALL["transpose"](), ProjectOptions(backend="Catapult", io_type="io_stream"))
    with pytest.raises(ExportError, match=r"net/bit: .*one bit as two bits for Quartus.*Give it two bits"):
        refuse_unprintable(SMALL["one bit"](), ProjectOptions(backend="Quartus"))


@needs_compiler
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_project_may_be_moved(backend: str, tmp_path: Path) -> None:
    """It names no folder, so it computes with the constants that lie beside it."""
    program = SMALL["dense"]()
    write_project(program, tmp_path / "first", ProjectOptions(backend=backend))
    (tmp_path / "first").rename(tmp_path / "a second")
    with compile_project(tmp_path / "a second", optimization="-O0") as simulation:
        (comparison,) = compare(program, [random_inputs(program, 50)], name="x", simulation=simulation)
    assert comparison.differing == 0
