"""`hgqify.utils`: ranges from data, counting, and callbacks of a training by hand."""

import keras
import numpy as np
import pytest

from hgqify.errors import BudgetError, RuleError
from hgqify.layers import QAdd, QBatchNormalization, QBatchNormDense, QDense, Quantize
from hgqify.precision import lower
from hgqify.quantizers import QuantizerConfig
from hgqify.reference import run
from hgqify.utils import (
    BetaSchedule,
    EarlyStoppingUnderEbops,
    EbopsLog,
    StopAtEbops,
    ebops_breakdown,
    log_ramp,
    steps,
    total_ebops,
    trace_ranges,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(128, 4)).astype(np.float32)
Y = X[:, :2] * 2


def wrapping(**options) -> QuantizerConfig:
    return QuantizerConfig("kif", "datalane", overflow_mode="WRAP", homogeneous_axis=(0,), **options)


def made(*, beta0: float = 1e-4, bits: float = 6.0) -> keras.Model:
    keras.utils.set_random_seed(0)
    conf = {"iq_conf": wrapping(k0=0, i0=0, f0=4), "beta0": beta0}
    conf["kq_conf"] = QuantizerConfig("kif", "weight", f0=bits)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            QDense(6, name="a", **conf),
            keras.layers.Dropout(0.5),
            QDense(2, name="b", **conf),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


class TestTraceRanges:
    def test_nothing_overflows_afterwards_and_one_bit_less_would(self):
        model = made()
        states = trace_ranges(model, X, batch_size=50)
        assert len(states) == 2
        first = model.get_layer("a").iqs[0]
        rounded = np.floor(X * 16 + 0.5) / 16
        state = first.state()
        assert np.all(state.k == (rounded.min(0) < 0))
        top = np.maximum(rounded.max(0) + 1 / 16, -rounded.min(0))
        np.testing.assert_array_equal(state.i, np.ceil(np.log2(top)))
        # Wrapping where it does not wrap is pure rounding: the reference with wider inputs agrees.
        (expected,) = run(lower(model), [X]).values
        for layer in ("a", "b"):
            wider = model.get_layer(layer).iqs[0]
            wider.set_state(i=wider.state().i[None] + 2, f=wider.state().f[None])
        (wide,) = run(lower(model), [X]).values
        np.testing.assert_array_equal(expected, wide)
        np.testing.assert_array_equal(model.predict(X, verbose=0), expected)

    def test_it_starts_anew_unless_told_otherwise(self):
        model = made()
        trace_ranges(model, X * 16)
        large = model.get_layer("a").iqs[0].state().i
        trace_ranges(model, X, reset=False)
        np.testing.assert_array_equal(model.get_layer("a").iqs[0].state().i, large)
        trace_ranges(model, X)
        assert np.all(model.get_layer("a").iqs[0].state().i < large)

    def test_margin(self):
        model, wider = made(), made()
        trace_ranges(model, X)
        trace_ranges(wider, X, margin_bits=2)
        a, b = (m.get_layer("a").iqs[0].state() for m in (model, wider))
        np.testing.assert_array_equal(b.i, a.i + 2)
        np.testing.assert_array_equal(b.f, a.f)

    def test_frozen_layers_too_but_no_saturating_quantizer_and_no_statistics(self):
        inputs = keras.Input((4,), name="x")
        x = Quantize(iq_conf=QuantizerConfig("kif", "datalane", overflow_mode="SAT", i0=1), name="sat")(
            inputs
        )
        x = keras.layers.Dropout(0.5)(x)
        y = QAdd(iq_conf=wrapping(), name="add", trainable=False)([x, x])
        model = keras.Model(inputs, y)
        before = model.get_layer("sat").iqs[0].state()
        states = trace_ranges(model, {"x": X * 8})
        after = model.get_layer("sat").iqs[0].state()
        np.testing.assert_array_equal(after.i, before.i)
        assert len(states) == 2
        assert all(np.all(state.i <= 1) for state in states.values())

    def test_training_traces_no_frozen_layer_after_it(self):
        model = made()
        trace_ranges(model, X)
        model.get_layer("a").iqs[0].trainable = False
        before = model.get_layer("a").iqs[0].state().i
        model(X * 100, training=True)
        np.testing.assert_array_equal(model.get_layer("a").iqs[0].state().i, before)


