"""The training twin: it computes what the model computes, gives back what it took, and keeps to the limits.

What holds exactly: kernels act as the same numbers and data quantizers are the same, so with biases that lie
on their grid the twin's outputs are the model's, bit for bit; elsewhere the rounding of biases is between.
"""

import functools

import keras
import numpy as np
import pytest
from budget_cases import Case, cnn, kernels, make_case, mlp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hgqify.finetune.deploy import deploy
from hgqify.finetune.twin import make_twin
from hgqify.layers import quantized_layers

BUILDS = {"mlp": mlp, "cnn": cnn}
CASES = [("mlp", "element"), ("mlp", "channel"), ("mlp", "tensor"), ("cnn", "element"), ("cnn", "channel")]


@functools.cache
def _case(build: str, granularity: str) -> Case:
    extra = {"activation_granularity": "element"} if build == "cnn" else {}
    return make_case(BUILDS[build], 0.15, weight_granularity=granularity, **extra)


@pytest.fixture(params=CASES, ids="-".join)
def case(request) -> Case:
    """A copy, so that no test sees what another did to the model."""
    return _case(*request.param).again()


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """All variables but those of the price, by path."""
    return {v.path: np.array(v) for v in model.variables if "penalty" not in v.path}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def formats(quantizer, weight=None):
    """k, i, f broadcast to one another, zeros where there are no bits."""
    state = quantizer.state(weight)
    live = state.k + state.i + state.f > 0
    return {name: np.where(live, getattr(state, name), 0) for name in "kif"}


def on_grid(case: Case) -> None:
    """Biases moved onto their grid, where they act as they are."""
    for layer in quantized_layers(case.model):
        weights = layer.quantized_weights()
        if "bias" in weights:
            layer.bias.assign(weights["bias"])


def test_the_twin_acts_as_the_model(case):
    twin = case.twin()
    theirs = kernels(twin)
    for name, kernel in kernels(case.model).items():
        np.testing.assert_array_equal(theirs[name], kernel, err_msg=name)
    for layer in case.linear:
        assert_same(formats(layer.iqs[0]), formats(twin.get_layer(layer.name).iqs[0]))
    on_grid(case)
    np.testing.assert_array_equal(case.twin().predict_on_batch(case.x), case.model.predict_on_batch(case.x))


def test_a_twin_does_not_round_biases(case):
    on_grid(case)
    layer = case.linear[-1]
    other = case.twin().get_layer(layer.name)
    bias = np.asarray(layer.bias) + np.float32(1e-6)
    layer.bias.assign(bias)
    other.bias.assign(bias)
    np.testing.assert_array_equal(other.quantized_weights()["bias"], bias)
    assert not np.array_equal(layer.quantized_weights()["bias"], bias)


@pytest.mark.parametrize("seed", [0, 1])
def test_there_and_back_changes_nothing(case, seed):
    """Codes and formats of data as they were, weights' formats the fewest bits that hold them, at once."""
    ebops, kernel = case.count(), kernels(case.model)
    data = {layer.name: formats(layer.iqs[0]) for layer in case.linear}
    bits = {layer.name: layer.kq.state(np.asarray(layer.kernel)) for layer in case.linear}
    deploy(case.twin(seed), case.model, case.budget.limits)
    assert_same(kernel, kernels(case.model))
    for layer in case.linear:
        assert_same(data[layer.name], formats(layer.iqs[0]))
        state, before = layer.kq.state(np.asarray(layer.kernel)), bits[layer.name]
        assert (state.f <= before.f).all()
        assert (state.k + state.i + state.f <= np.maximum(before.k + before.i + before.f, 0)).all()
    assert case.count() == ebops
    once = values(case.model)
    deploy(case.twin(seed + 10), case.model, case.budget.limits)
    case.settle(case.model)
    assert_same(once, values(case.model))


def test_widths_start_around_the_integers_they_act_as(case):
    """Not all at one place, else they would all cross 1/2 in the same step; none of them acts as another."""
    one, other = case.twin(0), case.twin(1)
    for layer in case.linear:
        f, g = (np.asarray(twin.get_layer(layer.name).kq.f) for twin in (one, other))
        assert (np.rint(f) == np.rint(g)).all()
        assert (f != g).all()
        assert (np.abs(f - np.rint(f)) <= 0.46).all()


def test_a_shared_format_starts_where_its_weights_are():
    """Not where the smallest of its pruned weights would be: it would be many bits from acting."""
    case = _case("mlp", "channel").again()
    for layer in case.linear:
        kernel = np.array(layer.kernel)
        kernel[0] = 0
        layer.kernel.assign(kernel)
        floating = case.clone.get_layer(layer.name).kernel
        before = np.array(floating)
        try:
            floating.assign(np.where(kernel == 0, 1e-9, before))
            other = case.twin().get_layer(layer.name)
        finally:
            floating.assign(before)
        acts = np.rint(np.asarray(other.kq.f))
        live = kernel.any(axis=0)
        least = np.rint(np.asarray(layer.kq.state(kernel).f))
        assert (acts <= least)[0][live].all()


