"""hls4ml's own converter gives our types: the example of the HGQ2 page, trained, exported and simulated."""

import re
from pathlib import Path

import hls4ml
import keras
import numpy as np
import pytest

import hgqify
from hgqify.errors import ExportError, HgqifyError
from hgqify.export import ProjectOptions, convert_from_keras_model, random_inputs, write_project
from hgqify.layers import QActivation, QAdd, QDense, Quantize
from hgqify.precision import lower
from hgqify.reference import run

# As written there, but for the sizes.
PAGE = """
import keras
from hgq.layers import QDense, QConv2D
from hgq.config import LayerConfigScope, QuantizerConfigScope

# Setup quantization configuration
# These values are the defaults, just for demonstration purposes here
with (
   # Configuration scope for setting the default quantization type and overflow mode
   # The second configuration scope overrides the first one for the 'datalane' place
   QuantizerConfigScope(place='all', default_q_type='kbi', overflow_mode='SAT_SYM'),
   # Configuration scope for enabling EBOPs and setting the beta0 value
   QuantizerConfigScope(place='datalane', default_q_type='kif', overflow_mode='WRAP'),
   LayerConfigScope(enable_ebops=True, beta0=1e-5),
):
   model = keras.Sequential([
      QConv2D(4, (3, 3), activation='relu'),
      keras.layers.MaxPooling2D((2, 2)),
      keras.layers.Flatten(),
      QDense(10)
   ])
"""


@pytest.fixture(scope="module")
def page() -> keras.Model:
    """The page's model, trained for a moment, without an input layer as there."""
    keras.utils.set_random_seed(0)
    names: dict = {}
    exec(PAGE.replace("from hgq.", "from hgqify."), names)
    model = names["model"]
    rng = np.random.default_rng(0)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = rng.random((32, 8, 8, 1), np.float32)
    model.fit(x, rng.integers(0, 10, 32), batch_size=16, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def wide() -> keras.Model:
    """Shared layers, a table, a branch, a nested model: what hls4ml cannot read by itself."""
    keras.utils.set_random_seed(1)
    inner = keras.Sequential([keras.Input((4,)), QDense(4, activation="relu", name="in_it")], name="nested")
    inputs = keras.Input((4,), name="input")
    x = Quantize(name="1-st")(inputs)
    x = QAdd(name="sum")([inner(x), x])
    return keras.Model(inputs, QActivation("tanh", name="tanh")(x))


TRACING = re.compile(r"#ifndef __SYNTHESIS__\n\s*nnet::save_layer_output[^\n]*\n#endif\n")


def firmware(folder: Path) -> dict[str, str]:
    """Everything hls4ml generates, by name; `write_project` lets every layer be traced besides."""
    files = [p for p in (folder / "firmware").rglob("*") if p.suffix in (".h", ".cpp", ".txt")]
    return {str(p.relative_to(folder)): TRACING.sub("", p.read_text()) for p in files}


def test_the_page_is_exact_through_hls4mls_own_converter(page, tmp_path):
    converted = hls4ml.converters.convert_from_keras_model(
        page, output_dir=str(tmp_path / "hls"), backend="Vitis"
    )
    converted.compile()
    program = lower(page)
    for inputs in (random_inputs(program, 100, seed=0)[0], random_inputs(program, 100, seed=1, reach=50)[0]):
        x = np.ascontiguousarray(inputs, np.float32)
        (expected,) = run(program, [x]).values
        assert len(np.unique(expected)) > 20
        np.testing.assert_array_equal(page.predict(x, verbose=0), expected)
        np.testing.assert_array_equal(converted.predict(x), expected)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("backend", ["Vitis", "Catapult"])
def test_its_firmware_is_that_of_write_project(page, tmp_path, backend, io_type):
    model = page if (backend, io_type) == ("Vitis", "io_parallel") else uniform()
    write_project(
        lower(model),
        tmp_path / "ours",
        ProjectOptions(backend=backend, io_type=io_type, reuse_factor=2, strategy="Latency"),
    )
    config = {"Model": {"ReuseFactor": 2, "Precision": "fixed<16,6>"}}
    hls4ml.converters.convert_from_keras_model(
        model, output_dir=str(tmp_path / "hls"), backend=backend, io_type=io_type, hls_config=config
    ).write()
    assert firmware(tmp_path / "hls") == firmware(tmp_path / "ours")


def uniform() -> keras.Model:
    """One format per tensor, as streams and Catapult need it."""
    keras.utils.set_random_seed(2)
    with hgqify.config.QuantizerConfigScope(heterogeneous_axis=()):
        return keras.Sequential(
            [keras.Input((6, 6, 1)), hgqify.layers.QConv2D(2, 3), keras.layers.Flatten(), QDense(3)]
        )


@pytest.mark.parametrize("granularity", ["model", "type", "name"])
def test_a_config_that_hls4ml_makes_is_taken(page, tmp_path, granularity):
    config = hls4ml.utils.config_from_keras_model(page, granularity=granularity, backend="Vitis")
    if granularity == "name":
        config["LayerName"][page.layers[-1].name] |= {"ReuseFactor": 6, "Strategy": "Resource"}
    converted = hls4ml.converters.convert_from_keras_model(
        page, output_dir=str(tmp_path), backend="Vitis", hls_config=config
    )
    dense = [node for node in converted.get_layers() if node.class_name == "Dense"]
    assert [node.get_attr("reuse_factor") for node in dense] == [6 if granularity == "name" else 1]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Model": {"Precision": "fixed<8,3>"}}, "takes no precision"),
        ({"LayerName": {"dense": {"Precision": {"result": "fixed<8,3>"}}}}, "takes no precision"),
        ({"LayerName": {"dense": {"ReuseFactr": 2}}}, "did you mean ReuseFactor"),
        ({"LayerName": {"dense": {"ReuseFactor": 2}}}, "no such layer"),
        ({"LayerType": {"QDense": {"ReuseFactor": 2}}}, "by layer type"),
        ({"Model": {"ReuseFactor": 0}}, "whole number"),
    ],
)
def test_what_cannot_be_followed_is_refused(wide, tmp_path, config, said):
    with pytest.raises(ExportError, match=re.compile(said, re.IGNORECASE)):
        convert_from_keras_model(wide, output_dir=str(tmp_path), hls_config=config)


