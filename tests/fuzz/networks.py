"""The strategies that draw whole networks of quantized layers, and fixed programs.

Every choice is a draw, and the first of its values is the plainest, so that a failing network shrinks to a
short chain of plain layers. Widths are kept in mind so that most networks are proved exact in float32.
"""

import numpy as np
from description import Network, Step
from drawing import Draw, Drawing, NothingFits, Tensor, format_range, formats, rarely
from families import (
    activation,
    again,
    concatenate,
    edge_tables,
    embedding,
    merge,
    on_input,
    pooling,
    product,
    quantize,
    reduction,
    structure,
)  # fmt: skip
from hypothesis import strategies as st
from linear_families import batchnorm, conv, dense, depthwise, separable
from programs import quantized_once, random_program
from special_families import batchnorm_dense, einsum_dense, scaled_rows

from hgqify.precision import Program

SHAPES = {1: [(4,), (6,), (3,)], 2: [(6, 2), (4, 3), (1, 5)], 3: [(4, 4, 2), (5, 3, 2), (1, 5, 3)]}
VOLUMES = [(2, 3, 2, 2), (3, 1, 2, 1)]

FAMILIES = [
    (dense, 3), (quantize, 1), (conv, 3), (merge, 4), (activation, 3), (pooling, 3), (structure, 3),
    (depthwise, 2), (separable, 1), (batchnorm, 1), (concatenate, 2), (again, 2), (on_input, 1),
    (reduction, 3),
    (product, 2), (embedding, 1), (edge_tables, 1), (scaled_rows, 1), (einsum_dense, 1), (batchnorm_dense, 1),
]  # fmt: skip
SPATIAL = (conv, depthwise, separable, pooling)


@st.composite
def networks(draw: Draw, *, uniform: bool = False, most: int = 7) -> Network:
    """Networks of 1 to ``most`` layers behind the quantizers of 1 to 3 inputs.

    Args:
        uniform: all data formats can be types in streams: one per tensor, not WRAP_SM, at least a bit.
        most: layers, not counting the first quantizers.
    """
    d = Drawing(draw, uniform)
    rank = draw(st.sampled_from([1, 2, 3, 2, 3]))
    first = draw(st.sampled_from(SHAPES[rank]))
    if rarely(draw, 10):
        first = draw(st.sampled_from(VOLUMES))
    inputs = [first]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        inputs.append(
            first if not rarely(draw, 3) else draw(st.sampled_from(SHAPES[draw(st.integers(1, 3))]))
        )
    for shape in inputs:
        d.tensors.append(Tensor(shape, 0, 0))
        d.real.append(True)
    for n, shape in enumerate(inputs):
        iq = draw(formats(uniform=uniform or not rarely(draw, 4), wide=d.wide))
        d.add(Step("Quantize", (n,), iq=(iq,)), shape, *format_range(iq))
    for _ in range(draw(st.integers(1, most))):
        spatial = any(len(t.shape) > 1 for t in d.tensors)
        fitting = [f for f, weight in FAMILIES for _ in range(weight) if spatial or f not in SPATIAL]
        family = draw(st.sampled_from(fitting))
        try:
            family(d)
        except NothingFits:
            quantize(d)
    return Network(tuple(inputs), tuple(d.steps), _outputs(d, len(inputs)), draw(st.integers(0, 2**16)))


def _outputs(d: Drawing, count: int) -> tuple[int, ...]:
    """What nobody reads, less some of it, with some that is read, and now and then one twice."""
    read = {n for step in d.steps for n in step.inputs}
    made = range(count, len(d.tensors))
    chosen = [n for n in made if n not in read]
    if len(chosen) > 1 and rarely(d.draw, 4):
        chosen.pop(0)
    consumed = [n for n in made if n in read]
    if consumed and rarely(d.draw, 3):
        chosen.append(d.draw(st.sampled_from(consumed[::-1])))
    if rarely(d.draw, 12):
        chosen.append(chosen[0])
    return tuple(chosen)


@st.composite
def programs(draw: Draw, *, uniform: bool = False) -> Program:
    """Fixed programs beyond what Keras layers give, from a seeded generator: they shrink in length only."""
    steps, seed = draw(st.integers(1, 10)), draw(st.integers(0, 2**32 - 1))
    return quantized_once(random_program(np.random.default_rng(seed), steps, uniform))
