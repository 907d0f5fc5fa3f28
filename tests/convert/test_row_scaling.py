"""Rows of very different sizes: attention divided late, normalizations scaled row by row; all exact."""

import keras
import numpy as np
import pytest
from batch_csim import simulate_many
from keras import layers, ops

import hgqify
from hgqify.beginning import calibrated
from hgqify.calling import predict
from hgqify.convert import ConvertSettings, convert
from hgqify.export import ProjectOptions
from hgqify.graph import read
from hgqify.layers import QMultiply, QMultiplyPow2
from hgqify.reference import run

ROWS = 20


def mixed(*, name: str = "mha", **options: object) -> keras.Model:
    x = keras.Input((ROWS, 3))
    y = layers.MultiHeadAttention(2, 2, name=name)(x, x, **options)
    return keras.Model(x, y)


def by_operations(shape: tuple[int, ...], *, turned: bool) -> keras.Model:
    """softmax(q k) v as operations, the probabilities transposed in between or not."""
    x = keras.Input(shape)
    scores = ops.einsum("bqc,bsc->bsq" if turned else "bqc,bsc->bqs", layers.Dense(3)(x), x)
    p = layers.Softmax(axis=1 if turned else 2)(scores)
    p = ops.transpose(p, (0, 2, 1)) if turned else p
    return keras.Model(x, ops.matmul(p, layers.Dense(3)(x)))


def both_axes() -> keras.Model:
    x = keras.Input((4, 5, 3))
    return keras.Model(x, layers.MultiHeadAttention(1, 2, attention_axes=(1, 2))(x, x))


def scores_too() -> keras.Model:
    x = keras.Input((ROWS, 3))
    return keras.Model(x, layers.MultiHeadAttention(1, 2)(x, x, return_attention_scores=True))


def shifts(model: keras.Model) -> int:
    return sum(isinstance(layer, QMultiplyPow2) for layer in model.layers)


def samples(model: keras.Model, count: int = 32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "late"),
    [
        (mixed, True),
        (lambda: mixed(use_causal_mask=True), True),
        (lambda: by_operations((ROWS, 3), turned=False), True),
        (lambda: by_operations((ROWS, 3), turned=True), True),
        (both_axes, True),
        (scores_too, False),  # somebody reads the probabilities
        (lambda: by_operations((8, 3), turned=False), False),  # short rows keep their bits
    ],
    ids=["heads", "causal", "operations", "transposed", "two axes", "scores", "short"],
)
def test_the_clone_is_the_float_model_wherever_the_division_stands(make, late):
    keras.utils.set_random_seed(0)
    model = make()
    conversion = convert(read(model))
    assert (shifts(conversion.model) > 0) is late
    x = samples(model)
    for wanted, found in zip(predict(model, [x]), predict(conversion.clone, [x]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-6)


def long_attention() -> tuple[keras.Model, np.ndarray]:
    """Attention over many places that looks at all of them alike."""
    keras.utils.set_random_seed(1)
    x = keras.Input((128, 4))
    model = keras.Model(x, layers.Flatten()(layers.MultiHeadAttention(1, 4)(x, x)))
    return model, samples(model, 64)


def uneven_rows(normalization: layers.Layer, spread: float = 7.0) -> tuple[keras.Model, np.ndarray]:
    """Rows whose sizes differ by 2**spread in front of a normalization."""
    x = keras.Input((4, 6))
    model = keras.Model(x, normalization(layers.Add(name="sum")([x, layers.Dense(6, use_bias=False)(x)])))
    rng = np.random.default_rng(2)
    data = rng.normal(size=(256, 4, 6)) * 2.0 ** rng.uniform(-spread, 0, (256, 4, 1))
    return model, data.astype(np.float32)


NORMALIZATIONS = {
    "layer": layers.LayerNormalization,
    "rms": layers.RMSNormalization,
    "unit": layers.UnitNormalization,
    "groups": lambda: layers.GroupNormalization(2, axis=-1),
}


def whole() -> tuple[keras.Model, np.ndarray]:
    """Everything at once, small: attention over more than 16 places between normalizations of uneven rows."""
    keras.utils.set_random_seed(3)
    x = keras.Input((18, 3))
    y = layers.Add()([x, layers.MultiHeadAttention(1, 2)(x, x, use_causal_mask=True)])
    y = layers.LayerNormalization(name="norm")(y)
    model = keras.Model(x, layers.Dense(2, name="out")(y))
    rng = np.random.default_rng(3)
    data = rng.normal(size=(64, 18, 3)) * 2.0 ** rng.uniform(-7, 0, (64, 18, 1))
    return model, data.astype(np.float32)


def hard_inputs(x: np.ndarray) -> np.ndarray:
    """In range, far beyond, tiny, zero, and equal rows."""
    odd = np.stack([x[0] * 4, x[1] * 2.0**60, x[2] * 2.0**-30, x[3] * 0, np.ones_like(x[0]), -x[4] * 1e4])
    return np.concatenate([x[:16], odd]).astype(np.float32)


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[hgqify.Result, np.ndarray]]:
    found = {}
    for overflow in ("SAT", "PROVED"):
        model, x = whole()
        steps = 3 if overflow == "SAT" else 0  # formats stay while weights move
        found[overflow] = hgqify.convert(model, x, finetune_steps=steps, overflow=overflow), hard_inputs(x)
    for name, make in NORMALIZATIONS.items():
        model, x = uneven_rows(make())
        found[name] = hgqify.convert(model, x, finetune_steps=0, input_bits=16), hard_inputs(x)
    return found


