"""Equalisation by powers of two and bias correction: exact in float, and worth bits on a real model."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_zoo import tiny_models

import hgqify
from hgqify import graph
from hgqify.calibrate import calibrate, correct_bias, sqnr
from hgqify.calibrate.equalize import LIMIT, Consumer, Cost, choose_shifts, full_shifts
from hgqify.calling import predict
from hgqify.cli import main
from hgqify.convert import ConvertSettings, convert
from hgqify.data import open_source
from hgqify.equalizing import equalize, homogeneous
from hgqify.errors import RuleError
from hgqify.export import random_inputs
from hgqify.layers import quantized_layers
from hgqify.precision import lower
from hgqify.progress import no_progress
from hgqify.reference import run
from hgqify.settling import settle

ROOT = Path(__file__).parents[1]
L = keras.layers


def channels_of(model):
    canonical, _ = graph.canonicalize(graph.read(model), strip_softmax=True)
    return canonical, graph.find_channels(canonical, homogeneous)


class TestChannels:
    def chain(self, *layers, shape=(6, 6, 2)):
        return channels_of(keras.Sequential([keras.Input(shape), *layers]))[1]

    def test_a_channel_is_followed_to_the_weights_that_read_it(self):
        found = self.chain(
            L.Conv2D(3, 3, activation="relu", name="a"),
            L.ZeroPadding2D(1),
            L.MaxPooling2D(2),
            L.LeakyReLU(0.25),
            L.Flatten(),
            L.Dense(4, name="b"),
        )
        assert found.count == 3
        np.testing.assert_array_equal(found.inputs["b"], np.tile(found.outputs["a"], 9))
        assert set(found.inputs["a"]) == set(found.outputs["b"]) == {graph.FIXED}
        assert found.reasons == {"b": "a model output"}

    @pytest.mark.parametrize(
        "layer",
        [L.ReLU(6.0), L.ReLU(threshold=0.5), L.Activation("tanh"), L.LeakyReLU(0.3), L.Softmax()],
        ids=["relu6", "threshold", "tanh", "slope by table", "softmax"],
    )
    def test_what_is_nothomogeneous_ends_it(self, layer):
        found = self.chain(L.Dense(3, name="a"), layer, L.Dense(2, name="b"), shape=(4,))
        assert found.count == 0
        assert layer.name in found.reasons["a"]

    def test_branches_that_meet_have_one_factor(self):
        x = keras.Input((5, 5, 2))
        a, b = L.Conv2D(4, 1, name="a")(x), L.Conv2D(4, 1, name="b")(x)
        y = L.Conv2D(2, 1, name="c")(L.Add()([a, b]))
        found = channels_of(keras.Model(x, y))[1]
        assert found.count == 4
        np.testing.assert_array_equal(found.outputs["a"], found.outputs["b"])
        np.testing.assert_array_equal(found.outputs["a"], found.inputs["c"])
        y = L.Conv2D(2, 1, name="c")(L.Concatenate()([a, b]))
        found = channels_of(keras.Model(x, y))[1]
        assert found.count == 8
        np.testing.assert_array_equal([*found.outputs["a"], *found.outputs["b"]], found.inputs["c"])

    def test_a_tensor_that_leaves_the_model_has_none(self):
        x = keras.Input((4,))
        a = L.Dense(3, name="a")(x)
        found = channels_of(keras.Model(x, [a, L.Dense(2, name="b")(a)]))[1]
        assert found.count == 0

    def test_positions_read_as_channels_join_what_a_convolution_reads_as_one(self):
        # 8 outputs become 4 positions of 2 channels: two sets.
        found = self.chain(L.Dense(8, name="a"), L.Reshape((4, 2)), L.Conv1D(3, 2), L.Flatten(), shape=(3,))
        first = found.outputs["a"][0]
        assert found.count == 2
        np.testing.assert_array_equal(found.outputs["a"], [first, 1 - first] * 4)


@pytest.mark.parametrize("name", tiny_models.ZOO)
def test_shifts_change_no_bit_of_the_float_model(name):
    model = tiny_models.build(name, seed=1)
    conversion = convert(graph.read(model))
    x = keras.tree.flatten(tiny_models.inputs(model, seed=2))
    models = (conversion.clone, conversion.probe)
    before = [predict(m, x) for m in models]
    found = graph.find_channels(conversion.graph, homogeneous)
    shifts = np.random.default_rng(0).integers(-LIMIT, LIMIT + 1, found.count)
    moved = conversion.with_graph(graph.shifted(conversion.graph, found, shifts))
    for a, b in zip(before[0], predict(models[0], x), strict=True):
        np.testing.assert_array_equal(a, b)
    changed = [node.name for node in moved.graph if node is not conversion.graph[node.name]]
    assert bool(changed) == bool(shifts.any())
    # What the quantizers see is scaled: calibration must look at it through the same weights.
    exponents = [
        np.unique(np.frexp(a[(a != 0) & (b != 0)] / b[(a != 0) & (b != 0)])[0])
        for a, b in zip(before[1], predict(models[1], x), strict=True)
    ]
    assert all(set(e.tolist()) <= {0.5} for e in exponents)


@st.composite
def consumers(draw):
    """Random losses; those of data grow with the LSB."""
    seed, inputs, outputs = draw(st.integers(0, 10**6)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(2, inputs, outputs)) * 2.0 ** rng.integers(-4, 4, (1, inputs, 1))
    kernel *= rng.random((1, inputs, outputs)) < 0.8
    size = 2.0 ** rng.integers(-6, 6, inputs) * rng.uniform(1, 2, inputs)
    return Consumer(
        sets=rng.integers(-1, 4, inputs),
        magnitude=size,
        losses=rng.uniform(0.5, 1, inputs) * 4.0 ** -np.arange(-LIMIT, LIMIT + 1)[:, None],
        kernel=kernel,
        curvature=rng.random(kernel.shape),
        weight_bits=int(rng.integers(3, 9)),
    )


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(consumers(), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_changes_are_differences_of_totals(parts, seed):
    shifts = np.random.default_rng(seed).integers(-4, 5, 4)
    change = np.zeros((2, 4))
    costs = [Cost(part) for part in parts]
    for cost in costs:
        cost.add_changes(shifts, change)
    for row, step in enumerate((-1, 1)):
        for n in range(4):
            moved = shifts + step * (np.arange(4) == n)
            expected = sum(cost.total(moved) - cost.total(shifts) for cost in costs)
            scale = max(cost.total(moved) + cost.total(shifts) for cost in costs)
            np.testing.assert_allclose(change[row, n], expected, rtol=1e-6, atol=1e-9 * scale)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(consumers(), min_size=1, max_size=3))
def test_chosen_shifts_lose_nothing(parts):
    shifts = choose_shifts(parts, 4)
    costs = [Cost(part) for part in parts]
    assert sum(c.total(shifts) for c in costs) <= sum(c.total(np.zeros(4, int)) for c in costs)
    assert (np.abs(shifts) <= LIMIT).all()


def test_small_channels_are_brought_to_the_size_of_the_large():
    part = Consumer(
        sets=np.arange(3),
        magnitude=np.array([1.0, 0.25, 0.0]),
        losses=np.array([1.0, 1.0, 0.0]) * 4.0 ** -np.arange(-LIMIT, LIMIT + 1)[:, None],
    )
    assert full_shifts([part], 3).tolist() == [0, 2, 0]
    # What was never seen to live keeps its room: nobody knows its range.
    chosen = choose_shifts([part], 3)
    assert (chosen[1] - chosen[0], chosen[2]) == (2, 0)


@pytest.fixture(scope="module")
def kws():
    """DS-CNN at 6 bits on data not calibrated on: (float, fixed) outputs, with neither, one, both."""
    model = graph.load_model(ROOT / "fixtures/kws/model.keras")
    source = open_source(np.load(ROOT / "fixtures/kws/calib.npy"), names=[t.name for t in model.inputs])
    holdout = np.load(ROOT / "fixtures/kws/holdout.npz")
    x = holdout["x"].astype("f4")
    found, reports = {}, {}
    for equalized in (False, True):
        conversion = convert(graph.read(model), ConvertSettings(weight_bits=6, activation_bits=6))
        if equalized:
            conversion, reports["equalize"] = equalize(conversion, source, logits=conversion.logits)
        calibrate(conversion.model, conversion.probe, conversion.sites, source, settle=settle)
        parts = [predict(conversion.clone, [x])[0], predict(conversion.model, [x])[0]]
        found["equalize" if equalized else "nothing"] = parts
        reports["bias"] = correct_bias(conversion.model, conversion.clone, source)
        settle(conversion.model)
        found["both" if equalized else "bias"] = [parts[0], predict(conversion.model, [x])[0]]
    program = lower(conversion.model)
    return found, reports, conversion.model, program, holdout["y"]


def test_the_float_model_of_dscnn_is_the_same_bit_for_bit(kws):
    np.testing.assert_array_equal(kws[0]["nothing"][0], kws[0]["equalize"][0])


def test_corrections_are_worth_decibels_and_points_on_dscnn(kws):
    found, *_, labels = kws
    noise = {name: sqnr(a, b) for name, (a, b) in found.items()}
    points = {name: 100 * np.mean(b.argmax(axis=1) == labels) for name, (_, b) in found.items()}
    assert noise["equalize"] > noise["nothing"] + 4
    assert noise["bias"] > noise["nothing"] + 2
    assert noise["both"] > noise["nothing"] + 6
    assert points["equalize"] > points["nothing"] + 6
    assert points["bias"] > points["nothing"] + 6
    assert points["both"] > points["nothing"] + 8


def test_dscnn_stays_exact(kws):
    _, _, model, program, _ = kws
    inputs = random_inputs(program, 100, seed=0)
    given = predict(model, inputs)
    for keras_output, expected in zip(given, run(program, inputs).values, strict=True):
        np.testing.assert_array_equal(keras_output, expected)


def test_reports_name_every_layer_with_weights(kws):
    _, reports, model, *_ = kws
    weighted = {layer.name for layer in quantized_layers(model) if layer.kq is not None}
    done = {entry.layer for entry in reports["equalize"].layers}
    assert done | set(reports["equalize"].left) == weighted
    assert not done & set(reports["equalize"].left)
    assert reports["equalize"].left["dense"] == "its output meets a model output"
    assert set(reports["bias"].layers) == weighted
    assert all(shift > 0 for shift in reports["bias"].layers.values())


@pytest.mark.parametrize("name", ["residual", "separable"])
def test_with_both_on_every_code_is_exact_and_the_report_says_what_was_done(name):
    model = tiny_models.build(name, seed=1)
    x = keras.tree.flatten(tiny_models.inputs(model, 200, seed=2))[0]
    asked = {"equalize": True, "correct_bias": True, "weight_bits": 6, "activation_bits": 6}
    result = hgqify.convert(model, x, finetune_steps=0, progress=no_progress, **asked)
    inputs = random_inputs(result.program, 200, seed=0)
    given = predict(result.model, inputs)
    for keras_output, expected in zip(given, run(result.program, inputs).values, strict=True):
        np.testing.assert_array_equal(keras_output, expected)
    report = json.loads(result.report.to_json())
    assert set(report["equalize"]) == {"samples", "layers", "left"}
    assert set(report["correct_bias"]) == {"samples", "layers", "left"}
    assert report["settings"]["equalize"] is report["settings"]["correct_bias"] is True
    assert "biases of" in result.summary()
    assert "equalized: channels of" in result.summary()


def test_means_are_taken_back():
    """After correction a layer's mean error is what its bias's LSB leaves."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), L.Dense(16, "relu"), L.Dense(4)])
    x = np.random.default_rng(0).uniform(0, 1, (256, 8)).astype("f4")
    conversion = convert(graph.read(model), ConvertSettings(weight_bits=4, activation_bits=6))
    source = open_source(x, names=[t.name for t in model.inputs])
    calibrate(conversion.model, conversion.probe, conversion.sites, source, settle=settle)
    before = predict(conversion.model, [x])[0]
    report = correct_bias(conversion.model, conversion.clone, source)
    after, wanted = predict(conversion.model, [x])[0], predict(conversion.clone, [x])[0]
    lsb = 2.0**-8
    assert np.abs((before - wanted).mean(axis=0)).max() > 4 * lsb
    assert np.abs((after - wanted).mean(axis=0)).max() < lsb
    assert report.samples == 256
    assert not report.left


