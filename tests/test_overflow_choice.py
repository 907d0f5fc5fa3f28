"""``overflow='AUTO'``: saturation logic, or the bits that make it needless, by their prices."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_zoo import tiny_models

import hgqify
from hgqify import Rule, graph
from hgqify.calibrate import calibrate
from hgqify.calling import predict
from hgqify.cli import main
from hgqify.convert import ConvertSettings, convert
from hgqify.data import open_source
from hgqify.errors import RuleError
from hgqify.export import random_inputs
from hgqify.fixed import span
from hgqify.layers import quantized_layers
from hgqify.overflow_choice import MOST_BITS, choose_overflow
from hgqify.precision import lower, prove_overflow
from hgqify.precision.ops import Quantize
from hgqify.progress import no_progress
from hgqify.reference import run
from hgqify.settling import settle

KWS = Path(__file__).parents[1] / "fixtures/kws"


def converted(name, **settings):
    model = tiny_models.build(name, seed=1)
    options = {"finetune_steps": 0, "progress": no_progress} | settings
    return hgqify.convert(model, tiny_models.inputs(model, 160, seed=1), **options)


def calibrated(model, x, rules=(), **settings):
    """Settled on data, nothing chosen yet."""
    conversion = convert(graph.read(model), ConvertSettings(**{"overflow": "AUTO"} | settings), rules)
    calibrate(conversion.model, conversion.probe, conversion.sites, open_source(x), settle=settle)
    return conversion


def formats(model):
    return {node.name: node.op for node in lower(model).nodes if isinstance(node.op, Quantize)}


@pytest.fixture(scope="module")
def residual():
    return {policy: converted("residual", overflow=policy) for policy in ("SAT", "AUTO")}


def test_what_got_bits_cannot_overflow_and_keeps_its_lsb(residual):
    auto, sat = residual["AUTO"], residual["SAT"]
    choices = auto.report.overflow["choices"]
    widened = {c["name"] for c in choices if c["widened"]}
    assert 0 < len(widened) < len(choices)
    assert {p.name for p in prove_overflow(auto.program) if p.proved} >= widened
    missing = {c["name"]: c["missing_bits"] for c in choices if c["widened"]}
    pairs = zip(formats(auto.model).items(), formats(sat.model).values(), strict=True)
    for (name, op), before in pairs:
        np.testing.assert_array_equal(op.f, before.f)
        np.testing.assert_array_equal(op.i, before.i + missing.get(name, 0))
        assert op.overflow.saturates
    assert auto.report.float32_proved
    assert sum("got bits" in line for line in auto.summary().splitlines()) == 1
    assert sat.report.overflow["choices"] == []
    assert "got bits" not in sat.summary()


def test_the_cheaper_one_is_chosen(residual):
    for c in residual["AUTO"].report.overflow["choices"]:
        if c["widened"]:
            assert 0 < c["missing_bits"] <= MOST_BITS
            assert c["widening"] < c["saturating"]
        if c["missing_bits"] == 0:
            assert (c["saturating"], c["widening"], c["widened"]) == (0, 0, False)
    # Nothing is left to choose: what saturates now has the price it was left at.
    again = choose_overflow(residual["AUTO"].model)
    assert sum(c.saturating for c in again) <= sum(
        c["saturating"] for c in residual["AUTO"].report.overflow["choices"] if not c["widened"]
    )


def test_it_is_exact_far_beyond_the_data(residual):
    result = residual["AUTO"]
    inputs = random_inputs(result.program, 200, seed=0, reach=16)
    for keras_output, expected in zip(
        predict(result.model, inputs), run(result.program, inputs).values, strict=True
    ):
        np.testing.assert_array_equal(keras_output, expected)


def adder_and_multipliers():
    """What is multiplied is added to what is not; the sum meets three weights."""
    given = keras.Input((4,), name="x")
    dense = keras.layers.Dense(4, use_bias=False, name="a")
    y = keras.layers.Dense(3, use_bias=False, name="b")(keras.layers.Add(name="s")([given, dense(given)]))
    model = keras.Model(given, y)
    dense.set_weights([np.full((4, 4), 2, "f4")])
    model.get_layer("b").set_weights([np.full((4, 3), 0.625, "f4")])
    # Only one input at a time differs from 0: bounds lie above what is seen.
    x = np.zeros((64, 4), "f4")
    x[np.arange(64), np.arange(64) % 4] = np.linspace(-0.9, 0.9, 64)
    return model, x


def test_prices_by_hand():
    model, x = adder_and_multipliers()
    conversion = calibrated(model, x)
    before = formats(conversion.model)
    found = {c.name: c for c in choose_overflow(conversion.model, conversion.auto, margin=2)}
    adder, multiplier = found["s_iq1"], found["b_iq"]
    for name, choice in (("s_iq1", adder), ("b_iq", multiplier)):
        op = before[name]
        width = int((op.k + op.i + op.f).max())
        # Four elements; as many multiplexers as bits, and a look at the bits dropped.
        assert choice.missing_bits > 0
        assert choice.saturating == 4 * (width + choice.missing_bits)
    assert adder.widening == 4 * adder.missing_bits  # one LUT a bit
    assert adder.margin == 4 * 2
    assert adder.widened
    spans = span(lower(conversion.model).by_name["b"].op.kernel.codes)
    assert spans.sum() == 12 * 3  # 0.625 is 101 in binary
    assert multiplier.widening == multiplier.missing_bits * spans.sum()
    assert multiplier.margin == 2 * spans.sum()
    assert not multiplier.widened or multiplier.widening < multiplier.saturating


def test_only_layers_asked_for_get_bits():
    model, x = adder_and_multipliers()
    conversion = calibrated(model, x, [Rule(path="b", overflow="auto")], overflow="SAT")
    assert conversion.auto == {"b"}
    before = formats(conversion.model)
    found = choose_overflow(conversion.model, conversion.auto)
    assert {c.layer for c in found} >= {"s", "b"}  # all are priced
    after = formats(conversion.model)
    for name in before.keys() - {"b_iq"}:
        np.testing.assert_array_equal(after[name].i, before[name].i)


def test_a_layer_called_twice_saturates():
    model = tiny_models.build("shared", seed=1)
    conversion = calibrated(model, tiny_models.inputs(model, 160, seed=1))
    found = choose_overflow(conversion.model, conversion.auto)
    slots = {layer.name: len(layer.iqs) for layer in quantized_layers(conversion.model)}
    shared = [c for c in found if sum(o.layer == c.layer for o in found) > slots[c.layer] and c.missing_bits]
    assert shared
    assert not any(c.widened for c in shared)


def test_a_deep_model_keeps_what_a_proof_would_take():
    """The DS-CNN, of which PROVED leaves nothing: at multipliers saturation is by far the cheaper."""
    x = np.load(KWS / "calib.npy")
    conversion = calibrated(graph.load_model(KWS / "model.keras"), x)
    before = formats(conversion.model)
    found = choose_overflow(conversion.model, conversion.auto)
    convolutions = [c for c in found if "conv" in c.layer and c.missing_bits]
    assert len(convolutions) >= 8
    for choice in convolutions:
        assert choice.widening > 4 * choice.saturating > 0
        assert not choice.widened
    for name, op in formats(conversion.model).items():
        np.testing.assert_array_equal(op.f, before[name].f)


class TestRefusals:
    @pytest.mark.parametrize("budget", [{"target_ebops": 500}, {"max_drop": 1.0}])
    @pytest.mark.parametrize(
        "asked", [{"overflow": "auto"}, {"rules": [Rule(layer_type="Dense", overflow="auto")]}]
    )
    def test_budgets(self, budget, asked):
        with pytest.raises(RuleError, match=r"which a budget does not know of yet.*overflow='SAT'"):
            converted("mlp", **budget, **asked, finetune_steps=None)


def test_with_a_percentile_and_training():
    model, x = adder_and_multipliers()
    result = hgqify.convert(
        model, x, overflow="auto", percentile=95, finetune_steps=2, batch_size=16, progress=no_progress
    )
    assert result.report.float32_proved
    assert any(c["widened"] for c in result.report.overflow["choices"])
    statement = hgqify.overflow_statement(result.model)
    assert {q.status for q in statement.quantizers} <= {"proved", "saturates"}


def test_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, x = adder_and_multipliers()
    model.save("model.keras")
    np.save("calib.npy", x)
    Path("s.toml").write_text("[convert]\noverflow = 'auto'\n")
    start = ["model.keras", "--calib", "calib.npy", "--no-check", "-q", "--finetune-steps", "0"]
    reports = []
    for name, options in (("a", ["--overflow", "auto"]), ("b", ["--config", "s.toml"])):
        result = CliRunner().invoke(main, [*start, *options, "-o", name], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "got bits so that they cannot" in result.output
        reports.append(json.loads(Path(name, "report.json").read_text()))
    assert reports[0]["settings"]["overflow"] == "AUTO"
    assert reports[0]["overflow"] == reports[1]["overflow"]
    widened = [c for c in reports[0]["overflow"]["choices"] if c["widened"]]
    assert widened
    # The report names the formats that are deployed.
    sites = {(s["layer"], s["slot"]): s["ints"] for s in reports[0]["calibration"]["sites"]}
    written = keras.saving.load_model("a/model.keras")
    for layer in quantized_layers(written):
        for slot, quantizer in enumerate(layer.iqs):
            assert sites[layer.name, slot] == [int(quantizer.state().i.min()), int(quantizer.state().i.max())]
    result = CliRunner().invoke(main, [*start, "--overflow", "auto", "--target-ebops", "5", "-o", "c"])
    assert result.exit_code == 2
