"""Requests and formats: storing every tensor in its result format changes no output."""

from fractions import Fraction

import numpy as np
import program_oracle as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_checks import stored_run
from programs import Builder, constant, quantizer, random_program, wrapping_ends

from hgqify.errors import PrecisionError
from hgqify.fixed import Format, Overflow, Rounding
from hgqify.precision import annotate, formats, requests
from hgqify.precision.ops import (
    Add,
    Clip,
    Concatenate,
    Conv,
    Crop,
    Dense,
    Input,
    LeakyRelu,
    Maximum,
    MaxPool,
    Multiply,
    Pad,
    Repeat,
    Reshape,
    ScaleShift,
    SumPool,
    Table,
    Transpose,
)
from hgqify.precision.request import NOTHING, WHOLE, whole


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1))
def test_result_formats_change_no_output(seed):
    rng = np.random.default_rng(seed)
    program = random_program(rng, 6)
    program = annotate(wrapping_ends(rng, program))
    x = (rng.normal(size=program.nodes[0].shape) * 4).astype(np.float32)
    expected = oracle.run(program, [x[None]])
    for name, found in zip(program.outputs, stored_run(program, [x]), strict=True):
        np.testing.assert_array_equal(found, expected[name][0])


def chain(op, shape, last, *, inputs=1, out=None):
    b = Builder()
    x = b.add(Input(), (), shape, name="x")
    sources = [b.add(quantizer(1, 4, 3), (x,), shape, name=f"q{n}") for n in range(inputs)]
    y = b.add(op, sources, shape if out is None else out, name="y")
    b.add(last, (y,), shape if out is None else out, name="end")
    return annotate(b.program("end"))


WRAPPING = quantizer(1, 1, 2, Rounding.TRN, Overflow.WRAP)


def bits(program, name):
    """Request of a node, each part as one number if it is the same for all elements."""
    seen = requests(program)[name]
    return tuple(
        int(a.flat[0]) if np.all(a == a.flat[0]) else a.tolist() for a in (seen.int_bits, seen.frac_bits)
    )


def test_a_wrapping_consumer_needs_only_its_own_bits():
    """y = q0 + q1 reaches +-32, but the consumer sees it modulo 4 and floored to quarters."""
    program = chain(Add(), (3,), WRAPPING, inputs=2)
    assert bits(program, "y") == (2, 2)
    assert bits(program, "q0") == (2, WHOLE)
    assert formats(program)["y"].result == Format(1, 1, 2)


def test_accumulators_keep_every_fractional_bit_and_drop_unseen_integer_bits():
    kernel = constant([[5, 3, 0], [1, -7, 2], [4, 4, 4]], 4)
    program = chain(Dense(kernel=kernel, bias=None), (3,), WRAPPING)
    types = formats(program)["y"]
    assert types.accumulator == Format(1, 1, 7)
    assert types.result == Format(1, 1, 2)


def test_accumulators_hold_terms_that_a_constant_sum_hides():
    """1/4 * 1 + 3/4 = 1 for every input: the sum needs no fractional bit, its terms need two."""
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    q = b.add(quantizer(1, 2, 3), (x,), (2,), name="q")
    quarter = b.add(Clip(low=constant(1, 2), high=constant(1, 2)), (q,), (2,), name="quarter")
    b.add(Dense(kernel=constant([[1], [0]], 0), bias=constant([3], 2)), (quarter,), (1,), name="y")
    types = formats(annotate(b.program("y")))["y"]
    assert types.accumulator.f == 2
    assert types.result.f == 0


@pytest.mark.parametrize(
    ("rounding", "overflow", "int_bits", "frac_bits"),
    [
        (Rounding.TRN, Overflow.WRAP, 2, 2),
        (Rounding.RND, Overflow.WRAP, 2, 3),
        (Rounding.RND_CONV, Overflow.WRAP, 2, WHOLE),
        (Rounding.TRN_ZERO, Overflow.WRAP, WHOLE, WHOLE),
        (Rounding.TRN, Overflow.SAT, WHOLE, 2),
        (Rounding.TRN, Overflow.WRAP_SM, WHOLE, 2),
    ],
)
def test_what_a_quantizer_sees(rounding, overflow, int_bits, frac_bits):
    program = chain(Add(), (2,), quantizer(1, 1, 2, rounding, overflow), inputs=2)
    assert bits(program, "y") == (int_bits, frac_bits)


def test_comparisons_see_all_integer_bits():
    program = chain(Maximum(), (2,), WRAPPING, inputs=2)
    assert bits(program, "q1") == (WHOLE, 2)
    program = chain(Clip(low=constant(0), high=constant(3, 3)), (2,), WRAPPING)
    assert bits(program, "q0") == (WHOLE, 2)


def test_factors_are_needed_deeper_by_the_other_ones_fraction():
    program = chain(Multiply(), (2,), WRAPPING, inputs=2)
    assert bits(program, "q0") == (2 + 3, WHOLE)


def test_outputs_and_second_consumers_are_seen_whole():
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    q = b.add(quantizer(1, 4, 3), (x,), (2,), name="q")
    y = b.add(Add(), (q, q), (2,), name="y")
    b.add(WRAPPING, (y,), (2,), name="end")
    program = annotate(b.program("end", "y"))
    assert bits(program, "y") == (WHOLE, WHOLE)
    assert formats(program)["y"].result == Format(1, 5, 3)


def test_a_tensor_that_is_always_zero_needs_nothing():
    program = chain(Dense(kernel=constant(np.zeros((2, 2))), bias=None), (2,), WRAPPING)
    assert formats(program)["y"].result.is_zero


