"""Bits the peers spend without need, and that our types do not have them."""

from __future__ import annotations

import keras
import numpy as np
from branches import conf
from defect_models import start

from hgqify import layers as q
from hgqify.export.plan import make_plan, prepare
from hgqify.export.printing import print_program
from hgqify.precision import Program, formats, lower, ops


def node(program: Program, kind: type[ops.Op], index: int = -1) -> str:
    """Name of the node of a kind, the last unless told."""
    return [n.name for n in program.nodes if isinstance(n.op, kind)][index]


def before_a_wrapping_quantizer(*, between: bool) -> Program:
    """A dot product of 64 terms, maybe a sum, then two integer bits that wrap."""
    x, a = start((64,))
    b = q.QDense(4, iq_conf=False, kq_conf=conf(1, 2, 4) | {"place": "weight"})(a)
    if between:
        b = q.QAdd(iq_conf=False)(
            [b, q.QDense(4, iq_conf=False, kq_conf=conf(1, 2, 4) | {"place": "weight"})(a)]
        )
    model = keras.Model(x, q.Quantize(iq_conf=conf(1, 1, 3, "WRAP", "TRN"))(b))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, q.QDense):
            layer.kernel.assign(rng.normal(size=(64, 4)))
    return lower(model)


def test_an_accumulator_is_no_wider_than_a_wrapping_consumer_sees() -> None:
    """The sum needs 8 integer bits and more; the consumer sees 2 (sign included), so 2 are printed."""
    program = before_a_wrapping_quantizer(between=False)
    dense = node(program, ops.Dense)
    found = formats(program)[dense]
    assert found.accumulator is not None
    assert found.accumulator.I == found.result.I == 2
    info = program.by_name[dense].info
    assert info is not None
    assert max(abs(int(info.low.min())), int(info.high.max())) >> info.frac > 2**7
    accumulators = {
        name: f.accumulator for name, f in formats(prepare(program)).items() if f.accumulator is not None
    }
    assert accumulators[dense].I == 2


def test_sums_hand_on_what_a_wrapping_consumer_sees() -> None:
    """Two dot products whose sum wraps: none of the three has more integer bits than the consumer."""
    program = before_a_wrapping_quantizer(between=True)
    found = formats(program)
    names = [node(program, ops.Dense, 0), node(program, ops.Dense, 1), node(program, ops.Add)]
    assert [found[name].result.I for name in names] == [2, 2, 2]


def averages(count: int, bits: int) -> Program:
    """An average over some tensors of 8 bits."""
    x, a = start((4,), 1, 2, 5)
    mean = q.QAverage(iq_conf=False, reciprocal_bits=bits)([a] * count)
    return lower(keras.Model(x, mean))


def test_an_average_over_three_has_the_bits_of_sum_and_reciprocal() -> None:
    """At the peer 41 to 46 bits. Here 8 for a value, 2 for the growth of the sum, and the reciprocal's own:
    its last bits are fraction, its first only scale.
    """
    for bits in (4, 8, 12):
        program = averages(3, bits)
        plan = make_plan(program, "io_parallel")
        mean = plan.result[node(program, ops.ScaleShift)]
        assert mean.width <= 8 + 2 + bits
        info = program.by_name[node(program, ops.ScaleShift)].info
        assert info is not None
        # Not one bit could go: the bounds need the integer bits, the finest code the fraction.
        assert -(2.0**mean.i) <= info.low.min() * 2.0**-info.frac < -(2.0 ** (mean.i - 1))
        assert mean.f == info.step.max()


def test_an_average_with_an_output_format_is_stored_in_it() -> None:
    """The wide product exists in the multiplier alone."""
    x, a = start((4,), 1, 2, 5)
    mean = q.QAverage(iq_conf=False, oq_conf=conf(1, 2, 5))([a, a, a])
    program = prepare(lower(keras.Model(x, mean)))
    plan = make_plan(program, "io_parallel")
    stored = plan.result[node(program, ops.ScaleShift)]
    assert stored.width <= 8
    assert plan.absorbed


def test_a_chain_of_additions_grows_with_the_values_not_with_the_length() -> None:
    """At the peer a bit per addition: 15 bits for a sum of eight numbers of 8 bits. Their values need 11."""
    x, a = start((4,), 1, 2, 5)
    inputs, terms = [x], [a]
    for _ in range(7):
        other, term = start((4,), 1, 2, 5)
        inputs.append(other)
        terms.append(term)
    total = terms[0]
    for term in terms[1:]:
        total = q.QAdd(iq_conf=False)([total, term])
    program = lower(keras.Model(inputs, total))
    plan = make_plan(program, "io_parallel")
    sums = [n.name for n in program.nodes if isinstance(n.op, ops.Add)]
    assert [plan.result[name].width for name in sums] == [9, 10, 10, 11, 11, 11, 11]


def test_an_accumulator_has_the_bits_of_its_weights_not_of_their_number() -> None:
    """A dot product over 64 inputs with one weight of 1 is a wire: the accumulator has its input's bits."""
    x, a = start((64,), 1, 2, 5)
    layer = q.QDense(1, iq_conf=False, use_bias=False, kq_conf=conf(1, 2, 4) | {"place": "weight"})
    model = keras.Model(x, layer(a))
    layer.kernel.assign(np.eye(64, 1))
    program = prepare(lower(model))
    accumulator = formats(program)[node(program, ops.Dense)].accumulator
    assert accumulator is not None
    assert (accumulator.k, accumulator.i, accumulator.f) == (1, 2, 5)
    printed = print_program(program, "io_parallel")
    (dense,) = [spec for spec in printed.layers if spec.kind == "Dense"]
    assert dense.types["accum"].width == 8
