"""Which rows differ so much that one format cannot serve them."""

from dataclasses import dataclass

import keras
import numpy as np
import pytest

from hgqify.calibrate import row_sizes
from hgqify.data import open_source
from hgqify.graph import read


@dataclass(frozen=True, kw_only=True)
class Rows:
    key: str = "n"
    tensor: str = "twice"
    axes: tuple[int, ...] = (2,)
    epsilon: float = 0.0


def sizes(exponents: np.ndarray, *rows: Rows) -> dict[str, tuple[int, int]]:
    """Of rows of two elements, the larger one 1.5 * 2**exponent at the tensor 'twice'."""
    x = keras.Input((exponents.shape[1], 2), name="x")
    model = keras.Model(x, keras.layers.Rescaling(2.0, name="twice")(x))
    data = 0.75 * 2.0 ** exponents[..., None] * np.array([-1.0, 0.5])
    return row_sizes(read(model), rows or (Rows(),), open_source(data.astype(np.float32)))


def spread(*exponents: int) -> np.ndarray:
    return np.array(exponents * 10).reshape(10, -1)


def test_alike():
    assert sizes(spread(0, -1, -2, -3)) == {}


def test_unlike():
    assert sizes(spread(3, -1, -2, -4)) == {"n": (-4, 3)}


def test_a_few_small_rows_do_not_count():
    exponents = np.zeros((10, 10), int)
    exponents[0, :4] = -20
    assert sizes(exponents) == {}
    exponents[1, :2] = -20
    assert sizes(exponents) == {"n": (-10, 0)}  # as deep as the table of powers of two goes


def test_what_lies_below_epsilon_is_not_enlarged():
    assert sizes(spread(0, -9), Rows(epsilon=2.0**-4)) == {}
    assert sizes(spread(0, -9), Rows(epsilon=2.0**-10)) == {"n": (-5, 0)}


def test_calls_of_one_layer_count_together():
    one, other = spread(0, 0), spread(0, -6)
    both = np.concatenate([one, other], axis=1)
    assert sizes(both, Rows(), Rows(tensor="x")) == {"n": (-7, 0)}


def test_rows_of_zeros_have_no_size():
    x = keras.Input((3, 2), name="x")
    model = keras.Model(x, keras.layers.Rescaling(2.0, name="twice")(x))
    assert row_sizes(read(model), (Rows(),), open_source(np.zeros((4, 3, 2), np.float32))) == {}


@pytest.mark.parametrize("samples", [1, 300])
def test_any_number_of_samples(samples):
    exponents = np.tile(np.array([[0, -5]]), (samples, 1))
    assert sizes(exponents) == {"n": (-5, 0)}
