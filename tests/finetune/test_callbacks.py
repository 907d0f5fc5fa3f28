"""The budget's callbacks in plain `keras.Model.fit`, on models made by hand."""

import keras
import numpy as np
import pytest

from hgqify.errors import BudgetError, RuleError
from hgqify.finetune import BudgetController, EbopsLog, PriceController
from hgqify.finetune.callbacks import counted_ebops, penalties, set_price
from hgqify.layers import QDense, quantized_layers, total_ebops
from hgqify.quantizers import QuantizerConfig

RNG = np.random.default_rng(0)
X = RNG.normal(size=(512, 8)).astype(np.float32)
Y = np.stack([np.maximum(X[:, 0] - X[:, 1], 0) + 0.3 * X[:, 2], np.tanh(X[:, 3] + X[:, 4])], 1)


class Watch(keras.callbacks.Callback):
    """Calls a function of the model after every step; `self.model` brings its variables up to date."""

    def __init__(self, look) -> None:
        super().__init__()
        self.look, self.seen = look, []

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.seen.append(self.look(self.model))


def ebops_of(made) -> float:
    return sum(counted_ebops(made).values())


def price_of(made) -> float:
    return float(np.asarray(made.get_layer("a").penalty.beta))


def model(enable_ebops=True, rate=2e-2) -> keras.Model:
    """Widths of every weight and every element are trained."""
    keras.utils.set_random_seed(0)
    options = {
        "enable_ebops": enable_ebops,
        "beta0": 0.0,
        "kq_conf": QuantizerConfig("kif", "weight", f0=6, homogeneous_axis=()),
        "iq_conf": QuantizerConfig("kif", "datalane", overflow_mode="WRAP", f0=6, homogeneous_axis=(0,)),
    }
    made = keras.Sequential(
        [
            keras.Input((8,)),
            QDense(16, activation="relu", name="a", **options),
            QDense(2, name="b", **options),
        ]
    )
    made.compile(optimizer=keras.optimizers.Adam(rate, beta_2=0.99), loss="mse")
    made(X, training=True)  # ranges
    rng = np.random.default_rng(1)
    for layer in quantized_layers(made):
        for f in (layer.kq.f, layer.iqs[0].f):  # or all of them would lose a bit in the same step
            f.assign(np.asarray(f) + rng.uniform(-0.45, 0.45, f.shape))
    return made


def fit(made, *callbacks, epochs=30, **options):
    return made.fit(
        X, Y, batch_size=64, epochs=epochs, callbacks=list(callbacks), verbose=0, shuffle=False, **options
    ).history


@pytest.mark.parametrize(("part", "ramp"), [(0.3, 200), (0.6, 100)])
def test_ebops_arrive_at_the_target_and_stay(part, ramp):
    made = model()
    target = part * total_ebops(made)
    controller = BudgetController(target, ramp=ramp)
    history = fit(made, EbopsLog(), controller, epochs=60)
    last = np.array(history["ebops"][-10:])
    assert (np.abs(last / target - 1) < 0.12).all()
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert controller.state is not None
    prices = [float(np.asarray(penalty.beta)) for penalty in penalties(made).values()]
    assert prices == [np.float32(controller.state.price)] * 2


def test_a_ramp_is_gentle():
    """Far from the target, a price that takes all bits at once ruins the model; a moving target does not."""
    worst = {}
    for ramp in (0, 100):
        made = model()
        target = 0.3 * total_ebops(made)
        history = fit(made, EbopsLog(), BudgetController(target, ramp=ramp), epochs=20)
        worst[ramp] = max(history["loss"])
        assert history["ebops"][-1] < 1.25 * target
    assert worst[100] < 0.05 * worst[0]


@pytest.mark.parametrize("ramp", [-1, 2.5, True])
def test_a_ramp_is_a_number_of_steps(ramp):
    with pytest.raises(RuleError, match="whole number"):
        BudgetController(1000, ramp=ramp)
    with pytest.raises(RuleError, match="whole number"):
        BudgetController(1000, every=ramp)


def test_without_a_price_ebops_do_not_move_there():
    """What the controller is for: the same training at a price of nothing stays far above."""
    made = model()
    target = 0.3 * total_ebops(made)
    history = fit(made, EbopsLog(), epochs=20)
    assert history["ebops"][-1] > 2 * target


