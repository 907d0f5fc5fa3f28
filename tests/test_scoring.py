"""Which labels name classes."""

import numpy as np
import pytest

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
