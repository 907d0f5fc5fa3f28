"""A project changed by hand is caught, and the place is named."""

import re
import shutil

import export_programs as programs
import pytest

from hgqify.errors import ExportError
from hgqify.export.check import compare
from hgqify.export.csim import compile_project, compiler
from hgqify.export.project import ProjectOptions, write_project
from hgqify.export.stimuli import random_inputs
from hgqify.export.weights import compare_weights

pytestmark = pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tampering") / "hls"
    program = programs.streamed()
    write_project(program, directory, ProjectOptions(io_type="io_parallel"))
    return program, directory


def flip_weight(hls):
    path = hls / "firmware" / "weights" / "w6.txt"
    first, rest = path.read_text().split(",", 1)
    path.write_text(f"{float(first) + 2**-6:.8f},{rest}")


def narrow_accumulator(hls):
    substitute(hls / "firmware" / "defines.h", r"ap_fixed<(\d+),(\d+)> conv_accum_t", narrower)


def wrong_rounding(hls):
    substitute(hls / "firmware" / "defines.h", r"AP_RND,AP_SAT_SYM", lambda _: "AP_TRN,AP_SAT_SYM")


def narrower(match):
    return f"ap_fixed<{int(match[1]) - 2},{int(match[2]) - 2}> conv_accum_t"


def substitute(path, pattern, replacement):
    text, count = re.subn(pattern, replacement, path.read_text())
    assert count == 1
    path.write_text(text)


@pytest.mark.parametrize(
    ("tamper", "layer"),
    [(flip_weight, "net/depthwise"), (narrow_accumulator, "net/q1"), (wrong_rounding, "net/q1")],
    ids=["flipped weight bit", "narrowed accumulator", "wrong rounding mode"],
)
def test_a_change_by_hand_is_found_and_named(written, tmp_path, tamper, layer):
    program, original = written
    hls = tmp_path / "hls"
    shutil.copytree(original, hls)
    tamper(hls)
    inputs = random_inputs(program, 100, seed=3)
    with compile_project(hls, optimization="-O0") as simulation:
        (comparison,) = compare(program, [inputs], name="random inputs", simulation=simulation)
    assert comparison.differing > 0
    assert comparison.place is not None
    assert comparison.place.layer == layer
    assert layer in str(comparison)


def flip_header(hls):
    substitute(
        hls / "firmware" / "weights" / "w6.h", r"= \{(-?[\d.]+),", lambda m: f"= {{{float(m[1]) + 0.25}, "
    )


def drop_header(hls):
    (hls / "firmware" / "weights" / "w6.h").unlink()


@pytest.mark.parametrize("tamper", [flip_header, drop_header, flip_weight])
def test_weights_for_synthesis_are_those_of_c_simulation(written, tmp_path, tamper):
    program, original = written
    assert compare_weights(original, program) == ()
    hls = tmp_path / "hls"
    shutil.copytree(original, hls)
    tamper(hls)
    (comparison,) = compare_weights(hls, program)
    assert comparison.place is not None
    assert comparison.place.layer == "net/depthwise"
    assert "w6.h" in str(comparison)
    assert (comparison.differing == 1) == (tamper is not drop_header)
    assert 0 < comparison.differing < comparison.codes


def test_c_code_that_aborts_is_an_error_and_not_the_end(written, tmp_path):
    program, original = written
    hls = tmp_path / "hls"
    shutil.copytree(original, hls)
    substitute(hls / "firmware" / "myproject.cpp", r"(?m)^(\s*)nnet::relu|^(\s*)nnet::clip", aborting)
    inputs = random_inputs(program, 2, seed=3)
    with (
        compile_project(hls, optimization="-O0") as simulation,
        pytest.raises(ExportError, match=r"the C simulation aborted.*no such element"),
    ):
        simulation.run(inputs)


def test_c_code_that_does_not_compile(written, tmp_path):
    hls = tmp_path / "hls"
    shutil.copytree(written[1], hls)
    substitute(hls / "firmware" / "defines.h", r"conv_accum_t;", lambda _: "conv_accum_t")
    with pytest.raises(ExportError, match=r"the project does not compile; received: .*error"):
        compile_project(hls, optimization="-O0")


def aborting(match):
    return 'assert(false && "no such element");\n' + match[0]
