"""Losses against their formulas."""

import keras
import numpy as np
import pytest

from hgqify.errors import DataError, RuleError
from hgqify.finetune import FinetuneSettings, Loss, make_loss
from hgqify.finetune.losses import class_probabilities
from hgqify.finetune.optimizer import RelativeAdam, relative_scale

RNG = np.random.default_rng(0)


def _softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _value(loss, teacher, student, labels=None):
    targets = keras.ops.convert_to_tensor(loss.targets(teacher, labels))
    return np.asarray(loss(targets, keras.ops.convert_to_tensor(student)))


@pytest.mark.parametrize("shape", [(6, 4), (6, 3, 4)])
def test_kl_is_the_divergence_and_zero_at_the_teacher(shape):
    teacher, student = RNG.normal(size=(2, *shape)).astype(np.float32)
    loss = make_loss(Loss.KL, teacher, 0.25)
    p, q = _softmax(teacher.astype(np.float64)), _softmax(student.astype(np.float64))
    expected = (p * np.log(p / q)).sum(axis=-1).reshape(6, -1).mean(axis=-1)
    np.testing.assert_allclose(_value(loss, teacher, student), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(_value(loss, teacher, teacher), 0, atol=1e-5)


def test_labels_add_their_cross_entropy():
    teacher, student = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    labels = RNG.integers(0, 4, 6)
    loss = make_loss(Loss.KL, teacher, 0.25)
    p, q = _softmax(teacher.astype(np.float64)), _softmax(student.astype(np.float64))
    kl = (p * np.log(p / q)).sum(axis=-1)
    ce = -np.log(q[np.arange(6), labels])
    found = _value(loss, teacher, student, labels)
    np.testing.assert_allclose(found, 0.75 * kl + 0.25 * ce, rtol=1e-4, atol=1e-5)


def test_squared_error_is_relative_to_the_variance():
    teacher, student = RNG.normal(size=(2, 50, 3)).astype(np.float32)
    loss = make_loss(Loss.MSE, teacher, 0.25)
    expected = ((student - teacher) ** 2).mean(axis=-1) / teacher.var()
    np.testing.assert_allclose(_value(loss, teacher, student), expected, rtol=1e-4)
    constant = np.ones((4, 2), np.float32)
    assert make_loss(Loss.MSE, constant).variance == 1


def test_labels_come_as_classes_or_probabilities():
    expected = np.eye(3)[[2, 0]]
    for labels in ([2, 0], [[2], [0]], np.float32([2, 0]), expected):
        np.testing.assert_array_equal(class_probabilities(np.asarray(labels), (2, 3)), expected)


@pytest.mark.parametrize("labels", [[3, 0], [-1, 0], [0.5, 0], [[0, 1]]])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(DataError, match="class numbers from 0 to 2"):
        class_probabilities(np.asarray(labels), (2, 3))


def test_relative_scale_is_per_channel():
    weight = np.array([[3.0, 0, 1], [4.0, 0, 1]])
    whole = np.sqrt(27 / 6)
    np.testing.assert_allclose(relative_scale(weight), [[np.sqrt(12.5), whole, 1]], rtol=1e-6)
    np.testing.assert_allclose(relative_scale(np.array([3.0, 4.0])), np.sqrt(12.5), rtol=1e-6)
    assert relative_scale(np.zeros(3)) == 0


def test_steps_are_relative_to_the_weights():
    small, large = (keras.Variable(np.full((2, 2), value, np.float32)) for value in (1e-3, 10.0))
    optimizer = RelativeAdam([small, large], learning_rate=0.01)
    optimizer.build([small, large])
    gradient = keras.ops.ones((2, 2))
    optimizer.apply([gradient, gradient], [small, large])
    # Adam's first step has the length of the learning rate.
    np.testing.assert_allclose(np.asarray(small), 0.99e-3, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(large), 9.9, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": -1},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"clip_norm": float("nan")},
        {"holdout": 1.0},
        {"label_weight": 1.5},
        {"evaluations": True},
        {"width_gradient_part": 0},
    ],
)
def test_wrong_settings_are_refused(arguments):
    with pytest.raises(RuleError, match=next(iter(arguments))):
        FinetuneSettings(**arguments)


def test_whole_numbers_of_numpy_are_taken():
    settings = FinetuneSettings(steps=np.int64(3), seed=np.uint8(7))  # pyright: ignore[reportArgumentType]
    assert (settings.steps, settings.seed) == (3, 7)
    assert type(settings.steps) is type(settings.seed) is int
