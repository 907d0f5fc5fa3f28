"""Minifloat quantizers: equal to fixed with their own state, trained in m, e and e0, saved and loaded."""

import keras
import numpy as np
import pytest
from autodiff import numpy, variable_gradients

from hgqify import fixed
from hgqify.errors import PrecisionError, RuleError
from hgqify.fixed import Minifloat, Overflow, Rounding
from hgqify.quantizers import MinMax, MonoL1, Place, Quantizer, QuantizerConfig, QuantizerConfigScope

SHAPE = (6, 3, 4)


def data(seed=0, scale=3.0):
    return (np.random.default_rng(seed).normal(size=SHAPE) * scale).astype(np.float32)


def made(place="datalane", **options):
    quantizer = Quantizer(QuantizerConfig("float", place, **options))
    quantizer.build((None, *SHAPE[1:]) if place == "datalane" else SHAPE)
    return quantizer


@pytest.mark.parametrize(
    "axes",
    [{"homogeneous_axis": (0,)}, {"homogeneous_axis": (0, -1)}, {"heterogeneous_axis": (-1,)}, {}],
)
@pytest.mark.parametrize("place", ["datalane", "weight", "bias"])
def test_values_are_the_minifloats_of_the_parts(place, axes):
    quantizer = made(place, **axes)
    rng = np.random.default_rng(1)
    shape = quantizer.width_shape
    quantizer.set_minifloat(rng.integers(-1, 5, shape), rng.integers(1, 6, shape), rng.integers(-3, 4, shape))
    x = data()
    m, e, e0 = (np.broadcast_to(part, SHAPE) for part in quantizer.minifloat())
    expected = np.array(
        [float(Minifloat(m[at], e[at], e0[at]).quantize(x[at])) for at in np.ndindex(*SHAPE)]
    ).reshape(SHAPE)
    for training in (False, True):
        np.testing.assert_array_equal(numpy(quantizer(x, training=training)), expected)
    state = quantizer.state()
    values = fixed.quantize(x, state.k, state.i, state.f, state.rounding, state.overflow, state.digits)
    np.testing.assert_array_equal(values, expected)
    bits = np.where(m >= 0, 1 + m + e, 0)
    np.testing.assert_array_equal(np.broadcast_to(state.operand_bits, SHAPE), bits)
    np.testing.assert_array_equal(np.broadcast_to(numpy(quantizer.bits()), SHAPE), bits)


def test_widths_round_and_stay_where_the_program_can_hold_them():
    quantizer = made("weight", heterogeneous_axis=(), max_bits=4)
    quantizer.m.assign(np.full((1, 1, 1), 7.0))
    quantizer.e.assign(np.full((1, 1, 1), 6.2))
    quantizer.e0.assign(np.full((1, 1, 1), -80.0))
    assert [int(part.item()) for part in quantizer.minifloat()] == [3, 5, -60]
    quantizer.m.assign(np.full((1, 1, 1), -3.0))
    quantizer.e.assign(np.full((1, 1, 1), 0.2))
    assert [int(part.item()) for part in quantizer.minifloat()] == [-1, 1, -60]
    assert not numpy(quantizer(data())).any()


def test_gradients_of_the_parts():
    quantizer = made("weight", heterogeneous_axis=(), m0=2, e0=3, e00=0)
    scale = np.exp2(np.random.default_rng(3).integers(-6, 4, SHAPE)).astype(np.float32)
    x, ln2 = data(2) * scale, np.log(2)
    quantized = numpy(quantizer(x)).astype(np.float64)
    form = Minifloat(2, 3)
    outside, error = np.abs(x) > 14 + 1, x - quantized
    subnormal = np.abs(x) < 2.0**form.low_exponent
    assert outside.any()
    assert subnormal.any()
    sign, last = np.sign(x), 2.0 ** (form.high_exponent - form.m)
    dm = np.where(outside, sign * last, error).sum() * ln2
    bound = (sign * form.largest * outside).sum() * ln2
    finer = (error * (subnormal & ~outside)).sum() * ln2
    half = 2.0 ** (form.e - 1)
    wanted = {"m": dm, "e": (bound + finer) * ln2 * half, "e0": bound - finer}
    gradients = variable_gradients(lambda: quantizer(x), quantizer.trainable_variables)
    names = [variable.path.split("/")[-1] for variable in quantizer.trainable_variables]
    assert names == ["m", "e", "e0"]
    for name, gradient in zip(names, gradients, strict=True):
        np.testing.assert_allclose(np.squeeze(gradient), wanted[name], rtol=1e-4, err_msg=name)


