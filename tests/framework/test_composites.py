"""Layers made of layers: Keras' formulas at wide formats; Keras = reference = C simulation at narrow ones."""

import keras
import numpy as np
import pytest
from autodiff import numpy
from peers.branches import IO_TYPES, Joined, assemble

from hgqify import layers as q
from hgqify.config import QuantizerConfigScope
from hgqify.errors import RuleError
from hgqify.layers import refresh
from hgqify.layers.pow2 import nearest_shift
from hgqify.precision import lower
from hgqify.reference import run

STREAMS = QuantizerConfigScope(place="datalane", heterogeneous_axis=())
# Products of two tensors need whole arrays.
PARALLEL_ONLY = {"attention", "causal", "linformer"}
FLOATS = ("kernel", "bias", "gamma", "beta", "moving_mean")


def branch(shape, make):
    def build():
        x = keras.Input(shape)
        with STREAMS:
            return [x], [make(q.Quantize()(x))]

    return build


BRANCHES = {
    "attention": branch((3, 4), lambda x: q.multi_head_attention(x, num_heads=2, key_dim=2, name="mha")),
    "causal": branch(
        (3, 4),
        lambda x: q.multi_head_attention(
            x, num_heads=1, key_dim=3, value_dim=2, output_dim=2, causal=True, use_bias=False, name="causal"
        ),
    ),
    "linformer": branch(
        (4, 3), lambda x: q.linformer_attention(x, projected=2, num_heads=2, key_dim=2, name="lin")
    ),
    "simple_rnn": branch((3, 2), lambda x: q.simple_rnn(x, 3, return_sequences=True, name="rnn")),
    "gru": branch((3, 2), lambda x: q.gru(x, 2, go_backwards=True, name="gru")),
    "einsum-rows": branch((3, 4), lambda x: q.QEinsumDense("btc,chd->bthd", (None, 2, 3), bias_axes="hd")(x)),
    "einsum-groups": branch(
        (3, 2, 4), lambda x: q.QEinsumDense("btgc,gcd->btgd", (3, 2, 5), bias_axes="gd", activation="relu")(x)
    ),
    "einsum-summed": branch((2, 3), lambda x: q.QEinsumDense("bhd,hdo->bo", 4, bias_axes="o")(x)),
    "einsum-bias-of-rows": branch((3, 4), lambda x: q.QEinsumDense("btc,cd->btd", (3, 2), bias_axes="t")(x)),
    "batchnorm-dense": branch((4,), lambda x: q.QBatchNormDense(3, activation="relu")(x)),
    "batchnorm-einsum": branch((3, 4), lambda x: q.QEinsumDenseBatchnorm("btc,cd->btd", (3, 2))(x)),
    "mean-pow2": branch((3, 2), lambda x: q.QMeanPow2(axis=1)(x)),
    "average-pow2": branch((4,), lambda x: q.QAveragePow2()([x, q.QDense(4)(x), q.QDense(4)(x)])),
}


@pytest.fixture(scope="module")
def joined() -> Joined:
    keras.utils.set_random_seed(0)
    model, places = assemble(BRANCHES)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        name = variable.path.split("/")[-1]
        if name in FLOATS:
            variable.assign(rng.normal(size=variable.shape) * 0.7)
        elif name == "moving_variance":
            variable.assign(rng.uniform(0.3, 3, variable.shape))
    refresh(model)
    return Joined(model=model, program=lower(model), places=places)


def test_keras_is_the_reference(joined):
    wrong = {name: str(outcome) for name, outcome in joined.keras().items() if not outcome.exact}
    assert not wrong


def test_the_firmware_is_the_reference(joined, tmp_path):
    found = joined.simulate(tmp_path)
    for io_type in IO_TYPES:
        refused = {name for name, outcome in found[io_type].items() if outcome.refused}
        assert refused <= (PARALLEL_ONLY if io_type == "io_stream" else set()), found[io_type]
        wrong = {n: str(o) for n, o in found[io_type].items() if not o.exact and not o.refused}
        assert not wrong
    assert set(found["io_parallel"]) == set(BRANCHES)


FINE = (
    QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="SAT", i0=4, f0=12),
    QuantizerConfigScope(place=("weight", "bias", "table"), default_q_type="kbi", i0=2, b0=16),
)


