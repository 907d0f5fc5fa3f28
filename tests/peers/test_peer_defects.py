"""What goes wrong at the peers (D1 to D13), one model a line, and that it does not go wrong here.

The peers: HGQ2 0.2.0 and hls4ml 1.3.0 with its own type inference. Every model is compared with the integer
reference twice: as Keras computes it, and as the generated C++ does, for both interfaces.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from branches import IO_TYPES, Joined, Outcome, conf, join
from defect_models import BEYOND_FLOAT32, EXACT, NAMES, PARALLEL_ONLY, REFUSED, start
from refused_models import REFUSED as REFUSED_FLOAT

import hgqify
from hgqify import layers as q
from hgqify.errors import ExportError, HgqifyError, PrecisionError, RuleError, UnsupportedLayerError
from hgqify.export import ProjectOptions, compiler, random_inputs, refuse_unprintable, write_project
from hgqify.fixed import quantize
from hgqify.precision import Program, certify, lower
from hgqify.reference import run

kl = keras.layers
Results = dict[str, dict[str, Outcome]]


@pytest.fixture(scope="module")
def joined() -> Joined:
    return join({**EXACT, **REFUSED})


@pytest.fixture(scope="module")
def results(joined: Joined, tmp_path_factory: pytest.TempPathFactory) -> Results:
    found = {"Keras": joined.keras()}
    if compiler() is not None:
        found |= joined.simulate(tmp_path_factory.mktemp("defects"))
    return found


@pytest.mark.parametrize("line", EXACT)
@pytest.mark.parametrize("computation", ["Keras", *IO_TYPES])
def test_every_line_is_exact_or_refused_with_a_remedy(results: Results, computation: str, line: str) -> None:
    if computation not in results:
        pytest.skip("C simulation needs g++")
    outcome = results[computation][line]
    if computation == "Keras" and line == BEYOND_FLOAT32:
        assert outcome.differing > 0  # see test_d11
    elif computation == "io_stream" and line in PARALLEL_ONLY:
        assert PARALLEL_ONLY[line] in outcome.refused
        assert "export with io_parallel" in outcome.refused
    else:
        assert not outcome.refused
        assert outcome.exact, str(outcome)


def values(joined: Joined, line: str) -> tuple[Program, list[np.ndarray], list[np.ndarray]]:
    """Program, inputs and outputs of one line."""
    program = joined.part(line)
    inputs = list(random_inputs(program, 400, seed=1))
    return program, inputs, list(run(program, inputs).values)


def test_d1_the_output_keeps_its_own_format(joined: Joined) -> None:
    """The peer gives a tensor that is an output and is also consumed the consumer's type.

    Here the output has a layer of its own: its values need more bits than the consumer asks for.
    """
    _, _, (output, _) = values(joined, "D1 output that is also consumed")
    assert np.any(output != quantize(output, 1, 1, 1, "RND", "SAT"))


@pytest.mark.parametrize(("mode", "line"), [("SAT", "D2"), ("SAT_SYM", "D3")])
def test_d2_d3_the_bounds_of_a_finer_quantizer_stay(joined: Joined, mode: str, line: str) -> None:
    """The peer shrinks a saturating quantizer to its producer's fraction bits, so its bounds move."""
    _, _, (output,) = values(joined, f"{line} {mode} finer than its producer")
    assert output.max() == 2 - 2**-4  # with one fraction bit, as the producer has, it would be 1.5
    assert output.min() == (-2 if mode == "SAT" else -2 + 2**-4)


def test_d3_a_mistyped_mode_is_an_error() -> None:
    """The peer takes 'SAT_SM' for another mode without a word and keeps unused sign bits."""
    with pytest.raises(RuleError, match=r"SAT_SM.*SAT_SYM"):
        q.Quantize(iq_conf={"overflow_mode": "SAT_SM"})


@pytest.mark.parametrize(
    ("line", "function"),
    [("D4 table behind a narrower tensor", np.tanh),
     ("D4 signed table behind relu", lambda x: 1 / (1 + np.exp(-np.maximum(x, 0))))],
)  # fmt: skip
def test_d4_a_table_is_laid_out_for_what_reaches_it(
    joined: Joined, line: str, function: Callable[[np.ndarray], np.ndarray]
) -> None:
    """The peer narrows a table's index and keeps the table's layout: almost every value is wrong.

    Here the table is made for the type that reaches it, so its values are those of the function.
    """
    program, inputs, (output,) = values(joined, line)
    reader = program.consumers[program.inputs[0]][0]
    quantized = run(program, inputs, keep=[reader.name]).kept[reader.name].values
    np.testing.assert_array_less(np.abs(output - function(quantized)), 2.0**-6)


def test_d5_one_format_behind_formats_per_element_keeps_the_fraction(joined: Joined) -> None:
    """The peer gives the tensor the fraction bits of some elements only; here it has those of all."""
    program, _, (_, output) = values(joined, "D5 one format behind per-element data")
    uniform = next(n for n in program.nodes if n.name == program.outputs[1])
    per_element = program.by_name[uniform.inputs[0]]
    fractions = np.broadcast_to(per_element.op.f, per_element.shape)  # type: ignore[attr-defined]
    finest = [n for n in range(fractions.size) if fractions.flat[n] >= 4]
    assert len(set(fractions.tolist())) > 2
    assert any(np.any(output[:, n] * 8 % 1) for n in finest)


