"""The interpreter against an independent one on exact rationals, and its conduct towards mistakes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_checks import assert_equals_oracle
from programs import OVERFLOWS, ROUNDINGS, Builder, constant, quantizer, random_program

from hgqify.errors import DataError, PrecisionError
from hgqify.fixed import Overflow, requantize
from hgqify.precision import Node, Program, TensorInfo, annotate
from hgqify.precision.ops import Add, Clip, Conv, Dense, Input
from hgqify.reference import Interpreter, run
from hgqify.reference.quantize import code_quantizer


def inputs_of(program, rng, samples):
    """In range, on ties, and far outside."""
    result = []
    for name in program.inputs:
        shape = (samples, *program.by_name[name].shape)
        x = rng.normal(size=shape) * 2.0 ** rng.integers(-3, 7, shape)
        ties = rng.integers(-40, 40, shape) / 16
        result.append(np.where(rng.random(shape) < 0.5, x, ties).astype(np.float32))
    return result


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_random_programs_equal_exact_rationals_and_stay_in_bounds(seed):
    rng = np.random.default_rng(seed)
    program = annotate(random_program(rng))
    assert_equals_oracle(program, inputs_of(program, rng, 2))


@pytest.mark.parametrize("bits", [4, 10, 13, 20, 26, 28])
def test_wide_accumulators_are_exact_in_every_arithmetic(bits):
    """Sums below 2**24, 2**53 and above take float32, float64, split and integer paths."""
    rng = np.random.default_rng(bits)
    b = Builder()
    x = b.add(Input(), (), (5, 5, 3), name="x")
    q = b.add(quantizer(1, 0, bits), (x,), (5, 5, 3))
    kernel = rng.integers(-(1 << bits), 1 << bits, (3, 3, 3, 4))
    bias = constant(rng.integers(-(1 << bits), 1 << bits, 4), 2 * bits + 1)
    op = Conv(kernel=constant(kernel, bits), bias=bias, strides=(1, 1), dilation=(1, 1),
              padding=((1, 1), (1, 1)))  # fmt: skip
    y = b.add(op, (q,), (5, 5, 4))
    program = annotate(b.program(y))
    assert_equals_oracle(program, [rng.uniform(-1, 1, (2, 5, 5, 3)).astype(np.float32)])


@settings(max_examples=300)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(ROUNDINGS),
    st.sampled_from([*OVERFLOWS, Overflow.WRAP_SM]),
    st.integers(2, 40),
)
def test_short_path_of_the_quantizer_equals_fixed(seed, rounding, overflow, bits):
    rng = np.random.default_rng(seed)
    shape = (7,)
    size = () if rng.random() < 0.5 else shape
    k = np.asarray(1) if overflow is Overflow.WRAP_SM else rng.integers(0, 2, size)
    f = rng.integers(-6, 10, size)
    i = rng.integers(0, 9, size) - f - rng.integers(0, 2)
    frac = int(rng.integers(-4, 12))
    top = (1 << bits) - 1
    source = TensorInfo(shape=shape, frac=frac, low=np.full(shape, -top), high=np.full(shape, top),
                        step=np.full(shape, frac))  # fmt: skip
    out = int(f.max()) + 1
    info = TensorInfo(shape=shape, frac=out, low=np.zeros(shape), high=np.zeros(shape), step=np.zeros(shape))
    x = rng.integers(-top, top + 1, (50, 7)) >> rng.integers(0, bits, (50, 7))
    codes = code_quantizer(quantizer(k, i, f, rounding, overflow), source, info)(x)
    expected = requantize(x, frac, k, i, f, rounding, overflow) << np.where(k + i + f > 0, out - f, 0)
    np.testing.assert_array_equal(codes, expected)


def test_batches_do_not_change_results_and_memory_is_streamed():
    rng = np.random.default_rng(3)
    program = annotate(random_program(rng))
    inputs = inputs_of(program, rng, 11)
    whole = run(program, inputs)
    for size in (1, 4, 11, 100):
        parts = run(program, inputs, batch_size=size)
        for a, b in zip(whole.outputs, parts.outputs, strict=True):
            np.testing.assert_array_equal(a.codes, b.codes)
    assert [len(p.outputs[0].codes) for p in Interpreter(program).stream(inputs, 4)] == [4, 4, 3]


def small_program():
    b = Builder()
    x = b.add(Input(), (), (3,), name="x")
    q = b.add(quantizer(), (x,), (3,), name="q")
    b.add(Add(), (q, q), (3,), name="y")
    return b.program("y", "q", "y")


def test_a_tensor_may_be_read_twice_and_be_output_twice():
    program = annotate(small_program())
    x = np.array([[0.5, -1.0, 9.0]], dtype=np.float32)
    result = run(program, x)
    np.testing.assert_array_equal(result.values[0], [[1.0, -2.0, 7.75]])
    np.testing.assert_array_equal(result.values[1], [[0.5, -1.0, 3.875]])
    np.testing.assert_array_equal(result.values[2], result.values[0])


def test_no_samples_give_empty_outputs():
    assert run(annotate(small_program()), np.zeros((0, 3))).outputs[0].codes.shape == (0, 3)


def test_mistakes_are_named():
    program = annotate(small_program())
    with pytest.raises(DataError, match=r"x: the array does not fit.*\(2, 4\).*pass \(samples, 3\)|layer/x"):
        run(program, np.zeros((2, 4)))
    with pytest.raises(DataError, match="number of input arrays"):
        run(program, [np.zeros((2, 3)), np.zeros((2, 3))])
    with pytest.raises(DataError, match="finite"):
        run(program, np.full((1, 3), np.nan))
    with pytest.raises(PrecisionError, match=r"no such node.*nope"):
        run(program, np.zeros((2, 3)), keep=("nope",))
    with pytest.raises(PrecisionError, match="real numbers"):
        run(program, np.zeros((2, 3)), keep=("x",))
    with pytest.raises(PrecisionError, match=r"precision\.annotate"):
        run(small_program(), np.zeros((2, 3)))
    with pytest.raises(DataError, match="batch size"):
        run(program, np.zeros((2, 3)), batch_size=0)


def test_a_quantizer_may_follow_a_quantizer():
    b = Builder()
    x = b.add(Input(), (), (200,), name="x")
    fine = b.add(quantizer(1, 3, 6), (x,), (200,))
    coarse = b.add(quantizer(1, 1, 2, ROUNDINGS[2], Overflow.WRAP), (fine,), (200,))
    program = annotate(b.program(fine, coarse))
    assert_equals_oracle(program, [np.linspace(-9, 9, 400, dtype=np.float32).reshape(2, 200)])


def test_unknown_operations_are_refused():
    class Strange(Clip):
        pass

    b = Builder()
    x = b.add(Input(), (), (3,), name="x")
    q = b.add(quantizer(), (x,), (3,))
    b.add(Strange(low=None, high=None), (q,), (3,), name="s")
    with pytest.raises(PrecisionError, match="layer/s: no transfer rule"):
        annotate(b.program("s"))


def test_dense_after_real_input_is_refused():
    nodes = (
        Node(name="x", op=Input(), inputs=(), shape=(3,), layer="x"),
        Node(name="d", op=Dense(kernel=constant(np.ones((3, 2))), bias=None), inputs=("x",), shape=(2,),
             layer="head/dense"),
    )  # fmt: skip
    with pytest.raises(PrecisionError, match="head/dense: a real model input"):
        annotate(Program(nodes=nodes, inputs=("x",), outputs=("d",)))
