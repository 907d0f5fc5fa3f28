"""A project changed by hand is caught, and the place is named."""

import re
import shutil

import export_programs as programs
import pytest

from hgqify.export.check import compare
from hgqify.export.csim import compile_project, compiler
from hgqify.export.project import ProjectOptions, write_project
from hgqify.export.stimuli import random_inputs

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
    simulation = compile_project(hls, optimization="-O0")
    inputs = random_inputs(program, 100, seed=3)
    (comparison,) = compare(program, [inputs], name="random inputs", simulation=simulation)
    assert comparison.differing > 0
    assert comparison.place is not None
    assert comparison.place.layer == layer
    assert layer in str(comparison)
