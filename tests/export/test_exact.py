"""What hls4ml's C++ computes is what the reference computes, code for code."""

from dataclasses import replace
from pathlib import Path

import export_programs as programs
import numpy as np
import pytest
from programs import Builder, quantizer

from hgqify.export.check import compare
from hgqify.export.csim import CSimulation, compile_project, compiler
from hgqify.export.hoist import hoist_quantizers
from hgqify.export.project import ProjectOptions, write_project
from hgqify.export.stimuli import random_inputs
from hgqify.fixed import Overflow
from hgqify.precision import annotate
from hgqify.precision.ops import Input, Reshape
from hgqify.precision.program import Program
from hgqify.reference import run

pytestmark = pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")

CASES = [
    ("separable", "io_parallel"),
    ("separable", "io_stream"),
    ("merging", "io_parallel"),
    ("merging", "io_stream"),
    ("shapes", "io_parallel"),
    ("meetings", "io_parallel"),
    ("streamed", "io_stream"),
    ("packs", "io_stream"),
    ("packs", "io_parallel"),
    ("passing", "io_parallel"),
    ("copied", "io_stream"),
    ("both_depthwise", "io_parallel"),
]


def simulate(program: Program, directory: Path, io_type: str) -> CSimulation:
    write_project(program, directory, ProjectOptions(io_type=io_type))
    return compile_project(directory, optimization="-O0")


@pytest.mark.parametrize(("name", "io_type"), CASES)
def test_c_simulation_equals_reference(name, io_type, tmp_path):
    program = getattr(programs, name)()
    inputs = random_inputs(program, 200, seed=1)
    with simulate(program, tmp_path / "hls", io_type) as simulation:
        (comparison,) = compare(program, [inputs], name="random inputs", simulation=simulation)
    assert comparison.place is None
    assert comparison.differing == 0
    assert comparison.codes == 200 * sum(int(np.prod(program.by_name[n].shape)) for n in program.outputs)
    # The inputs make every output move: a check on constants would prove nothing.
    for output in run(program, list(inputs)).outputs:
        assert len(np.unique(output.codes)) > 2


@pytest.mark.parametrize(
    "name", ["separable", "merging", "shapes", "meetings", "streamed", "packs", "passing"]
)
def test_moving_quantizers_changes_no_output(name):
    program = getattr(programs, name)()
    hoisted = hoist_quantizers(program)
    inputs = list(random_inputs(program, 300, seed=2))
    for a, b in zip(run(program, inputs).outputs, run(hoisted, inputs).outputs, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_minifloats_move_too():
    b = Builder()
    x = b.add(quantizer(1, 4, 8), (b.add(Input(), (), (2, 3), name="x"),), (2, 3))
    flat = b.add(Reshape(), (x,), (6,))
    k, i, f, digits = (np.full(6, value) for value in (1, 3, 6, 3))
    minifloat = replace(quantizer(k, i, f, overflow=Overflow.SAT_SYM), digits=digits)
    program = annotate(b.program(b.add(minifloat, (flat,), (6,), name="q")))
    hoisted = hoist_quantizers(program)
    assert hoisted.outputs == (flat,)
    inputs = list(random_inputs(program, 300, seed=2))
    for a, b in zip(run(program, inputs).outputs, run(hoisted, inputs).outputs, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_resource_strategy(tmp_path):
    program = programs.both_depthwise()
    options = ProjectOptions(strategy="Resource", reuse_factor=2)
    write_project(program, tmp_path / "hls", options)
    with compile_project(tmp_path / "hls", optimization="-O0") as simulation:
        (comparison,) = compare(program, [random_inputs(program, 50)], name="x", simulation=simulation)
    assert comparison.differing == 0


def test_quantizers_move_in_front_of_pooling_and_reshape():
    hoisted = hoist_quantizers(programs.shapes())
    order = [node.name for node in hoisted.nodes]
    assert order.index("q2") < order.index("pool") < order.index("turn")
    assert hoisted.outputs == ("pool2",)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_defaults_give_no_notes(io_type, tmp_path):
    assert write_project(programs.separable(), tmp_path / "hls", ProjectOptions(io_type=io_type)).notes == ()
