"""Requests and formats: storing every tensor in its result format changes no output."""

from fractions import Fraction

import numpy as np
import program_oracle as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import Builder, constant, quantizer, random_program

from hgqify.errors import PrecisionError
from hgqify.fixed import Format, Overflow, Rounding
from hgqify.precision import Request, annotate, formats, requests
from hgqify.precision.ops import Add, Clip, Dense, Input, Maximum, Multiply, Quantize


def stored_run(program, inputs):
    """Outputs when every tensor is truncated and wrapped into its result format on the way."""
    types = formats(program)
    tensors = dict(zip(program.inputs, inputs, strict=True))
    for node in program.nodes:
        if isinstance(node.op, Input):
            continue
        # Moved elements are views: copied before they are stored anew.
        exact = np.array(
            oracle.evaluate(node.op, [tensors[s] for s in node.inputs], node.shape), dtype=object
        )
        t = types[node.name].result
        for n in np.ndindex(*node.shape):
            if isinstance(node.op, Quantize):
                assert oracle.quantize_one(exact[n], t.k, t.i, t.f, Rounding.TRN, Overflow.WRAP) == exact[n]
            else:
                exact[n] = oracle.quantize_one(exact[n], t.k, t.i, t.f, Rounding.TRN, Overflow.WRAP)
        tensors[node.name] = exact
    return [tensors[name] for name in program.outputs]


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1))
def test_result_formats_change_no_output(seed):
    rng = np.random.default_rng(seed)
    program = random_program(rng, 6)
    # Wrapping ends make the requests bite.
    b = Builder()
    b.nodes, b.inputs = list(program.nodes), list(program.inputs)
    b.shapes = {node.name: node.shape for node in program.nodes}
    ends = [
        b.add(quantizer(rng.integers(0, 2), rng.integers(-1, 4), rng.integers(-1, 4),
                        [Rounding.TRN, Rounding.RND, Rounding.RND_CONV][rng.integers(3)], Overflow.WRAP),
              (name,), b.shapes[name])
        for name in program.outputs
    ]  # fmt: skip
    program = annotate(b.program(*ends))
    x = (rng.normal(size=program.nodes[0].shape) * 4).astype(np.float32)
    expected = oracle.run(program, [x[None]])
    for name, found in zip(program.outputs, stored_run(program, [x]), strict=True):
        np.testing.assert_array_equal(found, expected[name][0])


def chain(op, shape, last, *, inputs=1):
    b = Builder()
    x = b.add(Input(), (), shape, name="x")
    sources = [b.add(quantizer(1, 4, 3), (x,), shape, name=f"q{n}") for n in range(inputs)]
    y = b.add(op, sources, shape, name="y")
    b.add(last, (y,), shape, name="end")
    return annotate(b.program("end"))


WRAPPING = quantizer(1, 1, 2, Rounding.TRN, Overflow.WRAP)


def test_a_wrapping_consumer_needs_only_its_own_bits():
    """y = q0 + q1 reaches +-32, but the consumer sees it modulo 4 and floored to quarters."""
    program = chain(Add(), (3,), WRAPPING, inputs=2)
    seen = requests(program)
    assert seen["y"] == Request(int_bits=2, frac_bits=2)
    assert seen["q0"] == Request(int_bits=2, frac_bits=None)
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
        (Rounding.RND_CONV, Overflow.WRAP, 2, None),
        (Rounding.TRN_ZERO, Overflow.WRAP, None, None),
        (Rounding.TRN, Overflow.SAT, None, 2),
        (Rounding.TRN, Overflow.WRAP_SM, None, 2),
    ],
)
def test_what_a_quantizer_sees(rounding, overflow, int_bits, frac_bits):
    program = chain(Add(), (2,), quantizer(1, 1, 2, rounding, overflow), inputs=2)
    assert requests(program)["y"] == Request(int_bits=int_bits, frac_bits=frac_bits)


def test_comparisons_see_all_integer_bits():
    program = chain(Maximum(), (2,), WRAPPING, inputs=2)
    assert requests(program)["q1"] == Request(int_bits=None, frac_bits=2)
    program = chain(Clip(low=constant(0), high=constant(3, 3)), (2,), WRAPPING)
    assert requests(program)["q0"] == Request(int_bits=None, frac_bits=None)
    program = chain(Clip(low=constant(0), high=constant(6)), (2,), WRAPPING)
    assert requests(program)["q0"] == Request(int_bits=None, frac_bits=2)


def test_factors_are_needed_deeper_by_the_other_ones_fraction():
    program = chain(Multiply(), (2,), WRAPPING, inputs=2)
    assert requests(program)["q0"] == Request(int_bits=2 + 3, frac_bits=None)


def test_outputs_and_second_consumers_are_seen_whole():
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    q = b.add(quantizer(1, 4, 3), (x,), (2,), name="q")
    y = b.add(Add(), (q, q), (2,), name="y")
    b.add(WRAPPING, (y,), (2,), name="end")
    program = annotate(b.program("end", "y"))
    assert requests(program)["y"] == Request()
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
        types = formats(program, {name: Request() for name in program.by_name})
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
