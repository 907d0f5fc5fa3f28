"""Files a user may point at: models of several vintages, and things that are no models."""

import json
import shutil
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from hgqify.errors import ModelLoadError
from hgqify.graph import load_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small model and the paths of its .keras and .h5 files."""
    folder = tmp_path_factory.mktemp("models")
    model = keras.Sequential(
        [
            keras.Input((5, 4, 2)),
            layers.DepthwiseConv2D(2, depthwise_initializer="ones", bias_initializer="ones"),
            layers.Reshape((4, 6)),
            layers.GRU(3),
        ]
    )
    paths = {suffix: folder / f"model{suffix}" for suffix in (".keras", ".h5")}
    for path in paths.values():
        model.save(path)
    return model, paths


def _refusal(path, **kwargs):
    with pytest.raises(ModelLoadError) as caught:
        load_model(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def _assert_same(loaded, model):
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))


def _edit_hdf5(path, edit):
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)


def test_both_formats_load_under_any_extension(saved, tmp_path):
    model, paths = saved
    for given, name in (
        (".keras", "model.keras"),
        (".h5", "model.hdf5"),
        (".h5", "really_hdf5.keras"),
        (".keras", "really_an_archive.h5"),
        (".keras", "no_extension"),
    ):
        path = tmp_path / name
        shutil.copyfile(paths[given], path)
        before = path.read_bytes()
        _assert_same(load_model(path), model)
        _assert_same(load_model(str(path)), model)
        assert path.read_bytes() == before


def test_obsolete_arguments_are_dropped(saved, tmp_path):
    model, paths = saved

    def edit(config):
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "DepthwiseConv2D":
                layer["config"]["groups"] = 1
            if layer["class_name"] == "GRU":
                layer["config"]["time_major"] = False

    legacy = tmp_path / "legacy.h5"
    shutil.copyfile(paths[".h5"], legacy)
    _edit_hdf5(legacy, edit)
    with pytest.raises((TypeError, ValueError), match=r"groups|time_major"):
        keras.saving.load_model(legacy)
    _assert_same(load_model(legacy), model)

    archive = tmp_path / "legacy.keras"
    with zipfile.ZipFile(paths[".keras"]) as source, zipfile.ZipFile(archive, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                edit(config)
                data = json.dumps(config)
            target.writestr(name, data)
    _assert_same(load_model(archive), model)


def test_time_major_data_is_refused(saved, tmp_path):
    path = tmp_path / "time_major.h5"
    shutil.copyfile(saved[1][".h5"], path)

    def edit(config):
        config["config"]["layers"][-1]["config"]["time_major"] = True

    _edit_hdf5(path, edit)
    assert "time_major" in _refusal(path)


def test_input_shape_in_the_first_layer(saved, tmp_path):
    """Keras 2 wrote Sequential models without an input layer."""
    path = tmp_path / "keras2.h5"
    shutil.copyfile(saved[1][".h5"], path)

    def edit(config):
        config["config"].pop("build_input_shape", None)
        removed = config["config"]["layers"].pop(0)
        assert removed["class_name"] == "InputLayer"
        config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 5, 4, 2]

    _edit_hdf5(path, edit)
    _assert_same(load_model(path), saved[0])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.95])
def test_truncated(saved, tmp_path, suffix, part):
    data = saved[1][suffix].read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * part)])
    assert "damaged or truncated" in _refusal(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_needs_safe_mode_off(tmp_path, suffix):
    path = tmp_path / f"code{suffix}"
    model = keras.Sequential(
        [keras.Input((3,)), layers.Lambda(lambda x: x + 1, output_shape=(3,), name="up")]
    )
    model.save(path)
    assert "Lambda layer 'up'" in _refusal(path)
    loaded = load_model(path, safe_mode=False)
    np.testing.assert_array_equal(loaded(np.zeros((1, 3), np.float32)), np.ones((1, 3)))


class _Doubling(layers.Layer):
    def call(self, inputs):
        return inputs * 2


def test_custom_classes_are_named(tmp_path):
    path = tmp_path / "custom.keras"
    keras.Sequential([keras.Input((3,)), _Doubling()]).save(path)
    assert "received: _Doubling" in _refusal(path)
    loaded = load_model(path, custom_objects={"_Doubling": _Doubling})
    np.testing.assert_array_equal(loaded(np.ones((1, 3), np.float32)), np.full((1, 3), 2.0))


def test_a_class_registered_elsewhere_under_a_package(tmp_path):
    """A file names 'Own>_Doubling' where its class was decorated; here it is known as '_Doubling'."""
    path, other = tmp_path / "custom.keras", tmp_path / "other.keras"
    keras.Sequential([keras.Input((3,)), _Doubling()]).save(path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                data = data.replace(b'"registered_name": "_Doubling"', b'"registered_name": "Own>_Doubling"')
                assert b"Own>" in data
            target.writestr(name, data)
    loaded = load_model(other, custom_objects={"_Doubling": _Doubling})
    np.testing.assert_array_equal(loaded(np.ones((1, 3), np.float32)), np.full((1, 3), 2.0))


def test_classes_that_only_this_thread_knows(tmp_path):
    """The rehearsal, in another thread, fails for them, and that is no reason to refuse them."""
    path = tmp_path / "custom.keras"
    keras.Sequential([keras.Input((3,)), _Doubling()]).save(path)
    with keras.saving.custom_object_scope({"_Doubling": _Doubling}):
        loaded = load_model(path)
    np.testing.assert_array_equal(loaded(np.ones((1, 3), np.float32)), np.full((1, 3), 2.0))