def test_d6_quantizers_in_a_row_both_round(joined: Joined) -> None:
    """The peer fuses an output quantizer and the next input quantizer into one.

    Rounding twice is not rounding once: what one quantizer would give differs on these inputs.
    """
    program = joined.part("D6 rounded twice, reshape between")
    dense = next(node for node in program.nodes if type(node.op).__name__ == "Dense")
    result = run(program, list(random_inputs(program, 400, seed=1)), keep=[dense.name])
    once = quantize(result.kept[dense.name].values, 1, 2, 1, "RND_CONV", "SAT")
    assert np.any(once.reshape(result.values[0].shape) != result.values[0])


def test_d7_relu_passes_nothing_negative(joined: Joined) -> None:
    """The peer's converter lets negative values through ``keras.layers.ReLU``."""
    _, inputs, (_, output) = values(joined, "D7 keras.layers.ReLU")
    assert np.any(inputs[0] < 0)
    assert output.min() == 0


def test_d8_both_edges_of_a_tensor_used_twice_have_their_format(joined: Joined) -> None:
    """The peer sees one of the two requests only: a - a would be 0, and here it is what rounding leaves."""
    _, _, (output,) = values(joined, "D8 one tensor twice: subtract")
    assert len(np.unique(output)) > 4


def test_d9_wrap_and_sat_on_one_input_are_refused(joined: Joined) -> None:
    """No input type serves a wrapping and a saturating quantizer: the peer takes one, and is wrong.

    It is refused before anything is written; the remedy, one format for the whole input first, is exact.
    """
    for io_type in IO_TYPES:
        with pytest.raises(
            ExportError, match=r"modes cannot be combined.*Use one format for the whole input"
        ):
            refuse_unprintable(joined.part("D9 WRAP and SAT on one input"), ProjectOptions(io_type=io_type))


@pytest.mark.parametrize("line", [line for line in REFUSED_FLOAT if line.startswith("D10")])
def test_d10_attention_and_computed_masks_are_refused(line: str) -> None:
    """The peer drops the masks of attention and softmax, causal ones included.

    Here masks that depend on data are refused before the data is opened. Causal and constant ones are exact:
    see `test_peer_features.py`.
    """
    make, layer, remedy = REFUSED_FLOAT[line]
    with pytest.raises(UnsupportedLayerError) as caught:
        hgqify.convert(make(), "no such file.npy")
    assert layer in str(caught.value)
    assert remedy[0].upper() + remedy[1:] in str(caught.value)


def test_d10_attention_in_a_model_by_hand_is_refused() -> None:
    """As above, for the layers of Keras between quantized ones."""
    x, a = start((6, 4))
    with pytest.raises(UnsupportedLayerError, match=r"no exact integer form.*MultiHeadAttention"):
        lower(keras.Model(x, kl.MultiHeadAttention(2, 2)(a, a, use_causal_mask=True)))


def test_d11_sums_beyond_24_bits_are_named(joined: Joined, results: Results) -> None:
    """Keras' float32 cannot hold a sum of 35 bits; at the peer nobody says so.

    Here firmware and reference are exact, Keras is not, and the certificate says where and by how much.
    """
    (entry,) = certify(joined.part(BEYOND_FLOAT32)).open
    assert entry.missing_bits > 0
    assert entry.layer in {node.layer for node in joined.part(BEYOND_FLOAT32).nodes}
    assert certify(joined.part("D1 output that is also consumed")).proved
    assert results["Keras"][BEYOND_FLOAT32].differing > 0


def residual(depth: int) -> keras.Model:
    """A chain of residual blocks."""
    x, y = start((4,))
    for _ in range(depth):
        y = q.QAdd(iq_conf=conf(1, 3, 4))([y, q.QDense(4, iq_conf=conf(1, 3, 4))(y)])
    return keras.Model(x, y)


def calls(function: Callable[[], object]) -> int:
    """Python functions entered: a measure of work that no other process disturbs."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_d12_work_does_not_grow_exponentially_with_depth(tmp_path: Path) -> None:
    """The peer takes 0.1, 0.9 and 11.3 s at depth 4, 8 and 12: a factor of 113. Linear would be 3."""

    def export(depth: int) -> Callable[[], object]:
        model = residual(depth)
        return lambda: write_project(lower(model), tmp_path / str(depth), ProjectOptions())

    export(1)()  # imports
    shallow, deep = (calls(export(depth)) for depth in (4, 12))
    assert deep < 9 * shallow


def test_d13_a_layer_between_the_input_and_the_first_quantizer_is_named() -> None:
    """The peer stops with an error about something else."""
    x = keras.Input((4, 3), name="x")
    with pytest.raises(PrecisionError, match=r"flat: a real model input.*Quantize layer directly after"):
        lower(keras.Model(x, q.QDense(3)(kl.Flatten(name="flat")(x))))


def test_d13_an_input_as_output_is_named() -> None:
    """The peer stops with an error about something else."""
    x = keras.Input((4,), name="x")
    with pytest.raises(PrecisionError, match=r"x: a model output holds real numbers.*Quantize layer between"):
        lower(keras.Model(x, [x, q.QDense(3)(x)]))


def test_d13_names_become_identifiers(joined: Joined) -> None:
    """The peer writes such names into C++ as they are."""
    part = joined.part("D13 names")
    assert {node.layer for node in part.nodes} >= {*NAMES, "model", "output"}
    assert all(node.name.isidentifier() and node.name.isascii() for node in part.nodes)


def test_every_refusal_is_ours_and_says_what_to_do(results: Results) -> None:
    """An error without a remedy would leave the user where the peers leave them."""
    assert issubclass(ExportError, HgqifyError)
    refused = [o.refused for r in results.values() for o in r.values() if o.refused]
    assert all(". Use " in text or ". Calibrate " in text for text in refused)
