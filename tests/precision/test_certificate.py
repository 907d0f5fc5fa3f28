"""The float32 certificate on both sides of 2**24."""

from dataclasses import replace

import numpy as np
import pytest
from programs import Builder, constant, quantizer, random_program

from hgqify.precision import Program, annotate, certify
from hgqify.precision.ops import (
    Add,
    Clip,
    Concatenate,
    Dense,
    Input,
    Matmul,
    Multiply,
    ScaleShift,
    SumPool,
)
from hgqify.reference import run


def dense_program(weights, bits, bias=None):
    """One dot product of unsigned ``bits``-bit integers."""
    b = Builder()
    x = b.add(Input(), (), (len(weights),), name="x")
    q = b.add(quantizer(0, bits, 0), (x,), (len(weights),), name="q")
    kernel = constant(np.reshape(weights, (-1, 1)))
    b.add(Dense(kernel=kernel, bias=bias), (q,), (1,), name="y")
    return annotate(b.program("y"))


def entry(program, name):
    return next(e for e in certify(program).entries if e.name == name)


@pytest.mark.parametrize(
    ("weights", "bits", "missing"),
    [
        ([1 << 12, 1 << 12], 11, 0),  # 2 * 2**12 * (2**11 - 1) < 2**24, in LSBs of 2**12: far below
        ([4097, 4095], 11, 0),  # sum 2**13 * (2**11 - 1) < 2**24
        ([8193, 8], 11, 1),  # 8201 * 2047 > 2**24
        ([8191, -8191], 11, 0),  # signs cancel: partial sums stay within one half
        ([8191, 8191, -1], 11, 1),
        ([(1 << 14) - 1, (1 << 14) - 1], 13, 4),
    ],
)
def test_dot_products(weights, bits, missing):
    verdict = entry(dense_program(weights, bits), "y")
    assert verdict.proved == (missing == 0)
    assert verdict.missing_bits == missing
    assert verdict.layer == "layer/y"


def test_the_boundary_is_exact():
    """2**24 - 1 is proved, and beyond it float32 really fails."""
    assert entry(dense_program([4097], 12), "y").proved  # 4097 * 4095 = 2**24 - 1
    program = dense_program([4097, 3], 12)
    assert not entry(program, "y").proved
    x = np.array([[4095.0, 1.0]], dtype=np.float32)
    exact = run(program, x).outputs[0].codes
    np.testing.assert_array_equal(exact, [[(1 << 24) + 2]])
    x = np.array([[4095.0, 2.0]], dtype=np.float32)
    exact = run(program, x).values[0]
    assert exact[0, 0] == (1 << 24) + 5
    assert np.float32(4097 * 4095) + np.float32(6) != exact[0, 0]


def test_a_fine_bias_counts():
    assert entry(dense_program([255], 8, constant([1], 8)), "y").proved
    assert entry(dense_program([255], 8, constant([1], 9)), "y").missing_bits == 1


def test_a_quantized_value_must_fit_itself():
    b = Builder()
    x = b.add(Input(), (), (2,), name="x")
    b.add(quantizer(1, 24, 0), (x,), (2,), name="fits")
    b.add(quantizer(1, 24, 1), (x,), (2,), name="wide")
    certificate = certify(annotate(b.program("fits", "wide")))
    assert [e.name for e in certificate.open] == ["wide"]
    assert certificate.open[0].missing_bits == 1
    assert not certificate.proved


@pytest.mark.parametrize(("op", "bits", "proved"), [
    (Add(), 23, True), (Add(), 24, False), (Multiply(), 12, True), (Multiply(), 13, False),
    (ScaleShift(scale=constant(4095), shift=None), 12, True),
    (ScaleShift(scale=constant(4095), shift=constant(1, 1)), 12, False),
])  # fmt: skip
def test_elementwise_operations(op, bits, proved):
    b = Builder()
    x = b.add(Input(), (), (3,), name="x")
    q = b.add(quantizer(0, bits, 0), (x,), (3,), name="q")
    b.add(op, (q,) if isinstance(op, ScaleShift) else (q, q), (3,), name="y")
    assert certify(annotate(b.program("y"))).proved == proved


@pytest.mark.parametrize(
    ("terms", "signed", "proved"), [(1, False, True), (2, False, False), (2, True, False), (1, True, True)]
)
def test_sums_of_products_of_two_tensors(terms, signed, proved):
    """Every partial sum counts: one product of 12 bits each fits, two of one sign do not."""
    b = Builder()
    x = b.add(Input(), (), (1, 1, terms), name="x")
    q = b.add(quantizer(int(signed), 12, 0), (x,), (1, 1, terms), name="q")
    b.add(Matmul(), (q, q), (1, 1, 1), name="y")
    assert entry(annotate(b.program("y")), "y").proved == proved


