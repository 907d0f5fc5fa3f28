"""Every defect that fuzzing found, as the smallest network or program that showed it."""

from itertools import pairwise

import numpy as np
import pytest
from batch_csim import simulate_each
from check import stimuli
from programs import Builder, constant, quantizer

from hgqify.export import ProjectOptions, compiler
from hgqify.fixed import Overflow, Rounding
from hgqify.precision import Program, annotate
from hgqify.precision.ops import (
    Clip,
    Concatenate,
    Conv,
    Dense,
    Input,
    LeakyRelu,
    Maximum,
    Multiply,
    Reshape,
    ScaleShift,
    Transpose,
)
from hgqify.reference import run

SHAPE = (4,)


def chain(*ops) -> Program:
    """One operation behind the other, on tensors of one shape."""
    b = Builder()
    names = [b.add(Input(), (), SHAPE, name="x")]
    for op in ops:
        names.append(b.add(op, (names[-1],), SHAPE))
    assert all(a != z for a, z in pairwise(names))
    return annotate(b.program(names[-1]))


def clip_bound_far_below_the_next_lsb():
    """ap_fixed aborts where more bits are rounded off than a number has: -1/4 has one, in units of 4 none."""
    coarse = quantizer(1, 4, -2, Rounding.RND_ZERO, Overflow.SAT_SYM)
    return chain(quantizer(1, 4, 2), Clip(low=constant(-1, 2), high=None), coarse)


def leaky_product_far_below_the_next_lsb():
    """As above: the product of a narrow number and a slope of one bit."""
    return chain(quantizer(1, -1, 4), LeakyRelu(slope=constant(1, 3)), quantizer(1, 1, 1))


def narrow_operand_of_maximum_far_below_the_next_lsb():
    """As above: maximum assigns the operand that is larger, and one of them is narrow."""
    b = Builder()
    x, y = (b.add(Input(), (), SHAPE, name=name) for name in ("x", "y"))
    narrow = b.add(quantizer(0, -3, 4), (x,), SHAPE)
    wide = b.add(quantizer(1, 3, 2), (y,), SHAPE)
    larger = b.add(Maximum(), (narrow, wide), SHAPE)
    return annotate(b.program(b.add(quantizer(1, 3, 1), (larger,), SHAPE)))


def everything_rounds_to_zero():
    """As above: a quantizer that nothing survives still rounds, at its own place."""
    b = Builder()
    x = b.add(Input(), (), SHAPE, name="x")
    fine = b.add(quantizer(1, -1, 4), (x,), SHAPE)
    coarse = b.add(quantizer(0, 6, -2, Rounding.RND_CONV, Overflow.SAT_SYM), (fine,), SHAPE)
    other = b.add(quantizer(0, 2, 2, Rounding.RND_ZERO), (fine,), SHAPE)
    return annotate(b.program(b.add(Concatenate(axis=0), (coarse, other), (8,))))


def output_that_is_the_input_again():
    """hls4ml drops a cast to the same type, and the output is the input's port: the C++ declares it twice."""
    return chain(quantizer(1, 2, 5, Rounding.TRN, Overflow.WRAP), ScaleShift(scale=constant(1), shift=None))


def padded_convolution_is_not_the_first_reader():
    """hls4ml put the zeros of a streamed 'same' convolution before whoever reads its input first."""
    b = Builder()
    x = b.add(Input(), (), (4, 2), name="x")
    q = b.add(quantizer(1, 2, 1), (x,), (4, 2))
    common = {"bias": None, "strides": (1,), "dilation": (1,), "groups": 1}
    point = Conv(kernel=constant(np.ones((1, 2, 3))), padding=((0, 0),), **common)
    same = Conv(kernel=constant(np.arange(12).reshape(3, 2, 2)), padding=((1, 1),), **common)
    return annotate(b.program(b.add(point, (q,), (4, 3)), b.add(same, (q,), (4, 2))))


def outputs_that_only_move_an_input():
    """hls4ml removes what moves nothing, so that two outputs were one array, and the input at that."""
    b = Builder()
    x = b.add(Input(), (), (3, 2), name="x")
    q = b.add(quantizer(1, 2, 1), (x,), (3, 2))
    return annotate(b.program(b.add(Reshape(), (q,), (6,)), b.add(Transpose(perm=(0, 1)), (q,), (3, 2))))


