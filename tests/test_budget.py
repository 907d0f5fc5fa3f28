"""Mixed widths under a budget: sensitivity is right, budgets are kept, bits are well spent."""

import json
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_zoo import tiny_models

import hgqify
from hgqify import graph
from hgqify.allocating import allocate
from hgqify.budget import Budget
from hgqify.calibrate import Allocation, Allocator, calibrate, measure_sensitivity
from hgqify.calibrate.allocate import LEAST_USE
from hgqify.calibrate.fisher import BATCH
from hgqify.calibrate.widths import live_frac
from hgqify.calling import predict
from hgqify.cli import main
from hgqify.convert import ConvertSettings, Granularity, convert
from hgqify.data import open_source
from hgqify.errors import BudgetError, RuleError
from hgqify.export import random_inputs
from hgqify.layers import QLinear, quantized_layers
from hgqify.precision import count_ebops, lower
from hgqify.progress import no_progress
from hgqify.reference import run
from hgqify.settling import settle

ROOT = Path(__file__).parents[1]
MNIST, KWS = ROOT / "fixtures/mnist", ROOT / "fixtures/kws"


def prepared(model, x, **settings):
    """A calibrated conversion, its source, and its allocator."""
    settings = {"weight_granularity": "element"} | settings
    conversion = convert(graph.read(model), ConvertSettings(**settings))
    source = open_source(x, names=[t.name for t in model.inputs])
    calibrate(conversion.model, conversion.probe, conversion.sites, source, settle=settle)
    sensitivity = partial(measure_sensitivity, conversion.clone, source, logits=conversion.logits)
    return conversion, source, Allocator(conversion.model, lambda found: sensitivity(candidates=found))


@pytest.fixture(scope="module")
def kws():
    model = graph.load_model(KWS / "model.keras")
    return prepared(model, np.load(KWS / "calib.npy"))


@pytest.fixture(scope="module")
def mnist():
    model = graph.load_model(MNIST / "model.keras")
    return prepared(model, np.load(MNIST / "calib.npy"))


def test_losses_of_a_linear_model_are_those_of_its_formula():
    """One output y = w x: the loss is (dy)^2 / (2 mean y^2), whatever signs were drawn."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(64, 6)).astype("f4")
    *_, allocator = prepared(model, x)
    (layer,) = allocator.layers
    w, found = np.asarray(layer.kernel)[:, 0], allocator.data[layer.name]
    scale = np.mean((x.astype("f8") @ w).reshape(-1, BATCH) ** 2, axis=1).repeat(BATCH)[:, None]
    for n, measured in enumerate(allocator.sensitivity.data[layer.name]):
        i, f, bits = (int(part[n].item()) for part in (found.i, found.f, found.bits))
        top = 2.0**i - 2.0**-f if bits > 0 else 0
        q = np.clip(np.floor(np.ldexp(x, f) + 0.5) * 2.0**-f, -(2.0**i) if top else 0, max(top, 0))
        expected = np.mean(np.sum((w * (x - q)) ** 2 / scale, axis=1)) / 2
        np.testing.assert_allclose(measured.item(), expected, rtol=1e-3)


def test_weight_curvature_is_the_gauss_newton_diagonal():
    """Against the Jacobian itself: diag(p) - p p^T between the columns of every weight."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((5,), name="x"), keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")]
    )
    x = np.random.default_rng(1).normal(size=(8192, 5)).astype("f4")
    clone = convert(graph.read(model), ConvertSettings()).clone
    source = open_source(x, names=["x"])
    found = measure_sensitivity(clone, source, {}, logits=(True,), samples=len(x)).weights
    linear = [layer for layer in clone.layers if isinstance(layer, QLinear)]
    (first, bias), (second, shift) = ([np.asarray(w, "f8") for w in (q.kernel, q.bias)] for q in linear)
    hidden = np.maximum(x @ first + bias, 0)
    p = np.exp(hidden @ second + shift)
    p /= p.sum(axis=1, keepdims=True)
    # Squared columns of the Jacobian's factor, by sample and class, weighted by the curvature.
    inner = second.T * (hidden > 0)[:, None, :]
    spread = np.einsum("nch,nc->nh", inner**2, p) - np.einsum("nch,nc->nh", inner, p) ** 2
    exact = (x.astype("f8") ** 2).T @ spread / len(x), (hidden**2).T @ (p - p**2) / len(x)
    for layer, expected in zip(linear, exact, strict=True):
        measured = found[layer.name]
        # 512 batches are averaged: a tenth is one or two standard deviations.
        assert np.corrcoef(measured.ravel(), expected.ravel())[0, 1] > 0.9
        assert abs(measured.sum() / expected.sum() - 1) < 0.25


