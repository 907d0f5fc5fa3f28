"""What may stay in float, what may not, and what is learned through it."""

from pathlib import Path

import jax.numpy as jnp
import keras
import numpy as np
import pytest
from kept_models import Steps, Wave, data, middle

import hgqify
from hgqify import Rule
from hgqify.convert import ConvertSettings, Status, convert, plan
from hgqify.errors import CalibrationError, ModelLoadError, RuleError, UnsupportedLayerError
from hgqify.graph import read
from hgqify.layers import KeptFloat, QDense
from hgqify.precision import lower
from hgqify.progress import no_progress

layers = keras.layers
KEEP = ConvertSettings(unsupported="keep")


def chain(*inner: keras.layers.Layer) -> keras.Model:
    x = y = keras.Input((4,), name="x")
    for layer in (layers.Dense(5, name="a"), *inner, layers.Dense(3, name="b")):
        y = layer(y)
    return keras.Model(x, y)


def converted(model: keras.Model, **settings: object) -> hgqify.Result:
    return hgqify.convert(
        model,
        data(model, 160),
        progress=no_progress,
        **{"unsupported": "keep", "finetune_steps": 0, **settings},
    )


def test_a_refusal_says_that_layers_can_be_kept() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"Or keep it in float: unsupported='keep'"):
        convert(read(middle()))
    with pytest.raises(RuleError, match="unsupported does not know this value"):
        ConvertSettings(unsupported="kept")


def test_a_plan_tells_what_would_stay_float() -> None:
    (entry,) = plan(read(middle()), KEEP).with_status(Status.FLOAT)
    assert (entry.layer, entry.target) == ("wave", "wave, wave_quantize")
    assert "cannot be opened into Keras operations" in entry.reason
    assert not plan(read(chain()), KEEP).with_status(Status.FLOAT)


def test_code_is_kept_only_where_it_is_trusted(tmp_path: Path) -> None:
    model = chain(layers.Lambda(lambda t: __import__("jax").numpy.square(t), output_shape=(5,), name="code"))
    with pytest.raises(UnsupportedLayerError, match=r"Python code.*safe_mode=False"):
        converted(model)
    result = converted(model, safe_mode=False)
    assert [str(kept) for kept in result.program.kept] == ["code (Lambda)"]
    result.save(tmp_path / "r")
    with pytest.raises(ModelLoadError, match="Lambda"):
        hgqify.check(tmp_path / "r", random=8, progress=no_progress)
    report = hgqify.check(tmp_path / "r", random=8, safe_mode=False, progress=no_progress)
    assert report.exact, report.summary()


def test_masks_and_states_are_not_kept() -> None:
    x = keras.Input((3, 4), name="x")
    y = layers.GlobalAveragePooling1D()(layers.Masking(name="masking")(x))
    (entry,) = plan(read(keras.Model(x, layers.Dense(3)(y))), KEEP).refused
    assert (entry.layer, bool(entry.remedy)) == ("masking", True)
    assert "hands masks to the layers behind it" in entry.reason
    x = keras.Input((3, 4, 2), name="x")
    lstm = layers.ConvLSTM1D(2, 1, name="lstm")
    model = keras.Model(x, layers.Dense(3)(layers.Flatten()(lstm(x))))
    lstm.stateful = True
    (entry,) = plan(read(model), KEEP).refused
    assert "a state from batch to batch" in entry.reason


def test_a_class_that_nobody_registered(tmp_path: Path) -> None:
    class Mine(layers.Layer):
        def call(self, x: object) -> object:
            return jnp.sin(x)

    model = chain(Mine(name="mine"))
    result = converted(model, target_ebops=400, finetune_steps=4)
    result.save(tmp_path / "r")
    with pytest.raises(ModelLoadError, match=r"Mine.*custom_objects"):
        hgqify.check(tmp_path / "r", random=8, progress=no_progress)
    report = hgqify.check(
        tmp_path / "r", random=8, custom_objects={"Mine": Mine}, float64=True, progress=no_progress
    )
    assert report.exact, report.summary()
    assert "Keras in float64, part 1 of 2" in report.summary()
    model.save(tmp_path / "m.keras")
    with pytest.raises(ModelLoadError, match="custom_objects"):
        hgqify.inspect(tmp_path / "m.keras")
    found = hgqify.inspect(tmp_path / "m.keras", unsupported="keep", custom_objects={"Mine": Mine})
    assert [entry.layer for entry in found.with_status(Status.FLOAT)] == ["mine"]