def test_a_config_is_left_as_it_was(page, tmp_path):
    config = {"Model": {"ReuseFactor": 1}, "LayerName": {}}
    convert_from_keras_model(page, output_dir=str(tmp_path), hls_config=config)
    assert config == {"Model": {"ReuseFactor": 1}, "LayerName": {}}


def test_what_hls4ml_cannot_read_goes_through_our_function(wide, tmp_path):
    convert_from_keras_model(wide, output_dir=str(tmp_path / "hls"), io_type="io_parallel").write()
    write_project(lower(wide), tmp_path / "ours", ProjectOptions())
    assert firmware(tmp_path / "hls") == firmware(tmp_path / "ours")


def test_a_float_layer_among_ours_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((3,)), QDense(4), keras.layers.Dense(2, name="floating")])
    with pytest.raises(HgqifyError, match="floating"):
        hls4ml.converters.convert_from_keras_model(model, output_dir=str(tmp_path))


def test_float_models_are_left_to_hls4ml(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="floating")])
    converted = hls4ml.converters.convert_from_keras_model(model, output_dir=str(tmp_path), backend="Vitis")
    (dense,) = [node for node in converted.get_layers() if node.class_name == "Dense"]
    assert dense.name == "floating"
    assert dense.get_attr("weight_t").precision.width == 16
    assert "Hgqify" not in converted.config.config["HLSConfig"]["Model"]


def test_layers_made_of_layers_pass_hls4mls_reader_too(tmp_path):
    x, y = keras.Input((3, 2), name="x"), keras.Input((3, 4), name="y")
    with hgqify.config.QuantizerConfigScope(heterogeneous_axis=()):
        states = hgqify.layers.gru(Quantize()(x), 2, return_sequences=True)
        seen = hgqify.layers.multi_head_attention(Quantize()(y), states, num_heads=1, key_dim=2, output_dim=2)
        model = keras.Model([x, y], hgqify.layers.QBatchNormDense(2)(QAdd()([seen, states])))
    hls4ml.converters.convert_from_keras_model(
        model, output_dir=str(tmp_path / "hls"), backend="Vitis", allow_da_fallback=False
    ).write()
    write_project(lower(model), tmp_path / "ours", ProjectOptions())
    assert firmware(tmp_path / "hls") == firmware(tmp_path / "ours")