def test_a_pruned_weight_may_come_back(case):
    layer = case.linear[1]
    kernel = np.array(layer.kernel)
    place = np.unravel_index(np.argmax(np.abs(kernel)), kernel.shape)
    kernel[place] = 0
    layer.kernel.assign(kernel)
    twin = case.twin()
    other = twin.get_layer(layer.name)
    deploy(twin, case.again().model, case.budget.limits)
    assert kernels(twin)[layer.name][place] == 0
    highest = float(case.budget.limits[layer.name].kernel_f[place])
    f = np.array(other.kq.f)
    f[tuple(np.minimum(place, np.array(f.shape) - 1))] = highest
    other.kq.f.assign(other.kq.f.constraint(keras.ops.convert_to_tensor(f)))
    moved = np.array(other.kernel)
    moved[place] = 3 * 2.0**-highest
    other.kernel.assign(moved)
    deploy(twin, case.model, case.budget.limits)
    assert kernels(case.model)[layer.name][place] == 3 * 2.0**-highest


@given(shift=st.floats(-40, 40), weight=st.floats(0.01, 1e4), i=st.floats(-8, 20), seed=st.integers(0, 99))
@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_limits_hold_whatever_was_trained(shift, weight, i, seed):
    """Widths, weights and ranges forced anywhere: what is deployed is no wider than allowed."""
    for build in (("mlp", "channel"), ("cnn", "element")):
        case = _case(*build).again()
        twin, rng = case.twin(), np.random.default_rng(seed)
        for layer in case.linear:
            other = twin.get_layer(layer.name)
            for variable in (other.kq.f, other.iqs[0].f):
                noise = rng.normal(scale=4, size=variable.shape)
                variable.assign(np.clip(np.asarray(variable) + shift + noise, -99, 99))
            other.iqs[0].i.assign(np.asarray(other.iqs[0].i) + i)
            other.kernel.assign(np.asarray(other.kernel) * weight)
        deploy(twin, case.model, case.budget.limits)
        for layer in case.linear:
            limits = case.budget.limits[layer.name]
            state = layer.kq.state(np.asarray(layer.kernel))
            live = state.k + state.i + state.f > 0
            kernel = kernels(case.model)[layer.name].astype(np.float64)
            codes = np.ldexp(kernel, limits.kernel_f)
            np.testing.assert_array_equal(codes, np.rint(codes))
            assert (np.where(live, state.i + state.f, 0) <= limits.kernel_bits).all()
            data = formats(layer.iqs[0])
            assert (data["f"].ravel() <= limits.data_f.ravel()).all()
            assert ((data["i"] + data["f"]).ravel() <= limits.data_bits.ravel()).all()


def test_layers_without_limits_stay(case):
    """They are trained in their formats, if at all: a twin that is given back at once leaves every bit."""
    layer = case.linear[0]
    limits = {other.name: case.budget.limits[other.name] for other in case.linear[1:]}
    before = values(case.model)
    twin = make_twin(case.model, case.clone, limits, seed=0)
    assert not twin.get_layer(layer.name).kq.trainable_variables
    assert not twin.get_layer(layer.name).iqs[0].trainable_variables
    deploy(twin, case.model, limits, shift=-1.0)
    after = values(case.model)
    for name, value in before.items():
        if name.split("/")[0] == layer.name:
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert any(not np.array_equal(after[name], value) for name, value in before.items())


def test_stochastic_rounding_is_of_training_alone(case):
    """At inference the twin acts as the model; in training every pass and every layer draws for itself."""
    on_grid(case)
    twin = make_twin(case.model, case.clone, case.budget.limits, seed=0, stochastic_rounding=True)
    theirs = kernels(twin)
    for name, kernel in kernels(case.model).items():
        np.testing.assert_array_equal(theirs[name], kernel, err_msg=name)
    np.testing.assert_array_equal(twin.predict_on_batch(case.x), case.model.predict_on_batch(case.x))
    once, again = (np.asarray(twin(case.x, training=True)) for _ in range(2))
    assert np.any(once != again)
    drawn = {
        tuple(np.asarray(q.seed_generator.state).tolist())
        for layer in (twin.get_layer(layer.name) for layer in case.linear)
        for q in (layer.kq, *layer.iqs)
    }
    assert len(drawn) == 2 * len(case.linear)


def test_widths_may_be_trained_with_a_part_of_the_batch(case):
    """The quantizers of inputs say so; what stands before the first layer needs no gradient."""
    twin = make_twin(case.model, case.clone, case.budget.limits, seed=0, width_gradient_part=4)
    for layer in case.linear:
        other = twin.get_layer(layer.name)
        assert other.iqs[0].config.width_gradient_part == 4
        assert other.kq.config.width_gradient_part == 1
        assert other.needs_input_gradient == (layer.name != "a")
    np.testing.assert_array_equal(twin.predict_on_batch(case.x), case.twin().predict_on_batch(case.x))


def test_training_a_twin_leaves_the_model(case):
    before = values(case.model)
    twin = case.twin()
    twin.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    twin.fit(case.x, np.zeros((len(case.x), 3)), batch_size=100, epochs=2, verbose=0)
    assert_same(before, values(case.model))
    for layer in case.linear:
        limits, other = case.budget.limits[layer.name], twin.get_layer(layer.name)
        assert (np.rint(np.asarray(other.kq.f)) <= np.broadcast_to(limits.kernel_f, layer.kernel.shape)).all()
        assert (np.rint(np.asarray(other.iqs[0].f)).ravel() <= limits.data_f.ravel()).all()
