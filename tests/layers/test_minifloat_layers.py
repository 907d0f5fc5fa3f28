"""Every layer with minifloats at all places: exact, counted, and configured as with fixed point."""

import keras
import numpy as np
import pytest
from autodiff import numpy
from contract import Case, check_config, check_ebops, check_grid, check_oracle, draw_inputs, scatter_widths
from layer_cases import CASES

from hgqify import layers
from hgqify.errors import RuleError
from hgqify.quantizers import Place, QType, QuantizerConfig, QuantizerConfigScope

# One case of each class whose arithmetic is its own and that has a quantizer without being asked.
SAME = (
    "MaxPooling",
    "QMask",
    "1D",
    "3D",
    "QBatchNormDense",
    "QEinsumDenseBatchnorm",
    "QMinimum",
    "QMeanPow2",
)
FIRST = {
    name: case
    for name, case in ((type(case.make()).__name__, case) for case in reversed(CASES))
    if not any(part in name for part in SAME)
}


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_a_layer_with_minifloats_is_exact(case: Case) -> None:
    rng = np.random.default_rng(0)
    with QuantizerConfigScope(default_q_type="float", place=["weight", "bias", "datalane"]):
        layer = case.make()
    for option in ("kernel_initializer", "depthwise_initializer"):
        if hasattr(layer, option):
            setattr(layer, option, keras.initializers.Zeros())
    xs = draw_inputs(case.shapes, rng)
    layer(*xs) if len(xs) == 1 else layer(xs)
    scatter_widths(layer, rng)
    layer.refresh()
    quantizers = [q for q in (*layer.iqs, layer.kq, layer.bq, layer.oq) if q is not None]
    table = getattr(layer, "uses_table", False) or isinstance(layer, layers.QDenseT)
    assert any(q.is_minifloat for q in quantizers) or table
    y = numpy(layer(*xs) if len(xs) == 1 else layer(xs))
    check_config(layer)
    check_grid(layer)
    check_oracle(case, layer, xs, y)
    check_ebops(case, layer)


def test_a_table_is_read_by_fixed_point_codes() -> None:
    with QuantizerConfigScope(default_q_type="float", place="all"):
        layer = layers.QActivation("tanh")
    assert layer.iq is not None
    assert layer.oq is not None
    assert (layer.iq.config.q_type, layer.oq.config.q_type) == (QType.KIF, QType.FLOAT)
    x = np.linspace(-3, 3, 50, dtype=np.float32)[None]
    y = numpy(layer(x))
    np.testing.assert_array_equal(y, numpy(layer.oq(y)))
    assert len(np.unique(y)) > 10
    before = y.copy()
    layer.oq.set_minifloat(m=0)
    assert np.any(numpy(layer(x)) != before)
    with pytest.raises(RuleError, match="fixed-point number"):
        layers.QActivation("tanh", iq_conf=QuantizerConfig("float", Place.DATALANE))


def test_a_model_of_minifloats_trains_its_formats_and_saves(tmp_path) -> None:
    with (
        QuantizerConfigScope(default_q_type="float", place="all"),
        layers.LayerConfigScope(enable_ebops=True, beta0=1e-4),
    ):
        model = keras.Sequential(
            [keras.Input((6,)), layers.QDense(8, activation="relu"), layers.QDense(2, name="head")]
        )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6)).astype(np.float32)
    y = np.stack([x.sum(axis=1), x[:, 0]], axis=1)
    head = model.get_layer("head")
    widths = head.kq.m, head.kq.e, head.iq.m, head.iq.e0
    before = [numpy(width).copy() for width in widths]
    bits = float(head.ebops_value())
    model.compile(keras.optimizers.Adam(0.02), loss="mse")
    history = model.fit(x, y, epochs=8, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0] / 2
    assert all(np.any(numpy(now) != old) for now, old in zip(widths, before, strict=True))
    assert float(head.ebops_value()) == head.ebops() < bits
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