def test_partial_sums_of_products_count_where_the_total_is_small():
    """a * b - a * b is 0 at most 2**24 apart from its terms."""
    b = Builder()
    x = b.add(Input(), (), (1, 1, 1), name="x")
    a = b.add(quantizer(0, 12, 0), (x,), (1, 1, 1), name="a")
    up = b.add(Clip(low=constant(4000), high=None), (a,), (1, 1, 1), name="up")
    down = b.add(ScaleShift(scale=constant(-1), shift=None), (up,), (1, 1, 1), name="down")
    left = b.add(Concatenate(axis=2), (up, up, down, down), (1, 1, 4), name="left")
    right = b.add(Concatenate(axis=2), (up, up, up, up), (1, 1, 4), name="right")
    b.add(Matmul(), (left, right), (1, 1, 1), name="y")
    found = entry(annotate(b.program("y")), "y")
    assert not found.proved
    assert found.bits == 25


def test_sums_of_many_are_proved_in_the_order_of_keras_too():
    """(a + b) + (c + d) with a = c > 0 > b = d fits; a + c does not."""
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    real = b.add(quantizer(0, 24, 0), (x,), (1,))
    up = b.add(Clip(low=constant(1 << 23), high=None), (real,), (1,), name="up")
    down = b.add(ScaleShift(scale=constant(-1), shift=None), (up,), (1,), name="down")
    pairs = [b.add(Add(), (up, down), (1,), name=name) for name in ("left", "right")]
    b.add(Add(), pairs, (1,), name="all")
    program = b.program("all")
    assert certify(annotate(program)).proved
    together = Program(
        nodes=tuple(replace(n, layer="sum") if isinstance(n.op, Add) else n for n in program.nodes),
        inputs=program.inputs,
        outputs=program.outputs,
    )
    assert entry(annotate(together), "all").missing_bits == 1
    small = b.add(quantizer(0, 20, 0), (x,), (1,), name="small")
    b.add(Add(), (small, b.add(Add(), (small, small), (1,), name="two")), (1,), name="three")
    assert entry(annotate(b.program("three")), "three").proved


def test_pools_sum_in_any_order():
    b = Builder()
    x = b.add(Input(), (), (16, 1), name="x")
    q = b.add(quantizer(0, 20, 0), (x,), (16, 1), name="q")
    b.add(SumPool(window=(16,), strides=(1,), padding=((0, 0),)), (q,), (1, 1), name="fits")
    b.add(SumPool(window=(16,), strides=(1,), padding=((8, 8),)), (q,), (17, 1), name="also")
    r = b.add(quantizer(0, 21, 0), (x,), (16, 1), name="r")
    b.add(SumPool(window=(16,), strides=(1,), padding=((0, 0),)), (r,), (1, 1), name="not")
    certificate = certify(annotate(b.program("fits", "also", "not")))
    assert [(e.name, e.missing_bits) for e in certificate.open] == [("not", 1)]


def test_values_outside_of_the_exponents_are_not_proved():
    b = Builder()
    x = b.add(Input(), (), (1,), name="x")
    b.add(quantizer(1, -120, 130), (x,), (1,), name="tiny")
    assert [e.name for e in certify(annotate(b.program("tiny"))).open] == ["tiny"]


def test_what_is_proved_holds_for_random_programs_in_float32():
    """Every proved dense layer gives the same in float32 NumPy, summed in a random order."""
    rng = np.random.default_rng(1)
    proved = 0
    for _ in range(60):
        program = annotate(random_program(rng))
        names = [n.name for n in program.nodes if not isinstance(n.op, Input)]
        x = (rng.normal(size=(3, *program.nodes[0].shape)) * 8).astype(np.float32)
        kept = run(program, x, keep=names).kept
        verdicts = {e.name: e.proved for e in certify(program).entries}
        for node in program.nodes:
            if isinstance(node.op, Dense) and verdicts[node.name]:
                source = kept[node.inputs[0]].values.astype(np.float32)
                order = rng.permutation(source.shape[-1])
                y = np.zeros((*source.shape[:-1], node.shape[-1]), np.float32)
                for c in order:
                    y = y + source[..., c : c + 1] * node.op.kernel.values.astype(np.float32)[c]
                if node.op.bias is not None:
                    y = y + node.op.bias.values.astype(np.float32)
                np.testing.assert_array_equal(y, kept[node.name].values)
                proved += 1
    assert proved > 10