def test_more_ebops_than_there_are_lower_the_price():
    made = model()
    controller = BudgetController(10 * total_ebops(made), price=1e-6)
    fit(made, controller, epochs=2)
    assert controller.state is not None
    assert controller.state.price < 1e-6


def test_the_log_tells_what_the_layers_counted():
    made = model()
    watch = Watch(ebops_of)
    history = fit(made, watch, EbopsLog(), epochs=3)
    assert history["ebops"] == watch.seen[7::8]
    # Counted at the start of a step: with weights that no longer move, it is what the layers count exactly.
    made.optimizer.learning_rate = 0.0
    assert fit(made, EbopsLog(), epochs=1)["ebops"] == [total_ebops(made)]


def test_the_log_is_there_for_those_after_it():
    """A checkpoint by EBOPs, or early stopping, can read them."""
    made = model()
    seen = []
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["ebops"]))
    history = fit(made, EbopsLog(), after, epochs=2)
    assert seen == history["ebops"]


def test_prices_are_changed_every_so_many_steps():
    made, watch = model(), Watch(price_of)
    # From near the target: a price at its bound would not change.
    fit(made, BudgetController(0.98 * total_ebops(made), every=4), watch, epochs=2)
    changed = np.flatnonzero(np.diff(watch.seen)) + 1
    assert set(changed) <= {3, 7, 11, 15}
    assert len(changed) >= 3


def test_training_goes_on_from_where_the_controller_is():
    """Two fits with one controller: the second does not start from the first price again."""
    made = model()
    controller = BudgetController(0.5 * total_ebops(made))
    fit(made, controller, epochs=10)
    assert controller.state is not None
    price, step = controller.state.price, controller.step
    assert price != controller.controller.base
    controller.on_train_begin()
    assert price_of(made) == np.float32(price)
    fit(made, controller, epochs=1)
    assert controller.step == step + 8


@pytest.mark.parametrize("quantized", [True, False])
def test_nothing_with_a_price_is_refused(quantized):
    made = model(enable_ebops=False) if quantized else keras.Sequential([keras.layers.Dense(2)])
    made.compile(optimizer="adam", loss="mse")
    with pytest.raises(BudgetError, match=r"price of EBOPs.*enable_ebops=True"):
        fit(made, BudgetController(1000), epochs=1)


@pytest.mark.parametrize("target", [0, -5, float("nan"), float("inf")])
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(RuleError, match="must be positive"):
        BudgetController(target)
    with pytest.raises(RuleError, match="must be positive"):
        BudgetController(target, price=1e-3)


def test_a_price_of_nothing_is_refused():
    with pytest.raises(RuleError, match="must be positive"):
        BudgetController(1000, price=0.0)


def test_a_layer_that_collapses_is_an_error():
    """A price beyond all reason trains all bits away."""
    made = model(rate=0.5)
    controller = BudgetController(10, controller=PriceController(base=1e6, gain=1e-3, rate=1e-3))
    with pytest.raises(BudgetError, match=r"trained away at step \d+.*lower price") as caught:
        fit(made, controller, epochs=50)
    assert caught.value.where in ("a", "b")
    assert counted_ebops(made)[caught.value.where] == 0


def test_a_collapse_can_be_heard_of_instead():
    made = model(rate=0.5)
    heard = []

    def hear(collapse):
        heard.append(collapse)
        made.stop_training = True

    controller = BudgetController(
        10, controller=PriceController(base=1e6, gain=1e-3, rate=1e-3), collapsed=hear
    )
    fit(made, controller, epochs=50)
    (collapse,) = heard
    assert collapse.step == controller.step
    assert counted_ebops(made)[collapse.layer] == 0
    controller.calm()
    assert controller.state is None
    assert controller.controller.base == 1e5
    assert price_of(made) == 1e5


def test_prices_of_what_is_not_trained_do_not_count():
    """As with regularizers: a frozen penalty adds no loss, and its layer's EBOPs are no part of the sum."""
    made = model()
    made.get_layer("a").penalty.trainable = False
    made.compile(optimizer="adam", loss="mse")
    set_price(made, 1.0)
    history = fit(made, EbopsLog(), epochs=1)
    counted = counted_ebops(made)
    assert set(counted) == {"b"}
    assert history["ebops"] == [counted["b"]]
    assert {layer.name for layer in quantized_layers(made)} == {"a", "b"}
