"""Programs written in operations hls4ml has: what they compute stays, every node keeps name and value."""

import export_programs as programs
import numpy as np
import pytest

from hgqify.export.expand import expand, ungroup
from hgqify.export.stimuli import random_inputs
from hgqify.precision import ops
from hgqify.reference import run


def volumes():
    """Every operation over three spatial axes."""
    b = programs.Builder()
    pads = ((1, 0), (0, 1), (1, 1))
    b("x", ops.Input(), "", (4, 5, 3, 4))
    b("xq", programs.quantize(1, 2, 4), "x", (4, 5, 3, 4))
    b("conv", b.window((2, 3, 2, 2, 6), strides=(2, 1, 1), padding=pads, groups=2), "xq", (2, 4, 4, 6))
    b("wide", b.window((2, 2, 2, 4, 3), dilation=(2, 1, 1), bias=False), "xq", (2, 4, 2, 3))
    b("top", ops.MaxPool(window=(2, 2, 2), strides=(1, 2, 2), padding=pads), "xq", (4, 3, 2, 4))
    b("sum", ops.SumPool(window=(2, 2, 2), strides=(2, 2, 1), padding=pads), "xq", (2, 3, 4, 4))
    b("dense", b.dense(4, 3), "xq", (4, 5, 3, 3))
    b("padded", ops.Pad(padding=((1, 2), (0, 1), (2, 0), (0, 0))), "xq", (7, 6, 5, 4))
    b("cropped", ops.Crop(cropping=((1, 0), (0, 0), (0, 2), (0, 0))), "xq", (3, 5, 1, 4))
    b("repeated", ops.Repeat(repeats=(2, 1, 3, 1)), "xq", (8, 5, 9, 4))
    return b.program("conv", "wide", "top", "sum", "dense", "padded", "cropped", "repeated")


def broadcasts():
    """Merges of tensors of different shapes."""
    b = programs.Builder()
    shapes = {"a": (3, 4, 2), "b": (1, 1, 2), "c": (3, 4, 1), "d": (1, 4, 2), "e": (2,)}
    for name, shape in shapes.items():
        b(f"{name}x", ops.Input(), "", shape)
        b(name, programs.quantize(1, 2, 3), f"{name}x", shape)
    b("ab", ops.Add(), "a b", (3, 4, 2))
    b("ca", ops.Subtract(), "c a", (3, 4, 2))
    b("bc", ops.Multiply(), "b c", (3, 4, 2))
    b("cd", ops.Maximum(), "c d", (3, 4, 2))
    b("ea", ops.Minimum(), "e a", (3, 4, 2))
    wide = {"u": (2, 2, 3, 4), "v": (2, 2, 3, 1), "w": (1, 2, 1, 4)}
    for name, shape in wide.items():
        b(f"{name}x", ops.Input(), "", shape)
        b(name, programs.quantize(1, 2, 3), f"{name}x", shape)
    b("uv", ops.Multiply(), "u v", (2, 2, 3, 4))
    b("vw", ops.Add(), "v w", (2, 2, 3, 4))
    return b.program("ab", "ca", "bc", "cd", "ea", "uv", "vw")


@pytest.mark.parametrize("make", [volumes, broadcasts])
def test_the_same_values_in_operations_of_hls4ml(make):
    program = make()
    expanded = expand(program)
    assert expanded.outputs == program.outputs
    for node in expanded.nodes:
        any_shape = ops.Input | ops.Quantize | ops.Reshape | ops.Add | ops.Multiply
        assert len(node.shape) < 4 or isinstance(node.op, any_shape)
        if type(node.op) in (ops.Add, ops.Subtract, ops.Multiply, ops.Maximum, ops.Minimum):
            assert {expanded.by_name[name].shape for name in node.inputs} == {node.shape}
    inputs = list(random_inputs(program, 200))
    names = [node.name for node in program.nodes if not isinstance(node.op, ops.Input)]
    before, after = (run(p, inputs, keep=names).kept for p in (program, expanded))
    for name in names:
        np.testing.assert_array_equal(before[name].values, after[name].values)


def test_what_hls4ml_has_is_left():
    program = programs.separable()
    assert expand(program).nodes == program.nodes


def test_a_kernel_without_groups_stays():
    codes = np.arange(12).reshape(1, 3, 4)
    np.testing.assert_array_equal(ungroup(codes, 1), codes)
