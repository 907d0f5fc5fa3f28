"""Constraints, regularizers and frozen parts of trained widths."""

import json

import keras
import numpy as np
import pytest

from hgqify.errors import RuleError
from hgqify.layers import QDense, Quantize
from hgqify.quantizers import MinMax, MonoL1, Quantizer, QuantizerConfig, QuantizerConfigScope


def built(config: QuantizerConfig) -> Quantizer:
    quantizer = Quantizer(config)
    quantizer.build((None, 3) if config.place == "datalane" else (3,))
    return quantizer


def test_they_survive_json_and_scopes_do_not_reach_a_finished_config():
    config = QuantizerConfig("kbi", "weight", bc=MinMax(0, 8), br=MonoL1(1e-3), trainable=("b",))
    with QuantizerConfigScope(fr=MonoL1(5.0), bc=MinMax(1, 2), ir="l1"):
        again = QuantizerConfig.from_config(json.loads(json.dumps(config.get_config())))
        inside = QuantizerConfig("kbi", "weight", ir=False)
    assert again == config
    assert hash(again) == hash(config)
    assert again.fr is False
    assert inside.fr == QuantizerConfig(fr=MonoL1(5)).fr
    assert inside.ir is False
    assert inside.replace(bc=False).bc is False


@pytest.mark.parametrize(
    "value", [MonoL1(0.5), keras.regularizers.L1(0.5), {"class_name": "L1", "config": {"l1": 0.5}}]
)
def test_regularizers_add_to_the_loss(value):
    quantizer = built(QuantizerConfig("kif", "weight", f0=3, fr=value))
    assert float(sum(quantizer.losses)) == pytest.approx(0.5 * 3 * 3)


def test_only_what_is_trained_has_rules():
    frozen = built(QuantizerConfig("kif", "weight", fr=MonoL1(1.0), trainable=False))
    assert frozen.losses == []
    tracked = built(QuantizerConfig("kbi", "datalane", overflow_mode="WRAP", ir=MonoL1(1.0)))
    assert tracked.losses == []


@pytest.mark.parametrize(
    ("q_type", "trainable", "expected"),
    [
        ("kbi", True, {"b", "i"}),
        ("kbi", ("b",), {"b"}),
        ("kif", ("f",), {"f"}),
        ("kif", ["i"], {"i"}),
        ("kif", (), set()),
        ("kif", False, set()),
    ],
)
def test_parts_are_trained_or_frozen(q_type, trainable, expected):
    quantizer = built(QuantizerConfig(q_type, "datalane", overflow_mode="SAT", trainable=trainable))
    assert {v.path.split("/")[-1] for v in quantizer.trainable_variables} == expected


def test_constraints_hold_in_training():
    keras.utils.set_random_seed(0)
    with (
        QuantizerConfigScope(place="weight", q_type="kbi", bc=MinMax(2, 3), ic=MinMax(high=0)),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="SAT", fc=MinMax(3.5)),
    ):
        model = keras.Sequential([keras.Input((4,)), Quantize(), QDense(3, beta0=1.0)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    model.fit(x, x[:, :3], epochs=1, verbose=0)
    kq, iq = model.layers[-1].kq, model.layers[-1].iqs[0]
    assert np.all((np.asarray(kq.b) >= 2) & (np.asarray(kq.b) <= 3))
    assert np.all(np.asarray(kq.i) <= 0)
    assert np.all(np.asarray(iq.f) >= 3.5)
    assert np.any(np.asarray(iq.f) == 3.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: QuantizerConfig(fr=3),
        lambda: QuantizerConfig(fr="l3"),
        lambda: QuantizerConfig(fc=MonoL1(1)),
        lambda: QuantizerConfigScope(ir=MinMax(0, 1)),
        lambda: QuantizerConfig(trainable=("k",)),
        lambda: MinMax(3, 2),
    ],
)
def test_mistakes(make):
    with pytest.raises(RuleError):
        make()


def test_the_model_keeps_them_when_saved(tmp_path):
    model = keras.Sequential([keras.Input((2,)), QDense(1, kq_conf={"bc": MinMax(0, 5), "trainable": ["b"]})])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[-1].kq.config == model.layers[-1].kq.config
    assert loaded.layers[-1].kq.b.constraint.high == 5


@keras.saving.register_keras_serializable("tests")
class Only(keras.constraints.Constraint):
    """There is one of it, so that its address comes again for certain."""

    def __call__(self, w):
        return w

    @classmethod
    def from_config(cls, config):
        return ONLY


ONLY = Only()


def test_rules_of_a_loaded_model_are_its_own(tmp_path):
    """Keras tells objects that it saves and loads apart by address, and those of rules that are gone come
    again: a number that Keras gave to such a rule once would later stand for another one.
    """
    config = QuantizerConfig("kif", "datalane", overflow_mode="SAT", fc=ONLY)
    model = keras.Sequential([keras.Input((4,)), Quantizer(config), Quantizer(config)])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert [layer.config for layer in loaded.layers] == [config, config]
