"""Every defect that fuzzed conversions found, as the smallest model that showed it."""

import keras
import numpy as np
import pytest
from check import Tally
from convert_check import check_conversion
from float_drawing import FloatNetwork

kl = keras.layers


def network(*layers: keras.layers.Layer, shape: tuple[int, ...] = (4,)) -> FloatNetwork:
    """Layers one behind the other."""
    x = y = keras.Input(shape)
    for layer in layers:
        y = layer(y)

    def samples(rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.normal(size=(count, *shape)).astype(np.float32)

    return FloatNetwork(number=0, model=keras.Model(x, y), makers=(samples,), drawn=(), log=())


@pytest.mark.parametrize("granularity", ["tensor", "element"])
def test_what_wraps_as_sign_and_magnitude_has_a_sign(granularity):
    """Data that was never negative got unsigned formats, which do not wrap that way: lowering raised."""
    settings = {"overflow": "WRAP_SM", "activation_granularity": granularity}
    net = network(kl.ReLU(), kl.Dense(3))
    check_conversion(net, settings, Tally())
