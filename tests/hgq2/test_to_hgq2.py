"""Our models in HGQ2 and back: the same codes on either side."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from peer_models import assert_there_and_back, inputs, path_of, predicted

from hgqify import layers as q
from hgqify.config import QuantizerConfigScope
from hgqify.errors import BitExactnessError, UnsupportedLayerError
from hgqify.hgq2 import import_model, peer, to_hgq2

pytest.importorskip("hgq")


def images() -> keras.Model:
    x = keras.Input((6, 6, 2))
    y = q.QConv2D(4, 3, groups=2, activation="relu", oq_conf={"f0": 3})(q.Quantize()(x))
    y = q.QBatchNormalization()(y)
    y = q.QAveragePooling2D(2)(q.QMaxPooling2D(1)(y))
    y = q.QMean(axis=[1, 2], oq_conf={"f0": 4})(y)
    return keras.Model(x, q.QBatchNormDense(3)(keras.layers.Flatten()(y)))


def sequences() -> keras.Model:
    x = keras.Input((4, 3))
    y = q.QEinsumDenseBatchnorm("btc,cd->btd", (4, 4), activation="relu")(q.Quantize()(x))
    y = q.QAverage()([y, q.QActivation("tanh")(q.QEinsumDense("btc,cd->btd", (4, 4), bias_axes="d")(y))])
    with (
        QuantizerConfigScope(place="datalane", i0=5, f0=6),
        QuantizerConfigScope(place="table", default_q_type="kbi", k0=0, i0=1, b0=7, overflow_mode="SAT"),
    ):
        weights = q.softmax(q.QEinsum("btc,bsc->bts")([y, y]), name="weights")
    y = q.QEinsum("bts,bsc->btc", oq_conf={"f0": 4})([weights, y])
    y = q.QActivation("relu", oq_conf={"f0": 3})(q.QConv1D(3, 2, padding="causal")(y))
    return keras.Model(x, q.QSum(axis=1, oq_conf={"i0": 6, "f0": 2})(y))


BY_HAND: dict[str, Callable[[], keras.Model]] = {"images": images, "sequences": sequences}


@pytest.mark.parametrize("name", BY_HAND)
def test_models_by_hand_there_and_back(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    with QuantizerConfigScope(place="datalane", i0=3, f0=5, overflow_mode="SAT", heterogeneous_axis=()):
        ours = BY_HAND[name]()
    rng = np.random.default_rng(0)
    for variable in ours.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif variable.name in ("moving_mean", "bias"):
            variable.assign(0.3 * rng.normal(size=variable.shape))
    q.refresh(ours)
    x = inputs(ours)
    y = predicted(ours, x)
    assert len(np.unique(y)) > 10
    assert_there_and_back(ours, x, y, tmp_path)


def test_a_stored_scale_is_kept_whatever_division_gives() -> None:
    x = keras.Input((3,))
    layer = q.QBatchNormalization()
    ours = keras.Model(x, layer(x))
    layer.refresh()
    layer.stored.store(np.float32([[0.3, 1.1, -2.7], [0.5, 0.25, 1.0]]), layer.stored.source)
    values = inputs(ours)
    np.testing.assert_array_equal(predicted(to_hgq2(ours), values), predicted(ours, values))


def test_everything_that_hgq2_lacks_is_named_at_once() -> None:
    x = keras.Input((6, 6, 3))
    y = q.QDepthwiseConv2D(2)(x)
    y = q.QAveragePooling2D(3, strides=2)(y)
    y = q.QMask(mask=np.arange(3) > 0)(y)
    y = q.QActivation("leaky_relu", activation_params={"negative_slope": 0.125})(y)
    with pytest.raises(UnsupportedLayerError) as caught:
        to_hgq2(keras.Model(x, y))
    for word in ("4 layers", "groups", "power of two", "masks", "defaults"):
        assert word in str(caught.value)


def test_a_table_that_differs_is_told() -> None:
    x = keras.Input((3,))
    layer = q.QActivation("tanh")
    ours = keras.Model(x, layer(x))
    layer.refresh()
    layer.stored.value.assign(-peer.numpy(layer.stored.value))
    with pytest.raises(BitExactnessError, match="table"):
        to_hgq2(ours)


def test_hgq2_can_train_what_it_is_given() -> None:
    theirs = to_hgq2(import_model(path_of("residual")))
    x = inputs(theirs, 32)
    theirs.compile("sgd", "mse")
    before = predicted(theirs, x)
    theirs.fit(x[0] / 100, np.ones((32, 3), np.float32), epochs=1, verbose=0)
    assert not np.array_equal(predicted(theirs, x), before)
