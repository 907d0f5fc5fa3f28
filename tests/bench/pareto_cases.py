"""The models and data of `pareto.py`: float models, what may be learned from, what judges."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from hgqify.calling import predict
from hgqify.graph import load_model

CHECKPOINTS = 50  # of one of HGQ2's trainings, evenly spaced
Labelled = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Splits of one data set; the test set is the same for every method.

    Attributes:
        train: labelled: what HGQ2 and our fine-tuning learn from, and the float model that is trained here.
        validation: labelled: on which HGQ2's checkpoints are chosen.
        calib: unlabelled samples of ``train``, all that our allocation sees where nothing is fine-tuned.
        test: labelled, used by nobody but to judge.
    """

    train: Labelled
    validation: Labelled
    calib: np.ndarray
    test: Labelled


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model of the benchmark.

    Attributes:
        data: reads the splits from the folder of the material.
        model: the float model from the folder, or trained on the data where none is there.
        steps: gradient steps HGQ2 takes by default.
        batch: samples of one step.
        rates: of HGQ2's Adam, for weights and widths alike, from scratch and from the float weights, which
            larger steps would destroy.
        annealed: whether these rates fall to nothing, along a cosine, before every checkpoint of HGQ2.
        traced: training samples that tell the integer bits of HGQ2's wrapping quantizers.
        input_bits: integer and fractional bits HGQ2's first quantizer starts with.
        activations: granularities of activations our methods are run with; None: the default, one width per
            tensor.
    """

    data: Callable[[Path], Data]
    model: Callable[[Path, Data], keras.Model]
    steps: int
    batch: int
    rates: tuple[float, float]
    annealed: bool = False
    traced: int = 1000
    input_bits: tuple[int, int] = (2, 6)
    activations: tuple[str | None, ...] = (None,)


def split(x: np.ndarray, y: np.ndarray, *, held_out: int, calib: int, test: Labelled) -> Data:
    """The last ``held_out`` samples validate, the first ``calib`` calibrate."""
    y = np.asarray(y).reshape(len(y)).astype(np.int32)
    return Data(
        train=(x[:-held_out], y[:-held_out]),
        validation=(x[-held_out:], y[-held_out:]),
        calib=x[:calib],
        test=(test[0], np.asarray(test[1]).reshape(len(test[1])).astype(np.int32)),
    )


def magic(folder: Path) -> Data:
    raw = np.load(folder / "magic_gamma/magic04.npz")
    mean, deviation = raw["x_train"].mean(axis=0), raw["x_train"].std(axis=0)
    train, test = ((raw[name] - mean) / deviation for name in ("x_train", "x_test"))
    return split(train, raw["y_train"], held_out=1500, calib=2000, test=(test, raw["y_test"]))


def mnist(folder: Path) -> Data:
    raw = np.load(folder / "mnist/mnist.npz")
    train, test = (raw[name][..., None].astype(np.float32) / 255 for name in ("x_train", "x_test"))
    return split(train, raw["y_train"], held_out=2000, calib=2000, test=(test, raw["y_test"]))


def keywords(folder: Path) -> Data:
    raw = np.load(folder / "kws_dscnn/kws01.npz")
    x = (raw["q"].astype(np.float32) - 83) * np.float32(0.58470291)
    order = np.random.default_rng(0).permutation(len(x))
    learn, judge = order[:500], order[500:]
    return split(x[learn], raw["y"][learn], held_out=100, calib=500, test=(x[judge], raw["y"][judge]))


def cifar(folder: Path) -> Data:
    raw = np.load(folder / "cifar10/cifar10_4k1k.npz")
    train, test = (raw[name].astype(np.float32) for name in ("x_train", "x_test"))
    return split(train, raw["y_train"], held_out=400, calib=1000, test=(test, raw["y_test"]))


def magic_model(folder: Path, data: Data) -> keras.Model:
    """The perceptron 10-64-32-32-2, trained here: the data comes without a model."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(width, activation="relu") for width in (64, 32, 32)]
    model = keras.Sequential([keras.Input((10,)), *layers, keras.layers.Dense(2, activation="softmax")])
    batch, epochs = 128, 60
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * (len(data.train[0]) // batch + 1))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(*data.train, batch_size=batch, epochs=epochs, verbose=0)
    return model


def stored(path: str) -> Callable[[Path, Data], keras.Model]:
    return lambda folder, data: load_model(folder / path)


CASES = {
    "magic_gamma MLP": Case(
        data=magic,
        model=magic_model,
        steps=6000,
        batch=256,
        rates=(3e-3, 3e-3),
        traced=10_000,
        activations=(None, "element"),
    ),
    "MNIST CNN": Case(
        data=mnist,
        model=stored("mnist/cnn_moonflower.keras"),
        steps=1200,
        batch=32,
        rates=(6e-3, 4e-3),
        annealed=True,
    ),
    "DS-CNN": Case(
        data=keywords,
        model=stored("kws_dscnn/kws_ds_cnn.keras"),
        steps=600,
        batch=32,
        rates=(6e-3, 4e-3),
        annealed=True,
        input_bits=(7, 1),
    ),
    "ResNet-8": Case(
        data=cifar,
        model=stored("cifar10/mlperf_resnet8.h5"),
        steps=300,
        batch=32,
        rates=(6e-3, 4e-3),
        annealed=True,
        input_bits=(8, 0),
    ),
}


def accuracy(model: keras.Model, samples: Labelled) -> float:
    """Per cent of the samples whose largest output is that of their class."""
    x, y = samples
    outputs = [predict(model, [x[n : n + 250]])[0] for n in range(0, len(x), 250)]
    return 100 * float(np.mean(np.concatenate(outputs).argmax(axis=1) == y))
