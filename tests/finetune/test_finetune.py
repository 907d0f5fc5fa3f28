"""Fine-tuning: better or unchanged, reproducible, interruptible, without traces in the user's model."""

import contextlib
import signal

import keras
import numpy as np
import pytest

from hgqify.calibrate import calibrate, excess_bits, settle
from hgqify.convert import ConvertSettings, convert
from hgqify.data import open_source
from hgqify.errors import DataError, RuleError
from hgqify.finetune import FinetuneSettings, OwnTraining, finetune
from hgqify.finetune.freeze import frozen_widths
from hgqify.finetune.stages import StageEnd, WeightStage
from hgqify.graph import read
from hgqify.layers import QBatchNormalization, QLinear, quantized_layers, total_ebops

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64) + (X[:, 2] > 1)
SETTINGS = FinetuneSettings(steps=40, batch_size=32, learning_rate=3e-3, evaluations=4)


def _model(activation="softmax"):
    keras.utils.set_random_seed(1)
    given = keras.Input((6,), name="x")
    x = layers.Dense(12, activation="relu", name="a")(given)
    x = layers.Dense(8, activation="tanh", name="b")(x)
    return keras.Model(given, layers.Dense(3, activation=activation, name="c")(x))


@pytest.fixture(scope="module")
def make():
    """Calibrated conversions of one model, each new."""
    model = _model()

    def convert_and_calibrate(**settings):
        bits = {"weight_bits": 4, "activation_bits": 5, "table_in_bits": 5, **settings}
        conversion = convert(read(model), ConvertSettings(**bits))
        calibrate(conversion.model, conversion.probe, conversion.sites, open_source(X))
        return conversion

    return convert_and_calibrate


def _formats(model):
    return [
        (q.state(np.zeros(1)).k, q.state(np.zeros(1)).i, q.state(np.zeros(1)).f)
        for layer in quantized_layers(model)
        for q in (*layer.iqs, layer.kq, layer.bq, layer.oq)
        if q is not None
    ]


def _run(conversion, source=X, settings=SETTINGS, **options):
    return finetune(
        conversion.model,
        conversion.clone,
        open_source(source),
        logits=conversion.logits,
        settings=settings,
        settle=settle,
        **options,
    ).report


def test_training_helps_and_leaves_formats_and_compile_state(make):
    conversion = make()
    before = _formats(conversion.model)
    trainable = [v.path for v in conversion.model.trainable_variables]
    events = []
    report = _run(conversion, progress=events.append)
    assert report.loss < 0.8 * report.start_loss
    assert report.loss == min(loss for _, loss in report.losses)
    assert dict(report.losses)[report.best_step] == report.loss
    assert (report.samples, report.holdout, report.steps) == (360, 40, 40)
    assert [event.done for event in events] == list(range(1, 41))
    assert set(events[0].values) == {"loss", "held out", "EBOPs"}
    assert not conversion.model.compiled
    assert [v.path for v in conversion.model.trainable_variables] == trainable
    for a, b in zip(before, _formats(conversion.model), strict=True):
        np.testing.assert_array_equal(a, b)
    for layer in quantized_layers(conversion.model):
        if isinstance(layer, QLinear):
            assert layer.kernel.constraint is None
            assert (excess_bits(layer) <= 0).all()


