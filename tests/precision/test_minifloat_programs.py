"""Programs with minifloats: what they compute, their bounds, what is seen of them, proofs, files."""

import numpy as np
import program_oracle as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_checks import assert_equals_oracle, stored_run
from programs import Builder, constant, quantizer, random_program, with_minifloats, wrapping_ends

from hgqify.export import random_inputs
from hgqify.fixed import Minifloat, Overflow, Rounding, overflows
from hgqify.precision import annotate, certify, count_ebops, from_npz, operand_bits, prove_overflow, to_npz
from hgqify.precision.ops import Clip, Dense, Input, Multiply, Quantize, Reshape
from hgqify.reference import overflow_statement, run

seeds = st.integers(0, 2**32 - 1)


def drawn(rng, program, samples):
    """Inputs in range, on ties and far outside."""
    shape = (samples, *program.nodes[0].shape)
    x = rng.normal(size=shape) * 2.0 ** rng.integers(-5, 6, shape)
    ties = rng.integers(-40, 40, shape) * 2.0 ** rng.integers(-6, 1, shape)
    return np.where(rng.random(shape) < 0.5, x, ties).astype(np.float32)


def minifloat(m, e, e0=0, rounding=Rounding.RND_CONV):
    form = Minifloat(m, e, e0)
    k, i, f = (np.asarray(part) for part in (form.format.k, form.format.i, form.format.f))
    return Quantize(
        k=k, i=i, f=f, rounding=rounding, overflow=Overflow.SAT_SYM, digits=np.asarray(form.digits)
    )


@settings(max_examples=40)
@given(seeds)
def test_random_programs_equal_exact_rationals_and_stay_in_bounds(seed):
    rng = np.random.default_rng(seed)
    program = annotate(with_minifloats(rng, random_program(rng)))
    assert_equals_oracle(program, [drawn(rng, program, 2)])


@settings(max_examples=30)
@given(seeds)
def test_types_cut_to_what_is_seen_compute_the_same(seed):
    rng = np.random.default_rng(seed)
    program = with_minifloats(rng, random_program(rng, 6))
    program = annotate(wrapping_ends(rng, program))
    x = (rng.normal(size=program.nodes[0].shape) * 4).astype(np.float32)
    expected = oracle.run(program, [x[None]])
    for name, found in zip(program.outputs, stored_run(program, [x]), strict=True):
        np.testing.assert_array_equal(found, expected[name][0])


def test_proved_minifloats_never_saturate():
    rng = np.random.default_rng(2)
    proved = missed = 0
    for _ in range(40):
        program = annotate(with_minifloats(rng, random_program(rng)))
        inner = [
            node
            for node in program.nodes
            if isinstance(node.op, Quantize)
            and node.op.digits is not None
            and program.by_name[node.inputs[0]].info is not None
        ]
        x = drawn(rng, program, 40)
        kept = run(program, x, keep=[node.inputs[0] for node in inner]).kept
        proofs = {proof.name: proof for proof in prove_overflow(program)}
        for node in inner:
            source, op, proof = kept[node.inputs[0]], node.op, proofs[node.name]
            parts = op.k, op.i, op.f, op.rounding, op.overflow, op.digits
            happened = overflows(source.codes, *parts, frac=source.frac).any()
            assert not (proof.proved and happened)
            assert proof.spare_bits is not None
            assert proof.spare_bits >= 0 or not proof.proved
            assert proof.spare_bits < 0 or proof.proved or np.any(op.k == 0)
            proved += proof.proved
            missed += happened
    assert proved > 20
    assert missed > 20


@pytest.mark.parametrize("seed", range(6))
def test_files_and_statements_know_minifloats(seed, tmp_path):
    rng = np.random.default_rng(seed)
    program = annotate(with_minifloats(rng, random_program(rng, 12)))
    to_npz(program, tmp_path / "program.npz")
    again = from_npz(tmp_path / "program.npz")
    x = drawn(rng, program, 4)
    for a, b in zip(run(program, x).outputs, run(again, x).outputs, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes)
    assert count_ebops(again) == count_ebops(program)
    assert overflow_statement(program, [[x]]).samples in (0, 4)


def chain(op, *more):
    """An input, a quantizer, and further operations on three elements."""
    b = Builder()
    name = b.add(op, (b.add(Input(), (), (3,), name="x"),), (3,), name="q")
    for number, further in enumerate(more):
        shape = (further.kernel.codes.shape[1],) if isinstance(further, Dense) else (3,)
        inputs = (name, name) if isinstance(further, Multiply) else (name,)
        name = b.add(further, inputs, shape, name=f"y{number}")
    return annotate(b.program(name))


def proved(program):
    return [entry.proved for entry in certify(program).entries]


def test_wide_exponents_cost_the_proof_where_numbers_are_added_and_nowhere_else():
    wide, narrow = minifloat(2, 5), minifloat(2, 2)
    add_up = Dense(kernel=constant(np.ones((3, 1))), bias=None)
    relu = Clip(low=constant(0), high=None)
    assert proved(chain(minifloat(2, 4, -2), Reshape(), relu, Multiply())) == [True] * 4
    assert proved(chain(wide, Reshape(), relu, add_up)) == [True] * 3 + [False]
    assert proved(chain(narrow, Reshape(), relu, add_up)) == [True] * 4
    (entry,) = certify(chain(wide, add_up)).open
    assert entry.missing_bits == 33 + 2 - 24
    assert "fewer exponent bits" in entry.remedy
    # A bound of more digits than the numbers have is one of the numbers now.
    bounded = Clip(low=None, high=constant((1 << 25) - 1, 10))
    assert proved(chain(wide, bounded)) == [True, False]


def test_operands_count_what_they_are_stored_in_and_constants_their_span():
    add_up = Dense(kernel=constant([[3, 0], [8, 5], [1, 1]], 2), bias=None)
    program = chain(minifloat(3, 4, -2), add_up)
    np.testing.assert_array_equal(operand_bits(program, "q"), 8)
    assert count_ebops(program) == {"layer/y0": 8 * (2 + 0 + 1 + 3 + 1 + 1)}
    fixed_point = chain(quantizer(1, 3, 4), add_up)
    assert count_ebops(fixed_point) == {"layer/y0": 7 * 8}


def test_random_inputs_meet_the_ties_of_low_and_high_exponents():
    program = chain(minifloat(3, 4))
    form = Minifloat(3, 4)
    x = random_inputs(program, 600)[0].astype(np.float64)
    beside = np.abs(form.quantize(x * (1 + 2**-40)) - form.quantize(x * (1 - 2**-40)))
    ties = np.abs(x)[(beside > 0) & (np.abs(x) < form.largest)]
    assert len(ties) > 20
    assert (ties < 2.0**form.low_exponent).any()
    assert (ties > form.largest / 2).any()
