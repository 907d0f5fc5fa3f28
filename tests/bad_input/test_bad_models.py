"""Archives whose config or weights are no model, are hostile, or are a model nobody can convert."""

import base64
import json
import marshal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import good_input as good
import h5py
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers
from refusals import Bad, assert_told

from hgqify.cli import main
from hgqify.convert import convert
from hgqify.graph import read

MARKER = "marker"
"""A file that code from a model would make in the working folder."""


def with_text(text: str | bytes) -> Callable[[Path], None]:
    return good.with_files(config=text.encode() if isinstance(text, str) else text)


def setting(number: int = 1, **values: Any) -> Callable[[Path], None]:
    """A layer, the hidden one if none is said, with other values in its config, built anew."""

    def edit(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][number]
        layer["config"].update(values)
        layer.pop("build_config", None)

    return good.with_config(edit)


def wide(size: int) -> Callable[[Path], None]:
    """An input of so many numbers."""

    def edit(config: dict[str, Any]) -> None:
        config["config"]["layers"][0]["config"]["batch_shape"] = [None, size]
        config["config"]["layers"][1].pop("build_config", None)

    return good.with_config(edit)


def legacy(**values: Any) -> Callable[[Path], None]:
    """The hidden layer of an HDF5 file with other values in its entry."""

    def make(path: Path) -> None:
        good.small_model().save(path)
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            config["config"]["layers"][1].update(values)
            file.attrs["model_config"] = json.dumps(config)

    return make


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def replaced(**entry: Any) -> Callable[[Path], None]:
    """Another object in place of the hidden layer."""
    return good.with_layer(lambda layer: layer.update({"registered_name": None, **entry}))


def operation(module: str, name: str, *args: Any) -> Callable[[Path], None]:
    """A functional model that has a function among its operations, called with arguments."""

    def edit(config: dict[str, Any]) -> None:
        call = {"args": list(args), "kwargs": {}}
        config["config"]["layers"].append(
            {**function(module, name), "name": "payload", "inbound_nodes": [call]}
        )

    return good.with_config(edit, functional())


def functional() -> keras.Model:
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="features")
    y = layers.Dense(5, activation="relu", name="hidden")(x)
    return keras.Model(x, layers.Dense(3, name="scores")(layers.Add(name="sum")([y, y])), name="small")


def payload() -> str:
    """Code that leaves a file behind, as Keras writes it into a Lambda."""
    code = compile(f"open({MARKER!r}, 'w').close()", "payload", "exec")
    return base64.b64encode(marshal.dumps(code)).decode()


def lambda_function() -> dict[str, Any]:
    value = {"code": payload(), "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": value}


def pickled_module() -> dict[str, Any]:
    code = base64.b64encode(b"cos\nsystem\n(S'touch marker'\ntR.").decode()
    return {"class_name": "__bytes__", "config": {"value": code}}


