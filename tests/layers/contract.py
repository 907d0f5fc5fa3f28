"""The contract every quantized layer keeps, checked by one function on one case at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from autodiff import numpy

from hgqify import fixed
from hgqify.graph.rehearsal import rehearse
from hgqify.layers import QLayer, refresh
from hgqify.quantizers import Quantizer

BATCH = 6


@dataclass(frozen=True, kw_only=True)
class Case:
    """One layer on one input.

    Attributes:
        name: of the test.
        make: builds the layer.
        shapes: of its inputs, without batch.
        oracle: (layer, quantized inputs as float64) -> the output before oq as float64, computed without
            the layer's own code.
        ebops: (layer, input bits, spans of its weights by name) -> EBOPs, by brute force; None where 0.
        meets: what an input looks like where it is quantized: as it is, or copied to every edge.
        trains: whether the case is trained, and a step then moves a weight. Off for layers without weights
            and for further options of a class trained elsewhere, since compiling gradients is slow.
    """

    name: str
    make: Callable[[], QLayer]
    shapes: Sequence[tuple[int, ...]]
    oracle: Callable[..., np.ndarray]
    ebops: Callable[..., int] | None = None
    meets: Callable[[np.ndarray], np.ndarray] = lambda x: x
    trains: bool = True


def quantized(quantizer: Quantizer, x: np.ndarray, weights: object = None) -> np.ndarray:
    """What ``fixed`` makes of ``x`` in the quantizer's formats."""
    state = quantizer.state(weights)
    return fixed.quantize(x, state.k, state.i, state.f, state.rounding, state.overflow, state.digits)


def scatter_widths(layer: QLayer, rng: np.random.Generator) -> None:
    """Draw a kernel, and give every quantizer differing small widths, so that no format is a special one."""
    if layer.kq is not None and hasattr(layer, "kernel"):
        layer.kernel.assign(rng.normal(0, 0.5, layer.kernel.shape))
    for quantizer in (*layer.iqs, layer.kq, layer.bq, layer.oq):
        if quantizer is None or quantizer.is_dummy:
            continue
        shape = quantizer.width_shape
        if quantizer.is_minifloat:
            parts = ((0, 4), (1, 4), (-1, 2))
            quantizer.set_minifloat(*(rng.integers(*part, shape) for part in parts))
            continue
        quantizer.set_state(i=rng.integers(0, 3, shape), f=rng.integers(1, 5, shape))