def test_bounds_are_needed():
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    b.add(quantizer(), (x,), (2,), name="q")
    with pytest.raises(PrecisionError, match="annotate"):
        formats(b.program("q"))


def test_formats_are_minimal():
    """One bit less anywhere would lose a value."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        program = annotate(random_program(rng))
        types = formats(program, {node.name: whole(node.shape) for node in program.nodes})
        for node in program.nodes:
            if isinstance(node.op, Input) or not (node.info.low.any() or node.info.high.any()):
                continue
            t, unit = types[node.name].result, Fraction(2) ** -node.info.frac
            low, high = int(node.info.low.min()) * unit, int(node.info.high.max()) * unit
            top = Fraction(2) ** t.i
            assert -t.k * top <= low
            assert high < top
            assert t.k == (low < 0)
            assert low < -top / 2 or high >= top / 2
            alive = (node.info.low != 0) | (node.info.high != 0)
            assert t.f == node.info.step[alive].max()


# One wrapping format for each of three elements; None: the element is zero, nothing of it is seen.
OWN = quantizer([1, 1, 1], [1, 3, -9], [2, 0, 0], Rounding.TRN, Overflow.WRAP)
INTS, FRACS = [2, 4, NOTHING], [2, 0, NOTHING]


@pytest.mark.parametrize(
    ("op", "ints", "fracs"),
    [
        (Reshape(), INTS, FRACS),
        (Maximum(), [WHOLE, WHOLE, NOTHING], FRACS),
        (Add(), INTS, [WHOLE, WHOLE, NOTHING]),
        (Multiply(), [5, 7, NOTHING], [WHOLE, WHOLE, NOTHING]),
        (LeakyRelu(slope=constant(1, 3)), [WHOLE, WHOLE, NOTHING], [WHOLE, WHOLE, NOTHING]),
        (ScaleShift(scale=constant([3, 3, 3], 1), shift=None), [3, 5, NOTHING], [WHOLE, WHOLE, NOTHING]),
        # Half of it, seen to quarters, is seen to halves.
        (ScaleShift(scale=constant([1, 1, 1], 1), shift=constant(1)), [3, 5, NOTHING], [1, -1, NOTHING]),
        (Table(in_frac=3, first=-128, entries=constant(np.arange(256))), [WHOLE, WHOLE, NOTHING],
         [WHOLE, WHOLE, NOTHING]),
        # Inputs through all weights that are not zero, seen outputs only.
        (Dense(kernel=constant([[1, 0, 1], [0, 1, 1], [1, 2, 0]], 1), bias=None), [3, 5, 4], WHOLE),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)  # fmt: skip
def test_requests_per_element(op, ints, fracs):
    program = chain(op, (3,), OWN, inputs=2 if isinstance(op, Add | Maximum | Multiply) else 1)
    assert bits(program, "q0") == (ints, fracs)


@pytest.mark.parametrize(
    ("op", "shape", "out", "ints"),
    [
        (Crop(cropping=((1, 0), (0, 0))), (4, 1), (3, 1), [[NOTHING], [2], [4], [NOTHING]]),
        (Pad(padding=((1, 0), (0, 0))), (2, 1), (3, 1), [[4], [NOTHING]]),
        (Transpose(perm=(1, 0)), (1, 3), (3, 1), [[2, 4, NOTHING]]),
        (Repeat(repeats=(3, 1)), (1, 1), (3, 1), 4),
        (Concatenate(axis=0), (3, 1), (3, 1), [[2], [4], [NOTHING]]),
        (SumPool(window=(2,), strides=(1,), padding=((0, 0),)), (4, 1), (3, 1),
         [[2], [4], [4], [NOTHING]]),
        (MaxPool(window=(2,), strides=(1,), padding=((1, 0),)), (3, 1), (3, 1),
         [[WHOLE], [WHOLE], [NOTHING]]),
        (Conv(kernel=constant([[[1]], [[2]]], 1), bias=None, strides=(1,), dilation=(1,),
              padding=((0, 1),)), (3, 1), (3, 1), [[3], [5], [4]]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple | list | int) else "",
)  # fmt: skip
def test_requests_through_what_moves_and_sums(op, shape, out, ints):
    own = quantizer([[1], [1], [1]], [[1], [3], [-9]], [[2], [0], [0]], Rounding.TRN, Overflow.WRAP)
    assert bits(chain(op, shape, own, out=out), "q0")[0] == ints


def test_what_truncation_sees_of_a_sum_with_whole_numbers():
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    fine = b.add(quantizer(1, 4, 3), (x,), (2,), name="fine")
    coarse = b.add(quantizer(1, 4, 2), (x,), (2,), name="coarse")
    y = b.add(Add(), (fine, coarse), (2,), name="y")
    b.add(WRAPPING, (y,), (2,), name="end")
    program = annotate(b.program("end"))
    # No carry comes from quarters, so eighths are not seen; those of the other operand may carry.
    assert bits(program, "fine") == (2, 2)
    assert bits(program, "coarse") == (2, WHOLE)


def test_truncating_what_wrapped_sees_the_sign():
    """-1/32 wraps into its own sign bit, and is -1/2 when floored to halves."""
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    q = b.add(quantizer(1, 4, 6), (x,), (1,), name="q")
    y = b.add(quantizer(1, -5, 6, Rounding.TRN, Overflow.WRAP), (q,), (1,), name="y")
    b.add(quantizer(1, 1, 1, Rounding.TRN, Overflow.WRAP), (y,), (1,), name="end")
    assert bits(annotate(b.program("end")), "q") == (-4, 5)