class TestFormulas:
    """At formats so wide that rounding hardly shows, the functions are Keras' layers."""

    def compare(self, ours, layer, x, atol=0.02):
        np.testing.assert_allclose(
            ours.predict(x, verbose=0), keras.ops.convert_to_numpy(layer(x)), atol=atol
        )

    def test_simple_rnn(self):
        x = keras.Input((3, 2))
        with FINE[0], FINE[1]:
            ours = keras.Model(x, q.simple_rnn(x, 3, return_sequences=True, name="r"))
        layer = keras.layers.SimpleRNN(3, return_sequences=True)
        data = np.random.default_rng(0).normal(size=(8, 3, 2)).astype(np.float32)
        layer(data)
        kernel, recurrent, _ = layer.get_weights()
        bias = np.array([0.1, -0.2, 0.3], np.float32)
        layer.set_weights([kernel, recurrent, bias])
        ours.get_layer("r_kernel").kernel.assign(kernel)
        ours.get_layer("r_kernel").bias.assign(bias)
        ours.get_layer("r_recurrent").kernel.assign(recurrent)
        refresh(ours)
        self.compare(ours, layer, data)

    def test_gru(self):
        x = keras.Input((3, 2))
        with FINE[0], FINE[1]:
            ours = keras.Model(x, q.gru(x, 2, name="g", go_backwards=True))
        layer = keras.layers.GRU(2, go_backwards=True)
        rng = np.random.default_rng(1)
        data = rng.normal(size=(8, 3, 2)).astype(np.float32)
        layer(data)
        kernel, recurrent, bias = layer.get_weights()
        bias[0] = rng.normal(size=bias[0].shape) * 0.3
        layer.set_weights([kernel, recurrent, bias])
        for n, gate in enumerate("zrc"):
            part = slice(2 * n, 2 * n + 2)
            ours.get_layer(f"g_{gate}_kernel").kernel.assign(kernel[:, part])
            ours.get_layer(f"g_{gate}_kernel").bias.assign(bias[0][part])
            ours.get_layer(f"g_{gate}_recurrent").kernel.assign(recurrent[:, part])
        refresh(ours)
        self.compare(ours, layer, data)

    def test_attention(self):
        x, y = keras.Input((3, 4)), keras.Input((5, 4))
        with FINE[0], FINE[1]:
            result = q.multi_head_attention(x, y, num_heads=2, key_dim=3, causal=True, name="a")
            ours = keras.Model([x, y], result)
        layer = keras.layers.MultiHeadAttention(2, 3)
        rng = np.random.default_rng(2)
        data = [rng.normal(size=(8, *s)).astype(np.float32) for s in ((3, 4), (5, 4))]
        expected = layer(*data, use_causal_mask=True)
        named = {v.path.split("/")[-2]: v for v in layer.variables if v.path.endswith("kernel")}
        for part in ("query", "key", "value"):
            scale = 3**-0.5 if part == "query" else 1
            ours.get_layer(f"a_{part}").kernel.assign(np.asarray(named[part]) * scale)
        ours.get_layer("a").kernel.assign(named["attention_output"])
        refresh(ours)
        np.testing.assert_allclose(ours.predict(data, verbose=0), numpy(expected), atol=0.02)


def test_they_train_and_stay_exact():
    keras.utils.set_random_seed(3)
    x = keras.Input((3, 4))
    h = q.multi_head_attention(q.QEinsumDenseBatchnorm("btc,cd->btd", (3, 4))(x), num_heads=1, key_dim=2)
    model = keras.Model(x, q.QBatchNormDense(2)(q.simple_rnn(h, 2, use_bias=False)))
    model.compile("adam", "mse")
    rng = np.random.default_rng(3)
    data = rng.normal(size=(16, 3, 4)).astype(np.float32)
    before = [np.array(v) for v in model.trainable_variables]
    model.fit(data, rng.normal(size=(16, 2)), batch_size=8, epochs=2, verbose=0)
    moved = [np.any(np.asarray(v) != old) for v, old in zip(model.trainable_variables, before, strict=True)]
    assert sum(moved) > len(moved) / 2
    refresh(model)
    (expected,) = run(lower(model), [data]).values
    np.testing.assert_array_equal(model.predict(data, verbose=0), expected)


@pytest.mark.parametrize(
    ("count", "shift"), [(1, 0), (2, 1), (3, 2), (5, 2), (6, 3), (11, 3), (12, 4), (64, 6)]
)
def test_the_nearest_shift(count, shift):
    assert nearest_shift(count) == shift == round(np.log2(count))


@pytest.mark.parametrize(
    "make",
    [
        lambda: q.simple_rnn(keras.Input((None, 2)), 3),
        lambda: q.multi_head_attention(keras.Input((4,)), num_heads=1, key_dim=2),
        lambda: q.linformer_attention(keras.Input((4, 2)), projected=2, num_heads=1, key_dim=2, causal=True),
        lambda: q.QBatchNormDense(2, use_bias=True),
        lambda: q.QEinsumDenseBatchnorm("btc,cd->btd", (3, 2), bias_axes="d"),
        lambda: q.QEinsumDenseBatchnorm("btc,cd->bdt", (2, 3))(keras.Input((3, 4))),
        lambda: q.QMeanPow2(axis=5)(keras.Input((3,))),
        lambda: q.QEinsumDense("btc,bcd->btd", (3, 2))(keras.Input((3, 4))),
        lambda: q.QEinsumDense("btc,cd->bd", 2)(keras.Input((3, 4))),
        lambda: q.QEinsumDense("...c,cd->...d", (3, 2))(keras.Input((3, 4))),
    ],
)
def test_mistakes(make):
    with pytest.raises(RuleError):
        make()
