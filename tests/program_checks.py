"""Programs held against the slow interpreter, as they run and with every tensor cut to its type; models
against C simulation."""

from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import program_oracle as oracle

from hgqify.export import ProjectOptions, compare, compile_project, random_batches, write_project
from hgqify.fixed import Overflow, Rounding
from hgqify.precision import formats, lower
from hgqify.precision.ops import Input
from hgqify.reference import run


def assert_equals_oracle(program, inputs):
    """Every tensor has the oracle's values, inside its bounds and on its step."""
    names = [node.name for node in program.nodes if not isinstance(node.op, Input)]
    result = run(program, inputs, keep=names)
    expected = oracle.run(program, inputs)
    for name in names:
        info, kept = program.by_name[name].info, result.kept[name]
        assert kept.frac == info.frac
        scale = Fraction(2) ** info.frac
        codes = np.array([[v * scale for v in sample.ravel()] for sample in expected[name]], dtype=object)
        np.testing.assert_array_equal(kept.codes.reshape(len(codes), -1), codes, err_msg=name)
        assert (kept.codes >= info.low).all(), name
        assert (kept.codes <= info.high).all(), name
        zeros = np.minimum(info.frac - info.step, 62)
        assert not np.any(kept.codes & ((np.int64(1) << zeros) - 1)), name


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
            exact[n] = oracle.quantize_one(exact[n], t.k, t.i, t.f, Rounding.TRN, Overflow.WRAP)
        tensors[node.name] = exact
    return [tensors[name] for name in program.outputs]


def assert_simulation_equals(model: keras.Model, options: ProjectOptions, folder: Path) -> None:
    """Keras, reference and C simulation of a model agree on random inputs, in range and far beyond."""
    program = lower(model)
    write_project(program, folder / "hls", options)
    with compile_project(folder / "hls", optimization="-O0") as simulation:
        comparisons = compare(
            program, random_batches(program, 60), name="random", model=model, simulation=simulation
        )
    assert len(comparisons) == 2
    for comparison in comparisons:
        assert comparison.codes > 0
        assert comparison.differing == 0
