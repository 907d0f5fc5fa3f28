"""The user's own parts of a training reach it, and what does not fit is refused."""

import keras
import numpy as np
import pytest
from budget_cases import Case, make_case, mlp

from hgqify.data import open_source
from hgqify.errors import DataError, RuleError
from hgqify.finetune import Finetuned, FinetuneSettings, OwnTraining, finetune
from hgqify.finetune.optimizer import SplitOptimizer
from hgqify.layers import quantized_layers
from hgqify.training import exact_ebops

STEPS = 24


@pytest.fixture(scope="module")
def allocated() -> Case:
    return make_case(mlp, 0.1, compensate=False)


def truth(case: Case) -> np.ndarray:
    return (case.x[:, 0] > 0).astype(np.int64) + (case.x[:, 1] > 0.5)


def train(case: Case, own: OwnTraining, *, labels: bool = True, budget: bool = True, **settings) -> Finetuned:
    return finetune(
        case.model,
        case.clone,
        open_source(case.x, labels=truth(case) if labels else None),
        logits=(True,),
        settings=FinetuneSettings(**{"steps": STEPS, "batch_size": 32, "evaluations": 4} | settings),
        settle=case.settle,
        budget=case.budget if budget else None,
        own=own,
    )


def values(case: Case) -> list[np.ndarray]:
    return [np.array(v) for v in case.model.variables]