def kernel(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Other numbers in place of the first weights."""

    def edit(file: h5py.File) -> None:
        name = "layers/dense/vars/0"
        values = change(file[name][()])
        del file[name]
        file[name] = values

    return good.with_weights(edit)


def holding(value: float) -> Callable[[Path], None]:
    def change(values: np.ndarray) -> np.ndarray:
        values[2, 1] = value
        return values

    return kernel(change)


def rewired(layer: int, source: str) -> Callable[[Path], None]:
    """A layer of the functional model that reads another one."""

    def edit(config: dict[str, Any]) -> None:
        for found in tensors(config["config"]["layers"][layer]["inbound_nodes"]):
            found["config"]["keras_history"][0] = source

    return good.with_config(edit, functional())


def tensors(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in tensors(item)]


def changed(**values: Any) -> Callable[[Path], None]:
    """The functional model with other entries in its own config."""
    return good.with_config(lambda config: config["config"].update(values), functional())


def same_names(config: dict[str, Any]) -> None:
    for layer in config["config"]["layers"]:
        layer["name"] = layer["config"]["name"] = "same"


class Unknown(keras.layers.Layer):
    """A class of the user's own."""

    def call(self, x: Any) -> Any:
        return x + 1


class Own(keras.Model):
    """A subclassed model."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def model(make: Callable[[], keras.Model]) -> Callable[[Path], None]:
    return lambda path: make().save(path)


def subclassed() -> keras.Model:
    own = Own()
    own(np.ones((1, 4), np.float32))
    return own


def quantized(path: Path) -> None:
    """A model that was converted."""
    convert(read(good.small_model())).model.save(path)


def sequential(*stack: layers.Layer, shape: tuple[int | None, ...] = (4,), **options: Any) -> keras.Model:
    return keras.Sequential([keras.Input(shape, **options), *stack])


RELU = {"module": "keras.layers", "class_name": "ReLU", "config": {}, "build_config": None}
AGAIN = r"Save it again with Keras 3|save the model again with"
HARM = r"no part of a network; received: {}\. It may be made to do harm"
CLASSES = r"not part of Keras; received: {}\. Give the code that defines them: --import"
DEEP = "[" * 100_000 + "]" * 100_000
NESTED = '{"class_name": "Sequential", "config": {"layers": [' * 400 + "]}}" * 400
BAD = [
    # the config as text
    Bad("config not JSON", with_text("hello"), rf"config is not JSON.*{AGAIN}"),
    Bad("config of no text", with_text(b"\xff\xfe\x00{"), rf"config is not JSON.*{AGAIN}"),
    Bad("config nested in lists", with_text(DEEP), r"nested too deeply.*200 levels\. Build the model"),
    Bad("config nested in models", with_text(NESTED), r"nested too deeply.*200 levels\. Build the model"),
    Bad("config of huge numbers", with_text('{"class_name": ' + "9" * 5000 + "}"), rf"not JSON.*{AGAIN}"),
    Bad("config null", with_text("null"), rf"describes no model; received: null\..*{AGAIN}"),
    Bad("config a list", with_text("[1, 2]"), rf"describes no model; received: \[1, 2\]\..*{AGAIN}"),
    Bad("config without a class", with_text("{}"), rf"describes no model; received: \{{\}}\..*{AGAIN}"),
    Bad("a class of Keras that is none", replaced(class_name="Dens"), rf"Dens.*{AGAIN}"),
    Bad("layers in place of a list", good.with_config(lambda c: c["config"].update(layers=5)), AGAIN),
    Bad("a layer, no model", good.with_config(lambda c: c.update(RELU)), r"holds no model"),
    # code
    Bad("function of os", setting(activation=function("os", "system")), CLASSES.format(r"system \(os\)")),
    Bad("class of subprocess", replaced(module="subprocess", class_name="Popen"), r"Popen \(subprocess\)"),
    Bad("function of builtins", setting(activation=function("builtins", "exec")), r"exec \(builtins\)"),
    Bad("class of builtins", replaced(module="builtins", class_name="eval"), r"eval \(builtins\)"),
    Bad("path of functions", operation("os.path", "system", "touch marker"), r"system \(os\.path\)"),
    Bad(
        "download", operation("keras.utils", "get_file", "http://x/y"), HARM.format(r"keras\.utils\.get_file")
    ),
    Bad("dotted", operation("keras", "utils.get_file", "a"), HARM.format(r"keras\.utils\.get_file")),
    Bad(
        "private download",
        operation("keras.src.utils.file_utils", "get_file", "a"),
        HARM.format(".*get_file"),
    ),
    Bad("loader", operation("keras.models", "load_model", "a"), HARM.format(r"keras\.models\.load_model")),
    Bad("weights of others", operation("keras.applications", "VGG16"), HARM.format(".*VGG16")),
    Bad("data set", operation("keras.datasets.mnist", "load_data"), HARM.format(".*load_data")),
    Bad(
        "switch for code",
        setting(activation=function("keras.config", "enable_unsafe_deserialization")),
        HARM.format(r"keras\.config\.enable_unsafe_deserialization"),
    ),
    Bad(
        "Lambda",
        replaced(class_name="Lambda", config={"name": "payload", "function": lambda_function()}),
        r"Python code that would run.*Lambda layer 'payload'.*--unsafe",
    ),
    Bad(
        "Lambda in HDF5",
        legacy(class_name="Lambda", config={"name": "payload", "function": [payload(), None, None]}),
        r"Python code that would run.*Lambda layer 'payload'.*--unsafe",
        ".h5",
    ),
    Bad(
        "class of subprocess in HDF5",
        legacy(
            module="subprocess", class_name="Popen", registered_name=None, config={"args": "touch marker"}
        ),
        r"Popen \(subprocess\)",
        ".h5",
    ),
    Bad("unknown class in HDF5", legacy(class_name="Popen"), rf"Popen.*{AGAIN}", ".h5"),
    Bad(
        "lambda as activation",
        setting(activation=lambda_function()),
        r"received: a lambda function.*--unsafe",
    ),
    Bad(
        "PyTorch module",
        replaced(class_name="TorchModuleWrapper", config={"module": pickled_module()}),
        r"pickled",
    ),
    Bad(
        "SavedModel", replaced(class_name="TFSMLayer", config={"filepath": "/etc"}), r"SavedModel in another"
    ),
    Bad(
        "vocabulary in a file",
        replaced(class_name="StringLookup", config={"vocabulary": "/etc/passwd", "name": "words"}),
        r"reads another file.*StringLookup with the vocabulary '/etc/passwd'\. Look words up before",
    ),
    # shapes
    Bad("2^40 units", setting(units=2**40), rf"{2**40}.*{AGAIN}"),
    Bad("2^33 units", setting(2, units=2**33), rf"'scores'.*\(5, {2**33}\).*{AGAIN}"),
    Bad("2^33 columns", wide(2**33), rf"{2**33}.*{AGAIN}"),
    Bad("negative units", setting(units=-1), rf"units.*-1.*{AGAIN}"),
    Bad("no units", setting(units=0), rf"units.*0.*{AGAIN}"),
    Bad("units as text", setting(units="many"), rf"units.*many.*{AGAIN}"),
    Bad(
        "inputs of size zero",
        model(lambda: sequential(layers.Flatten(), shape=(0,))),
        r"input is empty.*\(None, 0\)\. Build",
    ),
    Bad(
        "length unknown",
        model(lambda: sequential(layers.Conv1D(2, 2), shape=(None, 4))),
        r"dynamic.*keras\.Input",
    ),
    # weights
    Bad(
        "NaN weights",
        holding(np.nan),
        r"hidden: a weight is not finite; received: nan in kernel, at \(2, 1\) \(1 of 20\)\. Train the",
    ),
    Bad(
        "infinite weights",
        holding(np.inf),
        r"hidden: a weight is not finite; received: inf in kernel.*\. Train",
    ),
    Bad("turned weights", kernel(np.transpose), rf"do not fit.*'hidden'.*\(4, 5\).*\D5, 4\D.*{AGAIN}"),
    Bad("flat weights", kernel(np.ravel), rf"\(4, 5\).*\D20\D.*{AGAIN}"),
    Bad("weights of text", kernel(lambda values: np.full(values.shape, b"x")), AGAIN),
    Bad("a missing bias", good.with_weights(lambda file: file.__delitem__("layers/dense/vars/1")), AGAIN),
    Bad("missing layer", good.with_weights(lambda file: file.__delitem__("layers/dense_1")), AGAIN),
    # graphs
    Bad("cycle", rewired(1, "scores"), AGAIN),
    Bad("layer that reads itself", rewired(1, "hidden"), AGAIN),
    Bad("layer that reads none", rewired(2, "nobody"), AGAIN),
    Bad("unknown output", changed(output_layers=[["nobody", 0, 0]]), AGAIN),
    Bad("unknown input", changed(input_layers=[["nobody", 0, 0]]), AGAIN),
    Bad("output that does not exist", changed(output_layers=[["scores", 5, 7]]), AGAIN),
    Bad("input that is cut off", changed(input_layers=[["hidden", 0, 0]]), AGAIN),
    Bad("equal names", good.with_config(same_names, functional()), AGAIN),
    Bad("no outputs", changed(output_layers=[]), r"no outputs|Save it again"),
    Bad("no layers", model(lambda: keras.Sequential(name="none")), r"no input shape yet|no layers"),
    # what cannot be converted
    Bad(
        "own class",
        model(lambda: sequential(Unknown(name="plus"))),
        r"not part of Keras; received: Unknown \(",
    ),
    Bad("own model", model(subclassed), r"not part of Keras; received: Own \("),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_model(bad: Bad, folder: Path, refused: Callable[[str], str]) -> None:
    name = bad.write(folder)
    message = refused(f"{name} --calib x.npy")
    assert_told(bad.told, message)
    assert not (folder / MARKER).exists()


def test_the_payloads_are_what_they_seem(folder: Path) -> None:
    """Where it is run, the code does leave its marker: a refusal is not luck."""
    exec(marshal.loads(base64.b64decode(payload())))
    assert (folder / MARKER).exists()
    assert json.loads(good.members(Path("good.keras"))[good.CONFIG])["class_name"] == "Sequential"


def compiled(path: Path) -> None:
    """Compiled with a loss of the user's own, and a model inside that is, too."""

    def loss(y: Any, predicted: Any) -> Any:
        return keras.ops.mean(y - predicted)

    inner = good.small_model()
    inner.compile("adam", loss)
    outer = keras.Sequential([keras.Input((4,)), inner])
    outer.compile("adam", loss)
    outer.save(path)


def in_dtype(dtype: str) -> Callable[[Path], None]:
    return model(lambda: sequential(layers.Dense(3, dtype=dtype)))


def integers(path: Path) -> None:
    x = keras.Input((2,), dtype="int32")
    keras.Model(x, layers.Flatten()(layers.Embedding(9, 3)(x))).save(path)


ODD = {
    "compiled with an own loss": (compiled, ".keras"),
    "compiled legacy model": (compiled, ".h5"),
    "float16": (in_dtype("float16"), ".keras"),
    "bfloat16": (in_dtype("bfloat16"), ".keras"),
    "mixed": (in_dtype("mixed_float16"), ".keras"),
    "integers": (integers, ".keras"),
    "more weights than needed": (good.with_weights(lambda file: file.create_group("layers/more")), ".keras"),
    "legacy under another name": (lambda path: path.write_bytes(Path("good.h5").read_bytes()), ".keras"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_looks_odd_and_is_not_bad(what: str, folder: Path) -> None:
    make, suffix = ODD[what]
    make(folder / f"odd{suffix}")
    result = CliRunner().invoke(main, ["inspect", f"odd{suffix}"])
    assert result.exit_code == 0, result.output
    assert "converted" in result.output
