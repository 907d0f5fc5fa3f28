"""The Quantizer layer: equal to fixed with its own state, trainable, saved and loaded."""

import keras
import numpy as np
import pytest
from autodiff import numpy, value_and_gradients, variable_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from hgqify import fixed
from hgqify.errors import PrecisionError, RuleError
from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers import EXPONENT_LIMIT, Quantizer, QuantizerConfig, int_bits, rounds_negative, ste_round

SHAPE = (6, 3, 4)
MODES = [mode for mode in Rounding if not mode.is_stochastic]


def data(seed=0, scale=3.0, shape=SHAPE):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def expected(x, state):
    return fixed.quantize(x, state.k, state.i, state.f, state.rounding, state.overflow)


AXES = [
    {"homogeneous_axis": (0,)},
    {"homogeneous_axis": (0, -1)},
    {"heterogeneous_axis": (-1,)},
    {"heterogeneous_axis": ()},
]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("q_type", ["kif", "kbi"])
@pytest.mark.parametrize("place", ["datalane", "weight"])
def test_values_equal_fixed_with_the_state(place, q_type, overflow, axes):
    config = QuantizerConfig(q_type, place, overflow_mode=overflow, i0=0, f0=3, b0=4, **axes)
    quantizer = Quantizer(config)
    quantizer.build((None, *SHAPE[1:]) if place == "datalane" else SHAPE)
    rng = np.random.default_rng(1)
    shape = quantizer.width_shape
    quantizer.set_state(i=rng.integers(-1, 2, shape), f=rng.integers(0, 4, shape))
    x = data()
    for training in (False, True, False):
        # The state after a training call is the one it was made with.
        got = numpy(quantizer(x, training=training))
        state = quantizer.state(x)
        np.testing.assert_array_equal(got, expected(x, state))
        for part in (state.k, state.i, state.f):
            assert part.dtype == np.int64
            np.broadcast_to(part, SHAPE[1:] if place == "datalane" else SHAPE)


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", MODES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_derived_range_never_overflows_and_is_least(rounding, overflow, seed):
    rng = np.random.default_rng(seed)
    f = rng.integers(-6, 20, 64)
    w = (rng.normal(size=64) * 2.0 ** rng.integers(-20, 10, 64)).astype(np.float32)
    w[:16] = np.ldexp(rng.choice([-1, 1], 16), -f[:16] + rng.integers(-2, 9, 16))
    w[16:20] = 0
    i = int_bits(w, w, f, rounding=rounding, overflow=overflow)
    k = rounds_negative(w, f, rounding=rounding).astype(int)
    free = fixed.quantize(w, 1, 40 - f, f, rounding, Overflow.SAT)
    np.testing.assert_array_equal(
        fixed.quantize(w, k, i, f, rounding, overflow if k.all() else Overflow.SAT), free
    )
    if overflow is not Overflow.WRAP_SM:
        np.testing.assert_array_equal(fixed.quantize(w, k, i, f, rounding, overflow), free)
    alive = free != 0
    np.testing.assert_array_equal(i[~alive], -f[~alive])
    narrower = fixed.quantize(
        w, k, i - 1, f, rounding, Overflow.SAT_SYM if overflow.saturates else Overflow.SAT
    )
    assert np.all(narrower[alive] != free[alive])


def test_derived_range_without_sign_under_wrap_sm():
    """Positive weights have no sign, and WRAP_SM does not exist without one: nothing wraps, so WRAP does."""
    config = QuantizerConfig(q_type="kif", place="weight", overflow_mode="WRAP_SM", homogeneous_axis=())
    quantizer = Quantizer(config)
    quantizer.build((3,))
    weights = np.asarray([0.5, -0.25, 0.0], np.float32)
    state = quantizer.state(weights)
    assert state.overflow is Overflow.WRAP
    np.testing.assert_array_equal(state.k, [0, 1, 0])
    np.testing.assert_array_equal(numpy(quantizer(weights)), expected(weights, state))


def test_int_bits_of_huge_and_tiny_values():
    np.testing.assert_array_equal(
        int_bits([-1e38, 0, 0, -1e-45], [0, 1e38, 1e-45, 0], [10, 10, 0, 3]), [127, 127, 0, -3]
    )
    np.testing.assert_array_equal(int_bits(-1e-45, 0, 3, rounding=Rounding.TRN), -3)
    assert rounds_negative(-1e-45, 3, rounding=Rounding.TRN)
    assert not rounds_negative(-1e-45, 3, rounding=Rounding.RND)
    # -2**n needs one bit less than 2**n, unless the range is symmetric.
    assert int_bits(-4.0, 3.9375, 4) == 2
    assert int_bits(-4.0, 3.9375, 4, overflow=Overflow.SAT_SYM) == 3
    assert int_bits(-4.0, 3.97, 4) == 3


