"""What the bad inputs are made from."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"


def small_model(*last: layers.Layer) -> keras.Model:
    """Four features, three outputs."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4,), name="features"),
            layers.Dense(5, activation="relu", name="hidden"),
            *(last or (layers.Dense(3, name="scores"),)),
        ],
        name="small",
    )


def samples(count: int = 40) -> np.ndarray:
    """Of the small model."""
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)


def members(path: Path) -> dict[str, bytes]:
    """The files in an archive."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_archive(path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """An archive of the given files."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def saved(path: Path, model: keras.Model | None = None) -> dict[str, bytes]:
    """Save a model, the small one if none is given; gives back the files in the archive."""
    (model or small_model()).save(path)
    return members(path)


def with_config(
    edit: Callable[[dict[str, Any]], object], model: keras.Model | None = None
) -> Callable[[Path], None]:
    """Makes a model whose config was changed in place."""

    def make(path: Path) -> None:
        files = saved(path, model)
        config = json.loads(files[CONFIG])
        edit(config)
        write_archive(path, {**files, CONFIG: json.dumps(config).encode()})

    return make


def with_layer(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Makes a model whose hidden layer, an entry of the config, was changed in place."""
    return with_config(lambda config: edit(config["config"]["layers"][1]))


def with_weights(edit: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """Makes a model whose file of weights was changed in place."""

    def make(path: Path) -> None:
        files = saved(path)
        file = path.with_name("changed.h5")
        file.write_bytes(files[WEIGHTS])
        with h5py.File(file, "r+") as weights:
            edit(weights)
        write_archive(path, {**files, WEIGHTS: file.read_bytes()})
        file.unlink()

    return make


def with_files(**changed: bytes | None) -> Callable[[Path], None]:
    """Makes a model with other files (config, weights) in its archive, or without them."""

    def make(path: Path) -> None:
        files = saved(path)
        for name, data in changed.items():
            key = {"config": CONFIG, "weights": WEIGHTS}[name]
            if data is None:
                del files[key]
            else:
                files[key] = data
        write_archive(path, files)

    return make


def cut(make: Callable[[Path], object], part: float) -> Callable[[Path], None]:
    """Makes the first part of a file."""

    def first(path: Path) -> None:
        make(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * part)])

    return first