def test_every_form_scales_rows(results):
    assert all(shifts(result.model) for result, _ in results.values())
    assert sum(isinstance(layer, QMultiplyPow2) for layer in results["SAT"][0].model.layers) == 3


def test_keras_is_proved_and_is_the_reference(results):
    for name, (result, x) in results.items():
        assert hgqify.certify(result.model).proved, name
        np.testing.assert_array_equal(predict(result.model, [x])[0], run(result.program, [x]).values[0], name)


def test_a_proof_costs_no_accuracy_that_rows_need(results):
    assert results["PROVED"][0].report.quality.output_sqnr_db > 25


def test_the_firmware_is_the_reference(results, tmp_path):
    io_types = {"SAT": "io_parallel", "layer": "io_stream", "groups": "io_stream"}
    jobs = [
        (results[name][0].program, ProjectOptions(io_type=io_type), [results[name][1]])
        for name, io_type in io_types.items()
    ]
    for name, outputs in zip(io_types, simulate_many(jobs, tmp_path), strict=True):
        result, x = results[name]
        wanted = run(result.program, [x]).values[0]
        np.testing.assert_array_equal(outputs[0].reshape(wanted.shape), wanted, name)
        assert len(np.unique(wanted)) > 9


def test_attention_over_many_places_keeps_its_accuracy():
    model, x = long_attention()
    result = hgqify.convert(model, x, finetune_steps=0)
    assert result.report.quality.output_sqnr_db > 30


@pytest.mark.parametrize("name", ["layer", "rms", "unit"])
def test_small_rows_are_as_good_as_large_ones(name, results):
    result, _ = results[name]
    _, x = uneven_rows(NORMALIZATIONS[name]())
    floats = result.float_model
    wanted, found = (predict(m, [x])[0] for m in (floats, result.model))
    size = np.abs(predict(keras.Model(floats.inputs, floats.get_layer("sum").output), [x])[0]).max(axis=-1)
    small = size < 2.0**-5 * size.max()
    assert small.sum() > 50
    error = np.sqrt(np.mean((found - wanted)[small] ** 2) / np.mean(wanted[small] ** 2))
    assert error < 0.03  # at one format for all 0.4 to 1.8


def test_rows_of_one_size_stay_as_they_are():
    model, x = uneven_rows(layers.LayerNormalization(), spread=0.0)
    assert shifts(calibrated(model, x, finetune_steps=0).conversion.model) == 0


def test_a_rule_sets_widths_and_a_note_tells_what_is_left(results):
    def notes(result):
        return [note for note in result.report.notes if "above the noise" in note]

    assert not notes(results["SAT"][0])
    model, x = whole()
    rules = [hgqify.Rule(path="norm", activation_bits=3)]
    result = hgqify.convert(model, x, finetune_steps=0, rules=rules)
    state = result.model.get_layer("norm_centered").iqs[0].state()
    assert int(np.max(state.k + state.i + state.f)) == 3
    (note,) = notes(result)
    assert note.startswith("behind norm the signal is only")


def test_factors_take_the_widths_settings_leave_them():
    conversion = convert(read(mixed()), ConvertSettings(table_out_bits=6, activation_bits=6))
    (divided,) = [
        layer for layer in conversion.model.layers if type(layer) is QMultiply and layer.name == "mha_mixed"
    ]
    assert divided.iqs[1].config.f0 == 5