@pytest.mark.parametrize(
    "axes", [{"homogeneous_axis": ()}, {"heterogeneous_axis": (-1,)}, {"heterogeneous_axis": ()}]
)
def test_weight_kif_is_pure_rounding(axes):
    quantizer = Quantizer(QuantizerConfig("kif", "weight", f0=3, **axes))
    w = data(2, 50.0)
    w[0] = np.abs(w[0])
    w[:, :, 0] *= 1e-3
    got = numpy(quantizer(w))
    np.testing.assert_array_equal(got, fixed.quantize(w, 1, 20, 3, Rounding.RND, Overflow.WRAP))
    state = quantizer.state(w)
    np.testing.assert_array_equal(got, expected(w, state))
    assert [v.path.split("/")[-1] for v in quantizer.variables] == ["f"]
    if axes.get("homogeneous_axis") == ():
        np.testing.assert_array_equal(state.k == 1, got < 0)
        # Without sign: the bits of |code|; for -2**n also.
        codes = np.abs(got * 8).astype(np.int64)
        np.testing.assert_array_equal(numpy(quantizer.bits(w)), fixed.bit_length(codes))


@pytest.mark.parametrize("max_bits", [1, 3, 6])
def test_max_bits_limits_derived_widths(max_bits):
    quantizer = Quantizer(QuantizerConfig("kif", "weight", f0=9, max_bits=max_bits, heterogeneous_axis=(0,)))
    w = np.array([[0.97, 0.1], [-0.999, 0.4], [3.9, 1], [1e-3, -1e-4], [0, 0]], np.float32)
    got = numpy(quantizer(w))
    state = quantizer.state(w)
    assert np.all(state.i + state.f <= max_bits)
    np.testing.assert_array_equal(got, expected(w, state))
    assert np.all(got[0] != 0) or max_bits < 4


def test_max_bits_limits_data():
    x = data()
    for q_type in ("kif", "kbi"):
        for overflow in ("WRAP", "SAT"):
            config = QuantizerConfig(q_type, f0=20, b0=20, i0=5, max_bits=8, overflow_mode=overflow)
            quantizer = Quantizer(config)
            got = numpy(quantizer(x, training=True))
            state = quantizer.state()
            assert np.all(state.i + state.f == 8)
            np.testing.assert_array_equal(got, expected(x, state))


def test_tracked_range_is_the_running_maximum():
    quantizer = Quantizer(QuantizerConfig(k0=0, i0=-5, f0=2, heterogeneous_axis=(1,)))
    quantizer(np.array([[0.7, 0.1]], np.float32), training=True)
    np.testing.assert_array_equal(quantizer.state().i, [0, -5])
    quantizer(np.array([[3.8, -0.5]], np.float32), training=False)
    np.testing.assert_array_equal(quantizer.state().i, [0, -5])
    # 3.9 rounds to 4, which needs three bits; -0.5 fits in none beside its sign, and turns k on.
    quantizer(np.array([[3.9, -0.5], [0.1, 0]], np.float32), training=True)
    np.testing.assert_array_equal(quantizer.state().i, [3, -1])
    np.testing.assert_array_equal(quantizer.state().k, [0, 1])
    quantizer(np.array([[0.1, 0.1]], np.float32), training=True)
    np.testing.assert_array_equal(quantizer.state().i, [3, -1])
    np.testing.assert_array_equal(numpy(quantizer.bits()), [5, 1])
    quantizer.trainable = False
    quantizer(np.array([[100, 100]], np.float32), training=True)
    np.testing.assert_array_equal(quantizer.state().i, [3, -1])
    quantizer.reset_range()
    np.testing.assert_array_equal(quantizer.state().k, [0, 0])
    np.testing.assert_array_equal(numpy(quantizer(np.ones((1, 2), np.float32))), [[0, 0]])


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), q_type=st.sampled_from(["kif", "kbi"]))
def test_values_seen_in_training_never_wrap_afterwards(seed, q_type):
    rng = np.random.default_rng(seed)
    mode = (Rounding.RND, Rounding.RND_INF, Rounding.TRN)[rng.integers(3)]
    config = QuantizerConfig(
        q_type, i0=-3, f0=2, b0=int(rng.integers(1, 8)), round_mode=mode, heterogeneous_axis=(1,)
    )
    quantizer = Quantizer(config)
    x = (rng.normal(size=(16, 4)) * 2.0 ** rng.integers(-4, 8, 4)).astype(np.float32)
    x[0] = 2.0 ** rng.integers(-2, 5, 4) - 2.0**-4
    trained = numpy(quantizer(x, training=True))
    state = quantizer.state()
    np.testing.assert_array_equal(numpy(quantizer(x)), trained)
    np.testing.assert_array_equal(trained, fixed.quantize(x, 1, 30 - state.f, state.f, mode, Overflow.SAT))