def test_the_ranking_of_sites_is_that_of_quantizing_them_one_by_one(kws):
    """Leave one in: each of the DS-CNN's kernels and inputs alone made coarse, the KL divergence measured."""
    conversion, source, allocator = kws
    (batch,) = source.batches(256, limit=256)
    wide = allocator.at_limits()

    def divergence(allocation: Allocation) -> float:
        allocator.apply(allocation)
        y, q = (predict(m, batch.inputs)[0].astype("f8") for m in (conversion.clone, conversion.model))
        y, q = (z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) for z in (y, q))
        y, q = (z - z.max(1, keepdims=True) for z in (y, q))
        p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
        r = np.exp(q) / np.exp(q).sum(1, keepdims=True)
        return float(np.mean(np.sum(p * np.log(p / r), axis=1)))

    predicted, measured = [], []
    for layer in allocator.layers:
        weights = {**wide.weights, layer.name: wide.weights[layer.name] + 5}
        coarse = wide.data[layer.name] - 5
        data = {**wide.data, layer.name: coarse}
        for changed in (
            Allocation(weights=weights, data=wide.data, loss=0, ebops=0, price=0),
            Allocation(weights=wide.weights, data=data, loss=0, ebops=0, price=0),
        ):
            shares = {(s.layer, s.part): s.loss for s in allocator.shares(changed)}
            part = "kernel" if changed.data is wide.data else "input 0"
            predicted.append(shares[layer.name, part])
            measured.append(divergence(changed))
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    correlation = np.corrcoef(*ranks)[0, 1]
    assert correlation > 0.8, correlation


@pytest.mark.parametrize("granularity", list(Granularity))
def test_a_budget_is_kept_and_used(mnist, granularity):
    if granularity is Granularity.ELEMENT:
        conversion, source, _ = mnist
    else:
        model = graph.load_model(MNIST / "model.keras")
        conversion, source, _ = prepared(
            model, np.load(MNIST / "calib.npy"), weight_granularity=granularity, activation_bits=8
        )
    budget = 20_000_000
    allocated = allocate(
        conversion, source, Budget(target_ebops=budget), logits=conversion.logits, settle=settle
    )
    counted = sum(count_ebops(lower(conversion.model)).values())
    assert (
        allocated.report.ebops
        == counted
        == sum(layer.ebops() for layer in quantized_layers(conversion.model))
    )
    # One bit more for a whole tensor may be more than what is left.
    least = 0.9 if granularity is Granularity.TENSOR else LEAST_USE
    assert least * budget < counted <= budget


def test_finer_granularity_costs_less_loss_at_a_budget():
    x = np.load(MNIST / "calib.npy")
    losses = []
    for granularity in ("element", "channel", "tensor"):
        model = graph.load_model(MNIST / "model.keras")
        *_, allocator = prepared(model, x, weight_granularity=granularity)
        losses.append(allocator.solve(20_000_000).loss)
    assert losses == sorted(losses)
    assert losses[0] < losses[-1] / 2


def test_allocation_is_deterministic_and_monotone(mnist):
    allocator = mnist[2]
    found = [allocator.solve(budget) for budget in (5_000_000, 20_000_000, 60_000_000)]
    assert [a.loss for a in found] == sorted((a.loss for a in found), reverse=True)
    again = allocator.solve(20_000_000)
    for name, chosen in again.weights.items():
        np.testing.assert_array_equal(chosen, found[1].weights[name])
    assert (again.loss, again.ebops) == (found[1].loss, found[1].ebops)


def test_limits_by_rule_hold():
    model = tiny_models.build("mlp", seed=1)
    rules = [hgqify.Rule(layer_type="Dense", weight_bits=3, activation_bits=4)]
    result = hgqify.convert(
        model,
        tiny_models.inputs(model, 160, seed=1),
        rules=rules,
        target_ebops=400,
        finetune_steps=0,
        progress=no_progress,
    )
    for layer in quantized_layers(result.model):
        if isinstance(layer, QLinear):
            state = layer.kq.state(layer.kernel)
            assert (state.k + state.i + state.f).max() <= 3
    assert result.report.ebops <= 400


