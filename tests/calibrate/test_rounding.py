"""The factor of the inverse Gram matrix, and the search for a price."""

import math

import numpy as np
import pytest

from hgqify.calibrate.rounding import inverse_factor
from hgqify.calibrate.search import largest_within


@pytest.mark.parametrize("size", [1, 5, 64, 65, 130, 300])
def test_the_factor_is_upper_triangular_and_its_square_the_inverse(size):
    x = np.random.default_rng(size).normal(size=(2, 2 * size + 3, size))
    gram = x.swapaxes(1, 2) @ x
    factor = inverse_factor(gram)
    np.testing.assert_array_equal(factor, np.triu(factor))
    identity = factor @ gram @ factor.swapaxes(1, 2)
    assert np.abs(identity - np.eye(size)).max() < 1e-9


@pytest.mark.parametrize("power", [0.05, 0.2, 1.0, 3.0])
@pytest.mark.parametrize("miss", [0.2, 0.9, 0.97, 1.03, 1.1, 5.0])
def test_a_known_amount_is_where_the_search_begins(power, miss):
    """Amounts fall with a power of the price; what the first price gives is not asked for again."""
    limit, start = 1_000_000, 1e-6
    asked = []

    def amount(price: float) -> tuple[int, float]:
        asked.append(price)
        return int(miss * limit * (price / start) ** -power), price

    known = amount(start)
    asked.clear()
    found = largest_within(amount, limit, start=start, enough=0.985, known=known)
    assert found is not None
    assert 0.985 * limit <= miss * limit * (found / start) ** -power <= limit + 1
    assert start not in asked
    assert len(asked) < 12
    assert all(math.isfinite(price) for price in asked)