def test_dead_widths_give_zero():
    for overflow in Overflow:
        quantizer = Quantizer(QuantizerConfig(overflow_mode=overflow))
        quantizer.build((None, 4))
        quantizer.set_state(k=1, i=-4, f=3)
        np.testing.assert_array_equal(numpy(quantizer(data(shape=(5, 4)))), np.zeros((5, 4)))
        np.testing.assert_array_equal(numpy(quantizer.bits()), np.zeros(4))


def test_widths_round_to_the_nearest_integer():
    quantizer = Quantizer(QuantizerConfig("kif", overflow_mode="SAT", homogeneous_axis=(0, 1)))
    quantizer.build((None, 4))
    quantizer.set_state(i=1.6, f=2.4)
    state = quantizer.state()
    assert (state.i.item(), state.f.item()) == (2, 2)
    np.testing.assert_array_equal(numpy(quantizer.bits()), [4])


@pytest.mark.parametrize("q_type", ["kif", "kbi"])
def test_set_state_assigns_what_is_given(q_type):
    quantizer = Quantizer(QuantizerConfig(q_type, overflow_mode="SAT"))
    quantizer.build((None, 3))
    quantizer.set_state(k=[0, 1, 0], i=[1, 2, 3], f=4)
    quantizer.set_state(i=[2, 2, -2])
    quantizer.set_state(f=[5, 4, 3])
    state = quantizer.state()
    np.testing.assert_array_equal([state.k, state.i, state.f], [[0, 1, 0], [2, 2, -2], [5, 4, 3]])


def test_set_state_refuses_what_does_not_fit():
    quantizer = Quantizer(QuantizerConfig(homogeneous_axis=(0, 1)))
    with pytest.raises(PrecisionError, match="before it is built"):
        quantizer.state()
    quantizer.build((None, 3))
    with pytest.raises(PrecisionError, match="granularity"):
        quantizer.set_state(f=[1, 2, 3])
    with pytest.raises(PrecisionError, match="within"):
        quantizer.set_state(f=EXPONENT_LIMIT + 1)
    with pytest.raises(PrecisionError, match="k must be 0 or 1"):
        quantizer.set_state(k=2)
    weight = Quantizer(QuantizerConfig("kif", "weight"))
    weight.build((3,))
    with pytest.raises(PrecisionError, match="Pass that tensor"):
        weight.state()


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        ({"homogeneous_axis": (0, 3)}, (None, 4), "rank 2"),
        ({"heterogeneous_axis": (-3,)}, (None, 4), "rank 2"),
        ({"heterogeneous_axis": (0,)}, (None, 4), "batch axis"),
        ({"homogeneous_axis": (0,)}, (None, None, 4), "no fixed size"),
    ],
)
def test_axes_that_do_not_fit_are_refused(axes, shape, message):
    with pytest.raises(RuleError, match=message):
        Quantizer(QuantizerConfig(**axes)).build(shape)


def test_dummy_is_the_identity():
    quantizer = Quantizer(QuantizerConfig("dummy"))
    x = data()
    np.testing.assert_array_equal(numpy(quantizer(x, training=True)), x)
    assert quantizer.variables == []
    for ask in (quantizer.state, quantizer.bits, quantizer.set_state):
        with pytest.raises(PrecisionError, match="dummy"):
            ask()


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**31, 2**32 - 1, 2**40 + 5])
def test_every_backend_takes_every_seed(seed):
    """PyTorch's generators hold 31 bits, of a layer's name too, of which Keras layers make their seeds."""
    quantizer = Quantizer(
        {"place": "datalane", "q_type": "kif", "f0": 2, "i0": 3, "round_mode": "S_RND"}, seed=seed
    )
    x = data(1, 1.0)
    found = numpy(quantizer(x, training=True))
    np.testing.assert_array_equal(found, np.round(found * 4) / 4)
    assert np.all(np.abs(found - x) < 0.25)
    assert Quantizer.from_config(quantizer.get_config()).seed == seed


@pytest.mark.parametrize("mode", ["S_RND", "S_RND_CONV"])
def test_stochastic_rounding_is_seeded_and_for_training_only(mode):
    x = data()
    config = QuantizerConfig(round_mode=mode, f0=1)
    first, second = Quantizer(config, seed=3), Quantizer(config, seed=3)
    a, b = (numpy(q(x, training=True)) for q in (first, second))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(numpy(first(x, training=True)), a)
    assert np.all(np.abs(a - x) < 0.5)
    state = first.state()
    assert state.rounding == mode[2:]
    np.testing.assert_array_equal(numpy(first(x)), expected(x, state))