@pytest.mark.parametrize("name", ["residual", "shared", "merges", "depthwise", "mlp_batchnorm"])
def test_every_kind_of_graph_keeps_its_budget_and_stays_exact(name):
    model = tiny_models.build(name, seed=1)
    x = tiny_models.inputs(model, 160, seed=1)
    settings = {"progress": no_progress, "weight_granularity": "element", "finetune_steps": 0}
    full = hgqify.convert(model, x, **settings).report.ebops
    result = hgqify.convert(model, x, target_ebops=full * 3 // 4, finetune_steps=0, progress=no_progress)
    assert 0 < result.report.ebops <= full * 3 // 4
    assert result.report.allocation["limit_ebops"] > 0
    inputs = random_inputs(result.program, 200, seed=0)
    given = predict(result.model, inputs)
    for keras_output, expected in zip(given, run(result.program, inputs).values, strict=True):
        np.testing.assert_array_equal(keras_output, expected)


@pytest.mark.parametrize("overflow", ["WRAP", "SAT_SYM", "PROVED"])
def test_other_overflow_modes(overflow):
    model = tiny_models.build("mlp", seed=1)
    x = tiny_models.inputs(model, 160, seed=1)
    for margin in (0, 1):
        result = hgqify.convert(
            model,
            x,
            target_ebops=600,
            finetune_steps=0,
            overflow=overflow,
            margin=margin,
            progress=no_progress,
        )
        assert result.report.ebops <= 600
        statement = result.report.overflow
        assert not any("overflowing" in line for line in statement["summary"]), statement["summary"]


def test_max_drop_finds_fewer_ebops_within_the_drop():
    result = hgqify.convert(
        MNIST / "model.keras",
        MNIST / "calib.npy",
        labels=MNIST / "calib_labels.npy",
        max_drop=0.5,
        finetune_steps=0,
        progress=no_progress,
    )
    found = result.report.allocation
    quality = result.report.quality
    assert 100 * (quality.float_accuracy - quality.accuracy) == pytest.approx(found["drop"])
    assert found["drop"] <= 0.5
    assert result.report.ebops == found["ebops"] < found["limit_ebops"] / 5


def test_compensation_brings_accuracy_back():
    """At a sixteenth of the EBOPs of uniform 8 bits, on data not calibrated with."""
    holdout = np.load(MNIST / "holdout.npz")
    accuracy = []
    for compensate in (False, True):
        result = hgqify.convert(
            MNIST / "model.keras",
            MNIST / "calib.npy",
            target_ebops=4_500_000,
            finetune_steps=0,
            compensate=compensate,
            progress=no_progress,
        )
        assert result.report.ebops <= 4_500_000
        assert result.report.allocation["compensated"] is compensate
        (scores,) = predict(result.model, [holdout["x"]])
        accuracy.append(np.mean(scores.argmax(axis=1) == holdout["y"]))
    assert accuracy[1] > accuracy[0] + 0.005
    assert accuracy[1] > 0.985


def test_settling_takes_no_bits_of_rounded_weights():
    """Sums of 512 products of 12 and 14 bits exceed a float32 significand: weights are coarser at once."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((512,), name="x"), keras.layers.Dense(6, name="head")])
    x = np.random.default_rng(0).normal(size=(600, 512)).astype("f4")
    conversion = convert(
        graph.read(model),
        ConvertSettings(weight_granularity="element", weight_bits=14, activation_bits=12, input_bits=12),
    )
    source = open_source(x, names=["x"])
    calibration = calibrate(conversion.model, conversion.probe, conversion.sites, source, settle=settle)
    assert any(a.part == "kernel" for a in calibration.adjustments)
    allocated = allocate(conversion, source, Budget(target_ebops=80_000), logits=(False,), settle=settle)
    assert allocated.report.ebops > 0.95 * 80_000
    assert not allocated.fitted.adjustments


def test_a_cap_holds_for_every_candidate_of_an_output(mnist):
    allocator = mnist[2]
    layer = allocator.layers[0]
    allocator.apply(allocator.solve(5_000_000))
    now = live_frac(layer.kq.state(layer.kernel)).reshape(-1, layer.kernel.shape[-1]).max(axis=0)
    narrower = allocator.capped({layer.name})
    assert (narrower.weights[layer.name].finest <= now).all()
    assert (allocator.weights[layer.name].finest > now).any()
    others = [name for name in allocator.weights if name != layer.name]
    assert all(narrower.weights[name] is allocator.weights[name] for name in others)


class TestRefusals:
    model = staticmethod(partial(tiny_models.build, "mlp", seed=1))

    def convert(self, **settings):
        model = self.model()
        return hgqify.convert(model, tiny_models.inputs(model, 64, seed=1), progress=no_progress, **settings)

    def test_both_aims(self):
        with pytest.raises(RuleError, match="either target_ebops or max_drop"):
            self.convert(target_ebops=100, max_drop=1.0)

    @pytest.mark.parametrize("value", [0, -5, 1.5, True, "8000"])
    def test_impossible_budgets(self, value):
        with pytest.raises(RuleError, match="whole number above 0"):
            self.convert(target_ebops=value)

    @pytest.mark.parametrize("value", [-1, float("nan"), True, "x"])
    def test_impossible_drops(self, value):
        with pytest.raises(RuleError, match="percentage points"):
            self.convert(max_drop=value)

    @pytest.mark.parametrize("value", [True, False])
    def test_compensation_without_a_budget(self, value):
        with pytest.raises(RuleError, match="under a budget only"):
            self.convert(compensate=value)

    def test_a_budget_that_leaves_nothing(self):
        with pytest.raises(BudgetError, match=r"outputs are constant.*the widest formats take"):
            self.convert(target_ebops=1)

    def test_ebops_that_cannot_be_allocated(self):
        inputs = [keras.Input((4,)), keras.Input((4,))]
        y = keras.layers.Dense(3)(keras.layers.Multiply()(inputs))
        x = [np.random.default_rng(n).normal(size=(64, 4)).astype("f4") for n in (0, 1)]
        with pytest.raises(BudgetError, match=r"At least .* are needed"):
            hgqify.convert(keras.Model(inputs, y), x, target_ebops=10, progress=no_progress)

    def test_nothing_to_allocate(self):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.ReLU()(inputs))
        x = np.random.default_rng(0).normal(size=(64, 4)).astype("f4")
        with pytest.raises(BudgetError, match="nothing to allocate"):
            hgqify.convert(model, x, target_ebops=10, progress=no_progress)

    def test_a_drop_without_classes(self):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        x = np.random.default_rng(0).normal(size=(64, 4)).astype("f4")
        with pytest.raises(BudgetError, match="Give target_ebops instead"):
            hgqify.convert(model, x, max_drop=1, progress=no_progress)

    def test_a_drop_the_limits_do_not_allow(self):
        with pytest.raises(BudgetError, match="raise weight_bits"):
            hgqify.convert(
                MNIST / "model.keras",
                MNIST / "calib.npy",
                max_drop=0,
                weight_bits=2,
                activation_bits=1,
                progress=no_progress,
            )


def test_command_line_and_settings_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tiny_models.build("mlp", seed=1)
    model.save("model.keras")
    np.save("calib.npy", tiny_models.inputs(model, 160, seed=1))
    Path("settings.toml").write_text("[convert]\ntarget_ebops = 700\nfinetune_steps = 0\n")
    run = ["model.keras", "--calib", "calib.npy", "--no-check", "-q"]
    for name, options, budget in (
        ("a", ["--config", "settings.toml"], 700),
        ("b", ["--config", "settings.toml", "--target-ebops", "500"], 500),
    ):
        result = CliRunner().invoke(main, [*run, *options, "-o", name], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert f"% of the budget of {budget}" in result.output
        report = json.loads(Path(name, "report.json").read_text())
        assert report["allocation"]["target_ebops"] == budget
        assert report["ebops"] <= budget
        losses = [share["loss"] for share in report["allocation"]["shares"]]
        assert losses == sorted(losses, reverse=True)
    result = CliRunner().invoke(main, [*run, "--max-drop", "1", "--target-ebops", "5", "-o", "c"])
    assert result.exit_code == 2