def differ(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return any((a != b).any() for a, b in zip(one, two, strict=True))


def _cross_entropy(labels, logits):
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


@pytest.mark.parametrize(
    "loss", [_cross_entropy, keras.losses.SparseCategoricalCrossentropy(from_logits=True)]
)
def test_an_own_loss_takes_the_labels_place(allocated, loss):
    """The same cross-entropy as a loss of one's own: the same training as with labels alone."""
    case, other = allocated.again(), allocated.again()
    own = train(case, OwnTraining(loss=loss), label_weight=1.0)
    labels = train(other, OwnTraining(), label_weight=1.0)
    np.testing.assert_allclose(own.report.start_loss, labels.report.start_loss, rtol=1e-5)
    assert own.report.loss < own.report.start_loss
    assert case.budget.allows(exact_ebops(case.model))


def test_a_loss_of_the_whole_batch_is_refused(allocated):
    """Weights of samples could not reach it."""
    own = OwnTraining(loss=lambda labels, logits: keras.ops.mean(_cross_entropy(labels, logits)))
    with pytest.raises(RuleError, match="one value for each sample"):
        train(allocated.again(), own)


def test_an_own_loss_of_regression():
    case = make_case(lambda: _regression(), 0.2, compensate=False)
    y = np.stack([case.x[:, 0] ** 2, case.x[:, 1]], axis=1).astype(np.float32)

    def run(own, labels, weight):
        found = case.again()
        return finetune(
            found.model,
            found.clone,
            open_source(found.x, labels=labels),
            logits=(False,),
            settings=FinetuneSettings(steps=60, batch_size=32, label_weight=weight),
            settle=found.settle,
            budget=found.budget,
            own=own,
        ).report

    report = run(OwnTraining(loss="mean_squared_error"), y, 1.0)
    clone = case.clone.predict_on_batch(case.x)
    assert report.start_loss > 0.5 * np.mean((clone - y) ** 2)  # far from the teacher's own loss
    assert report.loss < 0.9 * report.start_loss
    with pytest.raises(DataError, match="labels"):
        run(OwnTraining(loss="mean_squared_error"), None, 1.0)


def _regression() -> keras.Model:
    keras.utils.set_random_seed(1)
    given = keras.Input((8,), name="x")
    x = keras.layers.Dense(16, activation="relu", name="a")(given)
    return keras.Model(given, keras.layers.Dense(2, name="c")(x))


def test_an_own_optimizer_moves_weights_and_ours_the_widths(allocated):
    """With a rate of zero no weight moves, but widths do."""
    case = allocated.again()
    own = OwnTraining(optimizer=keras.optimizers.SGD(0.0))
    seen = {}

    class Look(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            if seen:
                return
            twin = self.model
            seen["kernel"] = np.array(twin.get_layer("a").kernel)
            seen["f"] = np.array(twin.get_layer("a").kq.f)

    start = case.twin()
    train(case, OwnTraining(optimizer=own.optimizer, callbacks=(Look(),)))
    np.testing.assert_array_equal(seen["kernel"], np.array(start.get_layer("a").kernel))
    assert (seen["f"] != np.array(start.get_layer("a").kq.f)).any()
    assert own.optimizer is not None
    assert not own.optimizer.built  # the user's own is only copied


def test_own_optimizer_rates_matter(allocated):
    found = []
    for rate in (1e-4, 3e-2):
        case = allocated.again()
        train(case, OwnTraining(optimizer=keras.optimizers.Adam(rate)), budget=False)
        found.append(values(case))
    assert differ(*found)


def test_two_optimizers_as_one_are_each_alone():
    a, b = keras.Variable([1.0, 2.0], name="a"), keras.Variable([3.0], name="b")
    split = SplitOptimizer(keras.optimizers.SGD(0.5), keras.optimizers.Adam(0.1), [b.path])
    split.build([a, b])
    split.apply([keras.ops.ones(2), keras.ops.ones(1)], [a, b])
    np.testing.assert_array_equal(np.asarray(a), [0.5, 1.5])
    alone = keras.Variable([3.0])
    adam = keras.optimizers.Adam(0.1)
    adam.apply([keras.ops.ones(1)], [alone])
    np.testing.assert_array_equal(np.asarray(b), np.asarray(alone))


def test_callbacks_hear_of_every_step_and_can_stop(allocated):
    class Count(keras.callbacks.Callback):
        def __init__(self, stop=None):
            super().__init__()
            self.steps, self.epochs, self.stop = 0, [], stop

        def on_train_batch_end(self, batch, logs=None):
            assert logs is not None
            assert "loss" in logs
            self.steps += 1
            if self.steps == self.stop:
                self.model.stop_training = True

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(epoch)

    count = Count()
    train(allocated.again(), OwnTraining(callbacks=[count]))
    assert count.steps == STEPS
    assert count.epochs == [0, 1]
    stopped = Count(5)
    report = train(allocated.again(), OwnTraining(callbacks=[stopped]), budget=False).report
    assert report.steps == 5


def test_augmentation_is_what_is_trained_on(allocated):
    """The teacher is asked about the changed inputs; the same seed changes them alike."""
    seen = []

    def flip(x, rng):
        seen.append(x.shape)
        return x * rng.choice([-1.0, 1.0], size=(len(x), 1))

    found = []
    for own in (OwnTraining(augment=flip), OwnTraining(augment=flip), OwnTraining()):
        case = allocated.again()
        report = train(case, own).report
        assert report.loss <= report.start_loss
        found.append(values(case))
    assert seen == [(32, 8)] * (2 * STEPS)
    assert not differ(found[0], found[1])
    assert differ(found[0], found[2])
    with pytest.raises(DataError, match="shapes"):
        train(allocated.again(), OwnTraining(augment=lambda x, rng: x[:, :4]))


def test_class_weights_reach_the_loss(allocated):
    """A class of weight zero has no say: its labels may be anything."""
    labels = truth(allocated)
    settings = {"label_weight": 1.0}
    found = []
    for wrong in (False, True):
        case = allocated.again()
        told = np.where((labels == 2) & wrong, 2, labels)
        x = np.where(((labels == 2) & wrong)[:, None], -case.x, case.x).astype(np.float32)
        finetune(
            case.model,
            case.clone,
            open_source(x, labels=told),
            logits=(True,),
            settings=FinetuneSettings(steps=STEPS, batch_size=32, **settings),
            settle=case.settle,
            own=OwnTraining(class_weight={2: 0.0}),
        )
        found.append(values(case))
    assert not differ(*found)
    with pytest.raises(DataError, match="class_weight needs labels"):
        train(allocated.again(), OwnTraining(class_weight={1: 2.0}), labels=False)


def test_features_reach_the_weights_stage_too(allocated):
    found = []
    for features in ({}, {"a": 1000.0}):
        case = allocated.again()
        train(case, OwnTraining(features=features), budget=False, labels=False, learning_rate=1e-2)
        found.append(values(case))
    assert differ(*found)


def test_features_come_closer_to_the_float_models(allocated):
    def error(case):
        outputs = [
            keras.Model(m.inputs, m.get_layer("a").output).predict_on_batch(case.x)
            for m in (case.clone, case.model)
        ]
        return float(np.mean((outputs[0] - outputs[1]) ** 2))

    case, without = allocated.again(), allocated.again()
    settings = {"label_weight": 0.0, "steps": 120}
    report = train(case, OwnTraining(features={"a": 1000.0}), **settings).report
    train(without, OwnTraining(), **settings)
    assert report.loss <= report.start_loss
    assert error(case) < error(without)
    assert len(case.model.outputs) == 1
    assert len(quantized_layers(case.model)) == len(quantized_layers(allocated.model))
    with pytest.raises(RuleError, match="Did you mean a"):
        train(allocated.again(), OwnTraining(features={"aa": 1.0}))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"optimizer": "adam"}, "optimizer"),
        ({"callbacks": [print]}, "callbacks"),
        ({"callbacks": keras.callbacks.Callback()}, "callbacks"),
        ({"augment": 3}, "augment"),
        ({"loss": "mean_squared_eror"}, "loss"),
        ({"class_weight": {0: -1.0}}, "class_weight"),
        ({"class_weight": {"0": 2.0}}, "class_weight"),  # would be the weight of no class
        ({"class_weight": "balanced"}, "class_weight"),
        ({"features": ["a"]}, "features"),
        ({"features": {"a": float("nan")}}, "features"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused(part, words):
    with pytest.raises(RuleError, match=words):
        OwnTraining(**part)