def test_the_breakdown_adds_up_to_the_whole():
    model = made()
    rows = ebops_breakdown(model)
    assert [row.layer for row in rows] == ["a", "b"]
    assert sum(row.ebops for row in rows) == total_ebops(model) > 0
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert {row.kind for row in rows} == {"QDense"}


class TestSchedules:
    def test_log_ramp(self):
        ramp = log_ramp(1e-6, 1e-4, 10)
        assert [ramp(0), ramp(5), ramp(10), ramp(99)] == pytest.approx([1e-6, 1e-5, 1e-4, 1e-4])

    def test_steps(self):
        held = steps({5: 2.0, 0: 1.0})
        assert [held(0), held(4), held(5), held(50)] == [1, 1, 2, 2]

    @pytest.mark.parametrize(
        "make",
        [
            lambda: log_ramp(0, 1, 5),
            lambda: log_ramp(1, 2, 0),
            lambda: steps({1: 1.0}),
            lambda: steps({0: -1.0}),
            lambda: StopAtEbops(0),
            lambda: BetaSchedule(1e-5),  # type: ignore[arg-type]
        ],
    )
    def test_mistakes(self, make):
        with pytest.raises(RuleError):
            make()

    def test_prices_are_set_by_epoch_and_logged(self):
        model = made()
        history = model.fit(
            X, Y, epochs=3, batch_size=64, verbose=0, callbacks=[BetaSchedule(steps({0: 1e-6, 2: 1e-5}))]
        ).history
        assert history["beta"] == pytest.approx([1e-6, 1e-6, 1e-5])
        assert float(model.get_layer("b").penalty.beta) == pytest.approx(1e-5)

    def test_by_step_it_goes_on_in_the_next_fit(self):
        model, seen = made(), []
        callback = BetaSchedule(lambda n: seen.append(n) or 1e-6 * (n + 1), by_step=True)
        for _ in range(2):
            model.fit(X, Y, batch_size=64, verbose=0, callbacks=[callback])
        assert seen == [0, 1, 2, 3]
        assert float(model.get_layer("a").penalty.beta) == pytest.approx(4e-6)

    def test_a_model_without_prices_is_refused(self):
        model = keras.Sequential([keras.Input((4,)), QDense(2, enable_ebops=False)])
        model.compile("sgd", "mse")
        with pytest.raises(BudgetError, match="enable_ebops"):
            model.fit(X, Y, verbose=0, callbacks=[BetaSchedule(steps({0: 1.0}))])


class TestStopping:
    def test_at_a_threshold(self):
        model = made(bits=3.6)
        assert total_ebops(model) > 10
        history = model.fit(
            X, Y, epochs=4, verbose=0, callbacks=[StopAtEbops(total_ebops(model) * 2)]
        ).history
        assert len(history["loss"]) == 1
        history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[StopAtEbops(1)]).history
        assert len(history["loss"]) == 3

    def test_early_stopping_looks_within_the_budget_only(self):
        model = made()
        options = {"monitor": "loss", "patience": 1, "min_delta": 1e9, "restore_best_weights": True}
        above = EarlyStoppingUnderEbops(1, **options)
        assert len(model.fit(X, Y, epochs=4, verbose=0, callbacks=[above]).history["loss"]) == 4
        assert above.best_weights is None
        within = EarlyStoppingUnderEbops(1e9, **options)
        logs = model.fit(X, Y, epochs=9, verbose=0, callbacks=[within, EbopsLog()]).history
        assert 1 < len(logs["loss"]) < 9
        assert len(logs["ebops"]) == len(logs["loss"])

    @pytest.mark.parametrize("layers", [[QBatchNormDense], [QDense, QBatchNormalization]])
    def test_constants_that_follow_the_weights_are_counted_as_they_are_now(self, layers):
        """A step leaves them older than the weights."""
        given = x = keras.Input((4,))
        for cls in layers:
            x = cls(2)(x) if cls is not QBatchNormalization else cls()(x)
        model = keras.Model(given, x)
        model.compile("adam", "mse")
        callbacks = [StopAtEbops(1e9), EarlyStoppingUnderEbops(1e9, monitor="loss")]
        assert len(model.fit(X, Y, epochs=3, verbose=0, callbacks=callbacks).history["loss"]) == 1
        assert total_ebops(model) > 0