def test_ste_round():
    x = np.array([0.5, 1.5, -0.3, 2.7, -1e6], np.float32)
    value, (slope,) = value_and_gradients(ste_round, x)
    np.testing.assert_array_equal(value, np.rint(x))
    np.testing.assert_array_equal(slope, np.ones(5))


@keras.saving.register_keras_serializable("hgqify_tests")
class Probe(keras.layers.Layer):
    """A dense layer with quantized input and weight, as the package's layers use quantizers."""

    def __init__(self, iq_conf, kq_conf, **kwargs):
        super().__init__(**kwargs)
        self.iq = Quantizer(iq_conf, name="iq")
        self.kq = Quantizer(kq_conf, name="kq")

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 2))
        self.iq.build(input_shape)
        self.kq.build(self.kernel.shape)

    def call(self, x, training=None):
        return keras.ops.matmul(self.iq(x, training=training), self.kq(self.kernel, training=training))

    def get_config(self):
        return super().get_config() | {
            "iq_conf": self.iq.config.get_config(),
            "kq_conf": self.kq.config.get_config(),
        }


CONFIGS = [("kif", "WRAP", "kif"), ("kif", "SAT", "kbi"), ("kbi", "SAT_SYM", "kbi"), ("kbi", "WRAP", "kif")]


@pytest.mark.parametrize(("iq", "overflow", "kq"), CONFIGS)
def test_fit_trains_widths_and_saving_keeps_them(tmp_path, iq, overflow, kq):
    keras.utils.set_random_seed(0)
    iq_conf = {"q_type": iq, "place": "datalane", "overflow_mode": overflow, "i0": 0, "round_mode": "S_RND"}
    kq_conf = {"q_type": kq, "place": "weight", "f0": 2, "b0": 3}
    model = keras.Sequential([keras.Input((4,)), Probe(iq_conf, kq_conf)])
    layer = model.layers[0]
    before = {v.path: numpy(v) for v in model.variables}
    x = data(shape=(64, 4))
    model.compile("sgd", "mse")
    model.fit(x, x[:, :2], batch_size=16, epochs=1, verbose=0)
    changed = {
        "/".join(path.split("/")[-2:])
        for path, old in before.items()
        if not np.array_equal(old, numpy(_get(model, path)))
    }
    assert f"kq/{'f' if kq == 'kif' else 'b'}" in changed
    assert f"iq/{'f' if iq == 'kif' else 'b'}" in changed
    assert "iq/i" in changed
    state = layer.iq.state()
    weight = expected(numpy(layer.kernel), layer.kq.state(layer.kernel))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    np.testing.assert_array_equal(
        loaded.predict(x, verbose=0), (expected(x, state) @ weight).astype(np.float32)
    )
    assert loaded.layers[0].iq.config == layer.iq.config


def _get(model, path):
    return next(v for v in model.variables if v.path == path)


def test_config_round_trip_of_the_layer():
    quantizer = Quantizer(QuantizerConfig("kbi", "weight", b0=5), seed=4, name="q")
    copy = Quantizer.from_config(quantizer.get_config())
    assert (copy.config, copy.seed, copy.name) == (quantizer.config, 4, "q")


def test_half_precision_policies_do_not_reach_the_quantizer():
    quantizer = Quantizer(QuantizerConfig("kif", "weight", f0=20), dtype="bfloat16")
    w = data()
    got = quantizer(w)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    np.testing.assert_array_equal(numpy(got), expected(w, quantizer.state(w)))


def test_functional_models_accept_a_quantizer():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Quantizer(QuantizerConfig())(inputs))
    x = data(shape=(5, 4))
    assert model(x).shape == (5, 4)


@pytest.mark.parametrize(("q_type", "place"), [("kif", "weight"), ("kbi", "weight"), ("kif", "datalane")])
def test_bits_are_differentiable(q_type, place):
    quantizer = Quantizer(QuantizerConfig(q_type, place, overflow_mode="SAT", heterogeneous_axis=(-1,)))
    x = data(shape=(5, 4))
    quantizer(x)
    variables = quantizer.trainable_variables
    gradients = variable_gradients(lambda: quantizer.bits(x), variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        # b = i + f is a variable of its own under kbi, and does not depend on i.
        flat = q_type == "kbi" and variable.name == "i"
        np.testing.assert_array_equal(gradient, np.full_like(gradient, not flat))
