"""Trained HGQ2 models in our layers: the same codes, in Keras, as integers and in C simulation."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from peer_models import NAMES, assert_there_and_back, inputs, path_of, predicted

import hgqify
from hgqify import layers as q
from hgqify.errors import ExportError, HgqifyError, PrecisionError, UnsupportedLayerError
from hgqify.export import compiler
from hgqify.hgq2 import import_model, peer
from hgqify.hgq2.formats import of_data
from hgqify.precision import lower
from hgqify.reference import run

h = pytest.importorskip("hgq.layers")
config = pytest.importorskip("hgq.config")


@dataclass
class Case:
    theirs: keras.Model
    ours: keras.Model
    x: list[np.ndarray]
    y: np.ndarray


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    theirs = keras.saving.load_model(path_of(request.param), compile=False)
    x = inputs(theirs)
    return Case(theirs=theirs, ours=import_model(path_of(request.param)), x=x, y=predicted(theirs, x))


def test_there_are_models_of_many_kinds() -> None:
    assert len(NAMES) >= 6


def test_codes_are_equal(case: Case) -> None:
    assert len(np.unique(case.y)) > 20  # the model says something
    np.testing.assert_array_equal(predicted(case.ours, case.x), case.y)


def test_the_reference_is_equal(case: Case) -> None:
    found = run(lower(case.ours), case.x)
    np.testing.assert_array_equal(np.asarray(found.values[0]).astype(np.float32), case.y)


def test_there_and_back(case: Case, tmp_path: Path) -> None:
    assert_there_and_back(case.ours, case.x, case.y, tmp_path)


def test_nothing_of_hgq2_is_left(case: Case) -> None:
    assert not [layer for layer in case.ours.layers if peer.class_name(layer)]
    assert any(isinstance(layer, q.QLayer) for layer in case.ours.layers)


@pytest.mark.parametrize("name", ["residual", "attention"])
def test_a_result_is_exact_through_c_simulation(name: str, tmp_path: Path) -> None:
    imported = hgqify.import_hgq2(path_of(name), tmp_path / "imported")
    assert imported.ebops > 0
    report = hgqify.check(tmp_path / "imported", random=40)
    assert report.exact
    assert any("C simulation" in str(one) for one in report.comparisons) or not compiler()


class TestFiles:
    def test_a_file_holds_the_model_alone(self, tmp_path: Path) -> None:
        """Tables and constants are those of HGQ2 after loading, too."""
        imported = hgqify.import_hgq2(path_of("tables"), tmp_path / "ours.keras")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["ours.keras"]
        again = keras.saving.load_model(imported.path, compile=False)
        x = inputs(again)
        theirs = keras.saving.load_model(path_of("tables"), compile=False)
        np.testing.assert_array_equal(predicted(again, x), predicted(theirs, x))
        with pytest.raises(ExportError, match="exists"):
            hgqify.import_hgq2(path_of("tables"), tmp_path / "ours.keras")

    def test_nothing_is_left_of_a_failure(self, tmp_path: Path) -> None:
        x = keras.Input((3,))
        model = keras.Model(x, h.QEinsumDenseT("bc,cd->bd", 2)(x))
        with pytest.raises(UnsupportedLayerError):
            hgqify.import_hgq2(model, tmp_path / "out")
        assert not list(tmp_path.iterdir())


def saturating(place: str, **options: object) -> object:
    return config.QuantizerConfig("kbi", place, overflow_mode="SAT", k0=1, i0=1, b0=4, **options)


class TestLearnedTables:
    @pytest.mark.parametrize(
        ("shape", "axes", "options"),
        [
            ((4,), {}, {"n_hl": 2, "activation": "relu"}),
            ((4,), {}, {"n_hl": 1, "batch_norm": True, "use_bias": False}),
            ((3, 4), {"homogeneous_axis": (0, 1)}, {"n_hl": 0}),
            ((4,), {"homogeneous_axis": (0, 1, 2)}, {"n_hl": 1, "d_hl": 3, "subnn_activation": "relu"}),
        ],
    )
    def test_codes_are_equal(self, shape: tuple[int, ...], axes: dict, options: dict) -> None:
        keras.utils.set_random_seed(0)
        x = keras.Input(shape)
        one = h.QDenseT(3, iq_conf=saturating("datalane", **axes), **options)
        model = keras.Model(x, h.QDense(2)(one(x)))
        rng = np.random.default_rng(0)
        data = rng.normal(0, 2, (256, *shape)).astype(np.float32)
        for weight in one.module.trainable_variables:
            weight.assign(rng.normal(0, 0.8, weight.shape))
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(data, np.zeros((256, *shape[:-1], 2)), verbose=0)  # ranges and means
        expected = predicted(model, [data])
        assert len(np.unique(expected)) > 20
        ours = import_model(model)
        np.testing.assert_array_equal(predicted(ours, [data]), expected)
        found = run(lower(ours), [data]).values[0]
        np.testing.assert_array_equal(np.asarray(found).astype(np.float32), expected)
        assert isinstance(ours.layers[1], q.QDenseT)

    def test_formats_of_each_position(self) -> None:
        x = keras.Input((2, 3))
        with pytest.raises(UnsupportedLayerError, match="at each position"):
            import_model(keras.Model(x, h.QDenseT(2)(x)))


class TestRefusals:
    def test_all_at_once_each_with_a_remedy(self) -> None:
        x = keras.Input((4, 4, 1))
        y = h.QAveragePooling2D((1, 3), strides=1)(x)
        y = h.QConv2D(2, 2, kq_conf=config.QuantizerConfig("kbi", "weight", overflow_mode="WRAP_SM"))(y)
        y = keras.layers.Flatten()(y)
        y = h.QDense(3, activation="tanh")(y)
        y = keras.layers.LayerNormalization()(y)
        model = keras.Model(x, h.QDense(2, iq_conf=config.HardSigmoidConfig())(y))
        with pytest.raises(UnsupportedLayerError) as caught:
            import_model(model)
        text = str(caught.value)
        for word in ("5 layers", "power of two", "WRAP_SM", "QActivation", "LayerNormalization", "affine"):
            assert word in text

    def test_learned_tables(self) -> None:
        x = keras.Input((4, 3))
        with pytest.raises(UnsupportedLayerError, match="QEinsumDenseT"):
            import_model(keras.Model(x, h.QEinsumDenseT("btc,cd->btd", (4, 2))(x)))

    def test_minifloat(self) -> None:
        """HGQ2 0.2.0 cannot build one itself; a release that can must not be misread."""
        quantizer = SimpleNamespace(q_type="float", config=config.QuantizerConfig("float", "datalane"))
        with pytest.raises(UnsupportedLayerError, match="minifloat"):
            of_data(quantizer, "dense (iq)")

    def test_formats_too_wide(self) -> None:
        x = keras.Input((3,))
        wide = config.QuantizerConfig("kif", "datalane", i0=12, f0=16, fc=None)
        with pytest.raises(UnsupportedLayerError, match="24 bits"):
            import_model(keras.Model(x, h.QDense(2, iq_conf=wide)(x)))

    def test_a_mask_that_depends_on_data(self) -> None:
        x, mask = keras.Input((4, 3)), keras.Input((4, 4), dtype="bool")
        y = h.QMultiHeadAttention(1, 2)(x, x, attention_mask=mask)
        with pytest.raises(UnsupportedLayerError, match="attention_mask"):
            import_model(keras.Model([x, mask], y))

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(HgqifyError, match="does not exist"):
            import_model(tmp_path / "none.keras")

    def test_hgq2_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(peer, "_ROOT", "hgq_that_is_not_there")
        with pytest.raises(HgqifyError, match=r"pip install 'hgqify\[hgq2\]'"):
            import_model("model.keras")


class TestDetails:
    def test_one_bit_of_symmetric_saturation_is_nothing(self) -> None:
        x = keras.Input((3,))
        one = config.QuantizerConfig("kif", "datalane", k0=1, i0=0, f0=0, overflow_mode="SAT_SYM")
        theirs = keras.Model(x, h.Quantizer(one)(x))
        values = [np.array([[-3, 0.2, 5]], np.float32)]
        np.testing.assert_array_equal(predicted(import_model(theirs), values), predicted(theirs, values))

    def test_a_quantizer_with_an_affine_map_is_two_layers(self) -> None:
        x = keras.Input((3,))
        theirs = keras.Model(x, h.Quantizer(config.HardSigmoidConfig())(x))
        values = inputs(theirs, 40)
        np.testing.assert_array_equal(predicted(import_model(theirs), values), predicted(theirs, values))

    def test_a_bias_that_wraps_keeps_wrapping(self) -> None:
        x = keras.Input((2,))
        narrow = config.QuantizerConfig("kbi", "bias", b0=3, i0=0)
        layer = h.QDense(2, bq_conf=narrow)
        theirs = keras.Model(x, layer(x))
        layer.bias.assign([1.25, 0.5])  # of a range up to 1
        values = [np.zeros((1, 2), np.float32)]
        expected = predicted(theirs, values)
        assert expected[0, 0] == -0.75
        np.testing.assert_array_equal(predicted(import_model(theirs), values), expected)

    def test_training_goes_on(self) -> None:
        ours = import_model(path_of("residual"))
        x = inputs(ours, 32)
        ours.compile("sgd", "mse")
        ours.fit(x[0], np.zeros((32, 3), np.float32), epochs=1, verbose=0)
        q.refresh(ours)
        lower(ours)

    def test_a_shared_layer_stays_shared(self) -> None:
        x = keras.Input((3,))
        layer = h.QDense(3)
        theirs = keras.Model(x, h.QAdd()([layer(layer(x)), x]))
        ours = import_model(theirs)
        assert len([one for one in ours.layers if isinstance(one, q.QDense)]) == 1
        values = inputs(theirs, 20)
        np.testing.assert_array_equal(predicted(ours, values), predicted(theirs, values))

    @pytest.mark.parametrize("function", ["tanh", "relu", "linear"])
    @pytest.mark.parametrize("grain", ["tensor", "element"])
    def test_scale_and_shift_are_in_the_table(self, function: str, grain: str, tmp_path: Path) -> None:
        axes = {"heterogeneous_axis": () if grain == "tensor" else None, "homogeneous_axis": None}
        if grain == "element":
            axes = {"homogeneous_axis": (0,)}
        data = config.QuantizerConfig("kif", "datalane", i0=2, f0=4, overflow_mode="SAT", **axes)
        narrow = config.QuantizerConfig("kif", "datalane", i0=2, f0=3, overflow_mode="SAT", **axes)
        layer = h.QAffinedUnaryFunctionLUT(function, iq_conf=data, oq_conf=narrow)
        x = keras.Input((4,))
        theirs = keras.Model(x, layer(x))
        layer.scale.assign([-0.7])
        layer.bias.assign([0.3])
        if grain == "element":
            layer.iq.quantizer._f.assign(np.reshape([1, 2, 3, 4], layer.iq.quantizer._f.shape))
            layer.oq.quantizer._f.assign(np.reshape([4, 3, 2, 1], layer.oq.quantizer._f.shape))
        values = inputs(theirs)
        ours = import_model(theirs)
        assert any(isinstance(one, q.QAffineActivation) for one in ours.layers)
        expected = predicted(theirs, values)
        assert len(np.unique(expected)) > 10
        np.testing.assert_array_equal(predicted(ours, values), expected)
        np.testing.assert_array_equal(run(lower(ours), values).values[0].astype(np.float32), expected)
        assert_there_and_back(ours, values, expected, tmp_path)

    def test_different_formats_behind_a_table_that_is_too_fine(self) -> None:
        x = keras.Input((2,))
        fine = config.QuantizerConfig("kif", "datalane", i0=2, f0=24, overflow_mode="SAT")
        y = h.QUnaryFunctionLUT("tanh", oq_conf=fine)(x)
        with pytest.raises((PrecisionError, UnsupportedLayerError), match="24 bits"):
            import_model(keras.Model(x, y))