def test_the_same_seed_gives_the_same_weights(make):
    one, two = make(), make()
    _run(one)
    _run(two)
    for a, b in zip(one.model.get_weights(), two.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_never_worse_than_the_start(make):
    conversion = make(weight_bits=12, activation_bits=12, table_in_bits=12, table_out_bits=12)
    before = conversion.model.get_weights()
    settings = FinetuneSettings(steps=4, batch_size=32, learning_rate=10.0, evaluations=2)
    report = _run(conversion, settings=settings)
    assert report.best_step == 0
    assert report.loss == report.start_loss
    for a, b in zip(before, conversion.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_interrupting_keeps_the_best_so_far(make):
    conversion = make()

    def stop(event):
        if event.done == 25:
            raise KeyboardInterrupt

    report = _run(conversion, progress=stop)
    assert report.interrupted
    assert report.steps == 25
    assert report.best_step in (10, 20)
    assert dict(report.losses)[report.best_step] == report.loss < report.start_loss
    assert conversion.model.predict_on_batch(X[:3]).shape == (3, 3)


def test_a_signal_waits_for_the_end_of_the_step(make):
    """Where it is sent no exception gets out, as from a callback of the garbage collector."""
    stopped = []

    class Swallowing(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3 and not stopped:
                stopped.append(batch)
                with contextlib.suppress(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)

    report = _run(make(), own=OwnTraining(callbacks=[Swallowing()]))
    assert report.interrupted
    assert report.steps == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_in_the_last_step_of_a_stage_is_not_lost(make, monkeypatch):
    """A stage may end by itself, in the very step that a signal waits for."""

    def stepped(self, step, loss):
        if step == 3:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            raise StageEnd

    monkeypatch.setattr(WeightStage, "stepped", stepped)
    assert _run(make()).interrupted


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "a", True])
def test_seeds_that_are_none(seed):
    with pytest.raises(RuleError, match="seed must be a whole number"):
        FinetuneSettings(seed=seed)


def test_labels_take_part(make):
    conversion = make()
    report = _run(conversion, source=(X, Y))
    assert report.start_loss > 0.05  # cross-entropy of an untrained teacher: far from zero
    assert report.loss < report.start_loss
    with pytest.raises(DataError, match="class numbers"):
        _run(make(), source=(X, Y + 5))


def test_regression_learns_the_outputs():
    model = _model(activation="linear")
    conversion = convert(read(model), ConvertSettings(weight_bits=3, activation_bits=4))
    calibrate(conversion.model, conversion.probe, conversion.sites, open_source(X))
    report = _run(conversion)
    assert conversion.logits == (False,)
    assert report.loss < report.start_loss


def test_a_normalization_that_stays_a_layer_is_trained_and_counted():
    keras.utils.set_random_seed(2)
    given = keras.Input((6,))
    x = layers.Dense(12, activation="tanh")(given)
    x = layers.BatchNormalization()(x)  # behind a table nothing takes it
    model = keras.Model(given, layers.Dense(3, activation="softmax")(layers.Activation("tanh")(x)))
    (norm,) = (layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    norm.set_weights(list(np.random.default_rng(2).uniform(0.5, 1.5, (4, 12))))
    conversion = convert(read(model), ConvertSettings())
    calibrate(conversion.model, conversion.probe, conversion.sites, open_source(X))
    assert any(isinstance(layer, QBatchNormalization) for layer in conversion.model.layers)
    shown = []
    _run(conversion, progress=shown.append)
    assert {event.values["EBOPs"] for event in shown[-1:]} == {float(total_ebops(conversion.model))}


def test_too_few_samples_train_nothing(make):
    conversion = make()
    before = conversion.model.get_weights()
    report = _run(conversion, source=X[:50])
    assert report.steps == 0
    assert "50 samples are too few" in report.note
    for a, b in zip(before, conversion.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_wrong_number_of_logits_is_refused(make):
    conversion = make()
    with pytest.raises(DataError, match="1 outputs"):
        finetune(conversion.model, conversion.clone, open_source(X), logits=(True, False))


def test_frozen_weights_cannot_leave_their_format(make):
    conversion = make()
    layer = conversion.model.get_layer("a")
    with frozen_widths(conversion.model):
        assert not layer.kq.trainable
        wide = np.asarray(
            layer.kernel.constraint(keras.ops.convert_to_tensor(np.full((6, 12), 1e3, np.float32)))
        )
        state = layer.kq.state()
        top = np.ldexp(1.0, state.i) - np.ldexp(1.0, -state.f)
        np.testing.assert_array_equal(wide, np.broadcast_to(top, wide.shape))
    assert layer.kq.trainable
    assert layer.kernel.constraint is None