def test_training_finds_the_range_and_the_exponents():
    """From a format far too small, as no number of fixed bits would do: two clusters 2^10 apart."""
    x = np.concatenate([np.full(32, 37.0), np.full(32, 0.0366)]).astype(np.float32)[:, None]
    layer = Quantizer(QuantizerConfig("float", m0=1, e0=2, e00=0, heterogeneous_axis=()))
    model = keras.Sequential([keras.Input((1,)), layer])
    before = np.abs(numpy(layer(x)) / x - 1).max()

    def relative(y_true, y_pred):
        return keras.ops.mean(keras.ops.square((y_true - y_pred) / y_true))

    model.compile(keras.optimizers.Adam(0.05), loss=relative)
    model.fit(x, x, batch_size=64, epochs=150, verbose=0, shuffle=False)
    assert before > 0.5
    assert np.abs(numpy(layer(x)) / x - 1).max() < 0.2
    assert (layer.minifloat().e > 2).all()


def test_constraints_and_regularizers_of_the_parts():
    quantizer = made(mc=MinMax(0, 3), ec=MinMax(2, 4), e0c=MinMax(-1, 1), mr=MonoL1(0.5), er=MonoL1(0.25))
    quantizer.e0.assign(quantizer.e0 + 7.0)
    for variable, bounds in ((quantizer.m, (0, 3)), (quantizer.e, (2, 4)), (quantizer.e0, (-1, 1))):
        for value, bound in zip((-9.0, 9.0), bounds, strict=True):
            np.testing.assert_array_equal(numpy(variable.constraint(variable * 0 + value)), bound)
    quantizer.m.assign(quantizer.m * 0 + 2)
    quantizer.e.assign(quantizer.e * 0 + 4)
    assert float(numpy(sum(quantizer.losses))) == (0.5 * 2 + 0.25 * 4) * 12


@pytest.mark.parametrize("trainable", [("m",), ("e", "e0"), False])
def test_parts_that_are_not_trained_are_constants(trainable):
    names = [v.path.split("/")[-1] for v in made(trainable=trainable).trainable_variables]
    assert names == list(trainable or ())


def test_config_round_trip_and_saving(tmp_path):
    config = QuantizerConfig("float", m0=3, e0=4, e00=-2, round_mode="TRN", mc=MinMax(0, 8), e0r=MonoL1(1e-6))
    assert QuantizerConfig.from_config(config.get_config()) == config
    model = keras.Sequential([keras.Input((4,)), Quantizer(config)])
    rng = np.random.default_rng(0)
    model.layers[0].set_minifloat(rng.integers(0, 4, (1, 4)), e0=rng.integers(-3, 3, (1, 4)))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[0].config == config
    x = data().reshape(-1, 4)
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))


def test_defaults_and_scopes():
    for place in Place:
        config = QuantizerConfig("float", place)
        assert config.overflow_mode is Overflow.SAT_SYM
        assert config.round_mode is Rounding.RND_CONV
        assert (config.m0, config.e0, config.e00) == (2, 4, 0)
    with QuantizerConfigScope(default_q_type="float", place="all", m0=3, overflow_mode="WRAP"):
        config = QuantizerConfig()
        assert (config.q_type, config.m0, config.overflow_mode) == ("float", 3, Overflow.SAT_SYM)
        assert QuantizerConfig("kif").overflow_mode is Overflow.WRAP


def test_stochastic_rounding_draws_in_training_only():
    quantizer = made(round_mode="S_RND_CONV", heterogeneous_axis=(), m0=1, e0=3)
    x = np.full(SHAPE, 1.125, np.float32)
    assert set(np.unique(numpy(quantizer(x, training=True)))) == {1.0, 1.5}
    np.testing.assert_array_equal(numpy(quantizer(x)), 1.0)


def test_an_unsigned_minifloat_gives_no_negative_numbers():
    quantizer = made("weight", k0=0, heterogeneous_axis=())
    x = data()
    np.testing.assert_array_equal(numpy(quantizer(x)), np.maximum(Minifloat(2, 4).quantize(x), 0))
    assert int(quantizer.state().operand_bits.item()) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overflow_mode": "WRAP"}, "never wraps"),
        ({"e0": 0}, "from 1 to 5"),
        ({"m0": 30}, "from -1 to 23"),
        ({"e00": 61}, "from -60 to 60"),
        ({"trainable": ("q",)}, "'e0'"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(RuleError, match=message):
        QuantizerConfig("float", **options)


def test_formats_are_set_by_their_own_names():
    with pytest.raises(PrecisionError, match="set_minifloat"):
        made().set_state(f=3)
    with pytest.raises(PrecisionError, match="within 1 and 5"):
        made().set_minifloat(e=6)
    fixed_point = Quantizer(QuantizerConfig("kif"))
    fixed_point.build((None, 3))
    with pytest.raises(PrecisionError, match="q_type='float'"):
        fixed_point.set_minifloat(m=3)