def input_of_one_row_transposed():
    """hls4ml removes the transposition of an input of one row, whatever the other axes do."""
    b = Builder()
    x = b.add(Input(), (), (1, 3, 2), name="x")
    q = b.add(quantizer(1, 2, 1), (x,), (1, 3, 2))
    turned = b.add(Transpose(perm=(2, 1, 0)), (q,), (2, 3, 1))
    kernel = constant([[1, -2, 3]])
    same = b.add(Transpose(perm=(1, 2, 0)), (q,), (3, 2, 1))
    return annotate(b.program(turned, b.add(Dense(kernel=kernel, bias=None), (same,), (3, 2, 3))))


def factors_that_are_both_zero():
    """Silent: each factor was taken to hide what the other one holds, and neither was rounded to zero."""
    b = Builder()
    x = b.add(Input(), (), SHAPE, name="x")
    fine = b.add(quantizer(1, [-1, 5, -1, 5], [4, -2, 4, -2]), (x,), SHAPE)
    zeros = [b.add(quantizer(1, 6, -2, mode), (fine,), SHAPE) for mode in (Rounding.RND, Rounding.RND_ZERO)]
    product = b.add(Multiply(), zeros, SHAPE)
    return annotate(b.program(b.add(Concatenate(axis=0), (product, fine), (8,))))


def reshaped_tensor_read_twice():
    """Streams of a reshaped tensor were copied in hls4ml's default type, of 16 bits with 6 integer ones."""
    b = Builder()
    x = b.add(quantizer(1, 8, 2), (b.add(Input(), (), (12,), name="x"),), (12,))
    rows = b.add(Reshape(), (x,), (6, 2))
    relu = b.add(Clip(low=constant(0, 0), high=None), (rows,), (6, 2))
    return annotate(b.program(rows, relu))


def node_with_the_name_of_a_step():
    """A concatenation of three is written in two steps, and the first one's name was another node's."""
    b = Builder()
    x = b.add(quantizer(1, 2, 1), (b.add(Input(), (), SHAPE, name="x"),), SHAPE)
    relu = b.add(Clip(low=constant(0, 0), high=None), (x,), SHAPE, name="joined_part1")
    wide = b.add(Concatenate(axis=0), (x, relu, relu), (12,), name="joined")
    return annotate(b.program(b.add(quantizer(1, 2, 0), (wide,), (12,))))


def four_axes_that_broadcast():
    """Channels were repeated by a product over three spatial axes, which hls4ml has not."""
    b = Builder()
    shapes = ((2, 1, 3, 2), (2, 2, 3, 1))
    x, y = (
        b.add(quantizer(1, 2, 1), (b.add(Input(), (), s, name=n),), s)
        for n, s in zip("xy", shapes, strict=True)
    )
    return annotate(b.program(b.add(Multiply(), (x, y), (2, 2, 3, 2))))


SIMULATED = [
    (node_with_the_name_of_a_step, "io_parallel"),
    (node_with_the_name_of_a_step, "io_stream"),
    (four_axes_that_broadcast, "io_parallel"),
    (four_axes_that_broadcast, "io_stream"),
    (factors_that_are_both_zero, "io_parallel"),
    (output_that_is_the_input_again, "io_parallel"),
    (output_that_is_the_input_again, "io_stream"),
    (everything_rounds_to_zero, "io_parallel"),
    (everything_rounds_to_zero, "io_stream"),
    (clip_bound_far_below_the_next_lsb, "io_parallel"),
    (clip_bound_far_below_the_next_lsb, "io_stream"),
    (leaky_product_far_below_the_next_lsb, "io_parallel"),
    (narrow_operand_of_maximum_far_below_the_next_lsb, "io_parallel"),
    (padded_convolution_is_not_the_first_reader, "io_stream"),
    (outputs_that_only_move_an_input, "io_parallel"),
    (outputs_that_only_move_an_input, "io_stream"),
    (input_of_one_row_transposed, "io_parallel"),
    (reshaped_tensor_read_twice, "io_stream"),
]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Outputs of all of them, or what went wrong: they are compiled together."""
    jobs = []
    for make, io_type in SIMULATED:
        program = make()
        jobs.append((program, ProjectOptions(io_type=io_type), stimuli(program, 0)))
    return dict(zip(SIMULATED, simulate_each(jobs, tmp_path_factory.mktemp("hls")), strict=True))


@pytest.mark.skipif(compiler() is None, reason="C simulation needs g++")
@pytest.mark.parametrize(("make", "io_type"), SIMULATED)
def test_c_simulation(make, io_type, simulated):
    program, found = make(), simulated[(make, io_type)]
    assert not isinstance(found, str), found
    for a, b in zip(run(program, list(stimuli(program, 0))).values, found, strict=True):
        np.testing.assert_array_equal(b.reshape(a.shape), a)
        assert len(np.unique(a)) > 1