def test_layers_that_gain_nothing_are_left_with_a_reason():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8,)), L.Dense(6, "relu", use_bias=False, name="first"), L.Dense(3, name="last")]
    )
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("f4")
    asked = {"equalize": True, "correct_bias": True, "finetune_steps": 0, "progress": no_progress}
    report = hgqify.convert(model, x, activation_granularity="channel", **asked).report
    assert report.equalize is not None
    assert report.equalize["left"]["first"] == "its channels have formats of their own in last"
    assert report.correct_bias is not None
    assert report.correct_bias["left"] == {"first": "it has no bias"}
    report = hgqify.convert(model, x, weight_granularity="tensor", **asked).report
    assert report.equalize is not None
    assert report.equalize["left"]["first"] == "its weights share one format"


def test_bias_correction_is_part_of_what_a_budget_does():
    model = tiny_models.build("mlp", seed=1)
    x = keras.tree.flatten(tiny_models.inputs(model, 160, seed=1))[0]
    with pytest.raises(RuleError, match="nothing to do under a budget"):
        hgqify.convert(model, x, target_ebops=3000, correct_bias=True, progress=no_progress)


@pytest.mark.parametrize("name", ["equalize", "correct_bias"])
def test_only_yes_or_no(name):
    with pytest.raises(RuleError, match=f"{name} must be True or False"):
        hgqify.convert(tiny_models.build("mlp", seed=1), np.zeros((4, 4)), **{name: 1})


def test_settings_file_and_command_line(tmp_path):
    model = tiny_models.build("mlp", seed=1)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", keras.tree.flatten(tiny_models.inputs(model, 64, seed=1))[0])
    (tmp_path / "s.toml").write_text("[convert]\nequalize = true\ncorrect_bias = true\nfinetune_steps = 0\n")
    args = ["--config", str(tmp_path / "s.toml"), "--no-correct-bias", "--no-check", "-q"]
    out = tmp_path / "out"
    args = [str(tmp_path / "m.keras"), "--calib", str(tmp_path / "x.npy"), "-o", str(out), *args]
    done = CliRunner().invoke(main, args, prog_name="hgqify")
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text())
    assert report["equalize"] is not None
    assert report["correct_bias"] is None