def test_a_rule_keeps_what_could_be_converted() -> None:
    model = chain(layers.Dense(6, activation="tanh", name="middle"))
    result = converted(model, unsupported="error", rules=[Rule(path="middle", keep_float=True)])
    assert [str(kept) for kept in result.program.kept] == ["middle (Dense)", "middle_tanh (Activation)"]
    assert result.report.kept[0]["reason"] == "a rule says so"
    assert "a_exit" in [layer.name for layer in result.model.layers]
    told = result.summary()
    assert "kept in float: middle (Dense): a rule says so" in told
    assert "layers kept in float not counted" in told


def test_widths_at_the_border_are_those_of_outputs_and_inputs() -> None:
    model = converted(middle(), output_bits=14, input_bits=9).model
    left, back = (model.get_layer(name).iq.state() for name in ("a_exit", "wave_quantize"))
    assert int(np.max(left.k + left.i + left.f)) == 14
    assert int(np.max(back.k + back.i + back.f)) == 9
    ruled = converted(middle(), rules=[Rule(path="wave", activation_bits=7)]).model
    back = ruled.get_layer("wave_quantize").iq.state()
    assert int(np.max(back.k + back.i + back.f)) == 7


def test_a_layer_that_does_not_do_what_it_did_is_found() -> None:
    class Forgetful(layers.Layer):
        """Says nothing of its factor in get_config."""

        factor = 1.0

        def call(self, x: object) -> object:
            return jnp.sin(x * self.factor)

    layer = Forgetful(name="forgetful")
    layer.factor = 3.0
    with pytest.raises(UnsupportedLayerError, match=r"output 0 is not that of the float model.*forgetful"):
        converted(chain(layer))


def test_training_goes_through_what_is_kept() -> None:
    keras.utils.set_random_seed(5)
    model = chain(Wave(name="wave"))
    result = converted(model, finetune_steps=60, learning_rate=0.01)
    told = result.report.finetune
    assert told["best_step"] > 0
    assert told["loss"] < 0.8 * told["start_loss"]
    assert np.any(np.asarray(result.model.get_layer("a").kernel) != np.asarray(model.get_layer("a").kernel))
    for kept in (result.model.get_layer("wave"), result.float_model.get_layer("wave")):
        np.testing.assert_array_equal(kept.layer.w, model.get_layer("wave").w)


def test_a_budget_is_met_through_what_is_kept() -> None:
    keras.utils.set_random_seed(5)
    result = converted(chain(Wave(name="wave")), target_ebops=900, finetune_steps=12)
    assert 0.85 * 900 < result.report.ebops <= 900
    assert "layers kept in float not counted" in result.summary()
    assert result.report.finetune["width_steps"] > 0
    # The dropout inside the kept layer has a state, which is no weight.
    fewest = min(entry.ebops for entry in result.archive.front)
    chosen = result.at(fewest)
    assert chosen.report.ebops <= fewest
    assert chosen.program.kept == result.program.kept


def test_what_lets_no_gradient_through_stops_learning() -> None:
    model = chain(Steps(name="steps"))
    for options, purpose in ({"finetune_steps": 5}, "fine-tuning"), ({"target_ebops": 900}, "allocation"):
        with pytest.raises(CalibrationError, match=rf"{purpose}.*steps \(Steps\).*finetune_steps=0"):
            converted(model, **options)
    assert converted(model).program.kept


def test_what_stands_before_all_weights_needs_no_gradient() -> None:
    x = keras.Input((4,), name="x")
    model = keras.Model(x, layers.Dense(3, name="b")(Steps(name="steps")(x)))
    assert converted(model, finetune_steps=4).report.finetune["steps"] == 4


def test_by_hand() -> None:
    x = keras.Input((4,), name="x")
    wave = KeptFloat(layers.Activation("sin" if hasattr(keras.activations, "sin") else "tanh"), name="wave")
    model = keras.Model(x, QDense(3, name="b")(wave(QDense(5, name="a")(x))))
    program = lower(model)
    assert [kept.layer for kept in program.kept] == ["wave"]
    assert [program.by_name[name].layer for name in program.inputs] == ["x", "wave"]
    twice = keras.Model(x, [wave(QDense(5)(x)), QDense(3)(wave(x))])
    with pytest.raises(UnsupportedLayerError, match="called several times"):
        lower(twice)