def draw_inputs(shapes: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[np.ndarray]:
    """Values in range and 4x beyond it, with zeros and ties."""
    batches = [rng.normal(0, 2, (BATCH, *shape)).astype(np.float32) for shape in shapes]
    for x in batches:
        x[1] *= 4
        x[2] = np.round(x[2] * 8) / 16
        x[3] = 0
    return batches


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one case did in its family's model.

    Attributes:
        layer: trained and refreshed.
        loaded: the same layer, saved and loaded.
        inputs: float32 batches.
        eager, predicted, restored: outputs of the model called, compiled, and loaded.
        moved: whether training moved a weight of the layer.
    """

    layer: QLayer
    loaded: QLayer
    inputs: list[np.ndarray]
    eager: np.ndarray
    predicted: np.ndarray
    restored: np.ndarray
    moved: bool


def run_family(cases: Sequence[Case], path: Path) -> dict[str, Run]:
    """Put all cases side by side in one model (compiling is what costs time), train, save and load it."""
    rng = np.random.default_rng(0)
    inputs, outputs, layers, xs = [], [], [], []
    for case in cases:
        layer = case.make()
        # Keras' random initializers compile once per shape; NumPy's are free.
        for option in ("kernel_initializer", "depthwise_initializer"):
            if hasattr(layer, option):
                setattr(layer, option, keras.initializers.Zeros())
        own = [keras.Input(shape) for shape in case.shapes]
        inputs.append(own)
        outputs.append(layer(own if len(own) > 1 else own[0]))
        layers.append(layer)
        xs.append(draw_inputs(case.shapes, rng))
        scatter_widths(layer, rng)
    before = [snapshot(layer) for layer in layers]
    chosen = [n for n, case in enumerate(cases) if case.trains]
    train(flatten(inputs, chosen), [outputs[n] for n in chosen], flatten(xs, chosen))
    after = [snapshot(layer) for layer in layers]
    moved = [
        any(np.any(a != b) for a, b in zip(new, old, strict=True))
        for new, old in zip(after, before, strict=True)
    ]

    everything = range(len(cases))
    model, flat = keras.Model(flatten(inputs, everything), outputs), flatten(xs, everything)
    refresh(model)
    eager, predicted = model(flat), model.predict_on_batch(flat)
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert rehearse(lambda: keras.saving.load_model(path)) is None  # none reads its variables as it is made
    restored = loaded(flat)
    return {
        case.name: Run(
            layer=layers[n],
            loaded=loaded.get_layer(layers[n].name),
            inputs=xs[n],
            eager=numpy(eager[n]),
            predicted=numpy(predicted[n]),
            restored=numpy(restored[n]),
            moved=moved[n],
        )
        for n, case in enumerate(cases)
    }


def flatten(groups: Sequence[list], chosen: Iterable[int]) -> list:
    """The items of the chosen groups, in order."""
    return [item for n in chosen for item in groups[n]]


def train(inputs: list, outputs: list, xs: list[np.ndarray]) -> None:
    """Two steps towards 1."""
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.01), loss=["mse"] * len(outputs))
    targets = [np.ones((BATCH, *y.shape[1:]), np.float32) for y in outputs]
    for _ in range(2):
        losses = model.train_on_batch(xs, targets)
    assert np.isfinite(losses).all()
    assert all(np.isfinite(numpy(w)).all() for w in model.trainable_variables)


def snapshot(layer: QLayer) -> list[np.ndarray]:
    """Copies of the trained weights."""
    return [numpy(w).copy() for w in layer.trainable_variables]


def check(case: Case, run: Run) -> None:
    """Hold what a case did against the contract."""
    layer = run.layer
    assert layer.built
    check_config(layer)
    assert run.moved == case.trains
    assert run.eager.dtype == np.float32
    shapes = [(BATCH, *s) for s in case.shapes]
    assert tuple(layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])) == run.eager.shape
    np.testing.assert_array_equal(run.predicted, run.eager)
    check_grid(layer)
    check_oracle(case, layer, run.inputs, run.eager)
    check_ebops(case, layer)
    assert type(run.loaded) is type(layer)
    assert run.loaded.get_config() == layer.get_config()
    np.testing.assert_array_equal(run.restored, run.eager)


def check_config(layer: QLayer) -> None:
    """A config is JSON and makes an equal layer."""
    config = layer.get_config()
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config


def check_grid(layer: QLayer) -> None:
    """Deployed constants are what ``fixed`` makes of the float ones."""
    weights = layer.quantized_weights()
    floats = {}
    if "kernel" in weights:
        floats = {
            name: numpy(value)
            for name, value in zip(("kernel", "bias"), layer.constants(), strict=True)
            if value is not None
        }
    if "scale" in weights:
        floats["scale"], floats["shift"] = layer.scale_shift()
    for name, value in weights.items():
        quantizer = layer.kq if name in ("kernel", "scale") else layer.bq
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, quantized(quantizer, floats[name], floats[name]))


def check_oracle(case: Case, layer: QLayer, xs: Sequence[np.ndarray], y: np.ndarray) -> None:
    """The layer equals exact arithmetic in float64."""
    inputs = [quantized(q, case.meets(x)) for q, x in zip(layer.iqs, xs, strict=True)] if layer.iqs else xs
    expected = case.oracle(layer, *(np.asarray(x, np.float64) for x in inputs))
    if layer.oq is not None and not getattr(layer, "uses_table", False):
        expected = quantized(layer.oq, expected)
    np.testing.assert_array_equal(y, expected)
    assert np.any(y != 0)


def check_ebops(case: Case, layer: QLayer) -> None:
    """The exact count equals brute force, and the value in the loss."""
    if case.ebops is None:
        assert layer.ebops() == 0
        assert layer.ebops_value() is None
        return
    bits = []
    for quantizer, shape in zip(layer.iqs, case.shapes, strict=True):
        state = quantizer.state()
        counted = state.i + state.f
        if state.digits is not None:  # stored in k + e + m bits, with i + f = m + 2^e - 1
            counted = state.k + np.log2(state.i + state.f - state.digits + 2).astype(int) + state.digits - 1
        bits.append(np.broadcast_to(np.maximum(counted, 0), case.meets(np.empty(shape)).shape))
    spans = {name: brute_span(w) for name, w in layer.quantized_weights().items()}
    expected = case.ebops(layer, *bits, **spans)
    assert layer.ebops() == expected > 0
    assert numpy(layer.ebops_value()) == expected


def brute_span(values: np.ndarray) -> np.ndarray:
    """Length of the binary digits between the outermost ones."""

    def one(value: float) -> int:
        return len(bin(abs(int(value * 2**40))).removeprefix("0b").strip("0"))

    return np.vectorize(one, otypes=[np.int64])(values.astype(np.float64))
