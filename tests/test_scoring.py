"""Which labels name classes."""

import contextlib

import keras
import numpy as np
import pytest

from hgqify.data import open_source
from hgqify.errors import DataError
from hgqify.quality import refuse_unfit_labels
from hgqify.scoring import names_classes


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 2, 1], True),
        ([[0], [2], [1]], True),
        ([[1, 0, 0], [0, 0, 1]], True),
        ([0, 3], False),
        ([0.5, 1], False),
        ([[1, 1, 0], [0, 0, 1]], False),
        # Two numbers a sample: they name none of three classes, whichever of them is the larger.
        ([[0.3, 0.1], [2.0, 5.0]], False),
    ],
)
def test_labels_that_name_one_of_three_classes(labels, expected):
    assert names_classes(np.asarray(labels), 3) is expected


@pytest.mark.parametrize(
    ("labels", "fit"),
    [
        (np.array([[0, 1, 2], [2, 2, 2]]), True),  # a class for each step
        (np.array([[[0], [1], [2]], [[2], [2], [2]]]), True),
        (np.zeros((2, 3, 4)), True),
        (np.array([[0, 1, 4], [2, 2, 2]]), False),
        (np.array([[0, 1], [2, 2]]), False),
        (np.array([3, 1]), True),  # a class for each sample
        (np.array([4, 1]), False),
    ],
)
def test_labels_that_fit_an_output_of_steps(labels: np.ndarray, fit: bool) -> None:
    x = keras.Input((3, 4))
    source = open_source((np.zeros((2, 3, 4), np.float32), labels))
    with contextlib.nullcontext() if fit else pytest.raises(DataError, match="the labels fit no output"):
        refuse_unfit_labels(keras.Model(x, x), source)
