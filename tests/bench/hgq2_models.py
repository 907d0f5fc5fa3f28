"""HGQ2 for `pareto.py`: its models of ours, trained as its pages say, counted as ours are.

One training serves all budgets: beta, the price of an EBOP, rises log-linearly, and the checkpoint with the
best validation accuracy within each budget is kept. HGQ2's own EBOPs count declared widths (and additions and
biases); the comparison counts the multiplications of what it trained by our definition.
"""

import math
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from hgq.config import LayerConfigScope, QuantizerConfig, QuantizerConfigScope
from hgq.layers import QAdd, QAveragePooling2D, QBatchNormalization, QConv2D, QDense
from hgq.utils import trace_minmax
from pareto_cases import CHECKPOINTS, Case, Data, accuracy

from hgqify.graph import build, canonicalize, read
from hgqify.layers import span, window_padding
from hgqify.layers.ebops import conv_ebops

LONG = 10_000  # steps
# beta times the EBOPs of uniform 8 bit, at first and at last. What is short needs more to meet the smallest
# budgets; what is long spends steps below them.
PRICES = {False: (0.03, 10.0), True: (0.03, 3.0)}
BIAS_BITS = 12
WIDTH = 8  # bits with sign that a start from the float model begins with


class Batches(keras.utils.PyDataset):
    """So many random batches, which follow from the seed and the epoch."""

    def __init__(self, x: np.ndarray, y: np.ndarray, *, size: int, count: int, seed: int, epoch: int) -> None:
        super().__init__()
        self._x, self._y = x, y
        random = np.random.default_rng((seed, epoch))
        rounds = math.ceil(count * size / len(x))
        order = np.concatenate([random.permutation(len(x)) for _ in range(rounds)])
        self._chosen = order[: count * size].reshape(count, size)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._x[self._chosen[index]], self._y[self._chosen[index]]


@dataclass
class Progress:
    """Where a training stands, after so many checkpoints.

    Attributes:
        done: checkpoints that are behind it.
        seconds: they took.
        weights, optimizer: arrays of the model and of its optimizer.
        best: by budget: validation accuracy, weights, exact and declared EBOPs.
    """

    done: int = 0
    seconds: float = 0.0
    weights: list[np.ndarray] = field(default_factory=list)
    optimizer: list[np.ndarray] = field(default_factory=list)
    best: dict[int, tuple[float, list[np.ndarray], int, int]] = field(default_factory=dict)

    @classmethod
    def kept(cls, path: Path) -> "Progress":
        return pickle.loads(path.read_bytes()) if path.exists() else cls()

    def keep(self, path: Path) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(pickle.dumps(self))
        new.replace(path)


def train(
    model: keras.Model,
    data: Data,
    case: Case,
    budgets: Mapping[int, int],
    *,
    seed: int,
    from_float: bool,
    steps: int,
    kept: Path,
) -> dict[int, dict[str, Any]]:
    """Train once, and judge the best checkpoint within each budget.

    Args:
        model: the float model.
        data: its labelled splits train and validation.
        case: batch and learning rates.
        budgets: most exact EBOPs, by name; the first is that of uniform 8 bit.
        seed: of the weights and batches.
        from_float: start from the float weights with batch normalizations folded, at 8 bits that hold
            weights and activations; else from random weights at HGQ2's own widths.
        steps: gradient steps, a multiple of CHECKPOINTS.
        kept: file in which the training stands at its last checkpoint, from which it goes on. It is the
            caller's to remove.

    Returns:
        For each budget the fields of a point that were found.
    """
    keras.utils.set_random_seed(seed)
    start_model = _folded(model) if from_float else model
    quantized = hgq2_model(start_model, data.calib, case, from_float=from_float)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    quantized.compile(keras.optimizers.Adam(_learning_rate(case, from_float, steps)), loss)
    quantized.optimizer.build(quantized.trainable_variables)
    progress = Progress.kept(kept)
    if progress.done:
        quantized.set_weights(progress.weights)
        for variable, value in zip(quantized.optimizer.variables, progress.optimizer, strict=True):
            variable.assign(value)
    count = steps // CHECKPOINTS
    whole = next(iter(budgets.values()))
    low, high = (price / whole for price in PRICES[steps >= LONG])
    best = progress.best
    for epoch in range(progress.done, CHECKPOINTS + 1):
        start = time.monotonic()
        if epoch:  # the start is a checkpoint too
            _set_beta(quantized, low * (high / low) ** ((epoch - 1) / (CHECKPOINTS - 1)))
            batches = Batches(*data.train, size=case.batch, count=count, seed=seed, epoch=epoch)
            # Random already; Keras' own order would differ when a training goes on.
            quantized.fit(batches, epochs=epoch, initial_epoch=epoch - 1, shuffle=False, verbose=0)
        weights = quantized.get_weights()
        declared = int(trace_minmax(quantized, data.train[0][: case.traced], batch_size=256))
        ebops, found = exact_ebops(quantized), accuracy(quantized, data.validation)
        for part, budget in budgets.items():
            if ebops <= budget and (part not in best or found >= best[part][0]):
                best[part] = (found, quantized.get_weights(), ebops, declared)
        quantized.set_weights(weights)
        optimizer = [np.asarray(variable) for variable in quantized.optimizer.variables]
        seconds = progress.seconds + time.monotonic() - start
        progress = Progress(epoch + 1, seconds, weights, optimizer, best)
        progress.keep(kept)
        print(
            f"{kept.stem}: {epoch * count} of {steps} steps, {seconds:.0f} s,"
            f" {ebops / whole:.3f} of 8 bit, validation {found:.2f}",
            file=sys.stderr,
            flush=True,
        )
    figures: dict[int, dict[str, Any]] = {}
    for part in budgets:
        figures[part] = {"seconds": round(progress.seconds, 1)}
        if part in best:
            _, weights, ebops, declared = best[part]
            quantized.set_weights(weights)
            judged = accuracy(quantized, data.test)
            figures[part] |= {"accuracy": judged, "ebops": ebops, "declared": declared}
    return figures


def _learning_rate(case: Case, from_float: bool, steps: int) -> Any:
    """Constant as in HGQ2's example, or in cosine cycles as in its published sweeps, one a checkpoint."""
    rate, decay = case.rates[from_float], keras.optimizers.schedules.CosineDecayRestarts
    return decay(rate, steps // CHECKPOINTS, t_mul=1.0, m_mul=1.0) if case.annealed else rate


def _folded(model: keras.Model) -> keras.Model:
    graph, _ = canonicalize(read(model), strip_softmax=True)
    return build(graph)


def _set_beta(model: keras.Model, beta: float) -> None:
    for variable in model.variables:
        if variable.path.endswith("/beta"):
            variable.assign(beta)


def hgq2_model(model: keras.Model, calib: np.ndarray, case: Case, *, from_float: bool) -> keras.Model:
    """HGQ2's layers in the place of Keras' own; scores are logits.

    Weights have a width each. Activations have one per element in dense nets and one per tensor in others,
    which are too large for other firmware than streams; ours are per tensor in both.
    """
    dense = all(len(layer.output.shape) == 2 for layer in model.layers)
    axes = {"homogeneous_axis": (0,)} if dense else {"heterogeneous_axis": ()}
    largest = _largest_inputs(model, calib) if from_float else {}
    first = next(layer.name for layer in model.layers if getattr(layer, "kernel", None) is not None)

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        integer, fraction = case.input_bits if layer.name == first else (2, 6)
        if layer.name in largest and layer.name != first:
            integer = _integer_bits(largest[layer.name])
            fraction = WIDTH - integer
        inputs = QuantizerConfig("kif", "datalane", i0=integer, f0=fraction)
        return _converted(layer, inputs, from_float=from_float)

    with (
        QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP", **axes),
        LayerConfigScope(enable_ebops=True, beta0=1e-9),
    ):
        result = keras.models.clone_model(model, clone_function=convert)
    if from_float:
        for old, new in zip(model.layers, result.layers, strict=True):
            if getattr(old, "kernel", None) is not None:
                new.kernel.assign(_kernel(old))
                new.bias.assign(np.asarray(old.bias))  # a copy: Keras gives its arrays away
    return result


def _largest_inputs(model: keras.Model, calib: np.ndarray) -> dict[str, float]:
    """Largest magnitude of what enters each layer."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    tensors = [keras.tree.flatten(layer.input) for layer in layers]
    inside = keras.Model(model.inputs, tensors)
    values = inside.predict(calib[:512], batch_size=128, verbose=0)
    return {
        layer.name: max(float(np.abs(v).max()) for v in found)
        for layer, found in zip(layers, values, strict=True)
    }


def _integer_bits(largest: float) -> int:
    return math.floor(math.log2(largest)) + 1 if largest > 0 else 0


def _kernel(layer: keras.layers.Layer) -> np.ndarray:
    """As HGQ2 stores it: a depthwise convolution is one in groups."""
    kernel = np.asarray(layer.kernel)
    return np.swapaxes(kernel, -1, -2) if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel


def _converted(layer: keras.layers.Layer, inputs: QuantizerConfig, *, from_float: bool) -> keras.layers.Layer:
    config = layer.get_config()
    kinds = keras.layers
    common: dict[str, Any] = {"name": layer.name, "iq_conf": inputs}
    if isinstance(layer, kinds.Dense | kinds.Conv2D):
        softmax = config["activation"] == "softmax"
        common |= {"activation": None if softmax else config["activation"], "use_bias": config["use_bias"]}
        if from_float:
            integer = _integer_bits(float(np.abs(layer.kernel).max()))
            common["kq_conf"] = QuantizerConfig("kbi", "weight", b0=WIDTH - 1, i0=integer)
            integer = _integer_bits(float(np.abs(layer.bias).max()))
            common["bq_conf"] = QuantizerConfig("kbi", "bias", b0=BIAS_BITS, i0=integer)
    windowed = {name: config[name] for name in ("strides", "padding") if name in config}
    match layer:
        case kinds.Dense():
            return QDense(config["units"], **common)
        case kinds.DepthwiseConv2D():
            channels = layer.kernel.shape[2]
            return QConv2D(channels, config["kernel_size"], groups=channels, **windowed, **common)
        case kinds.Conv2D():
            return QConv2D(config["filters"], config["kernel_size"], **windowed, **common)
        case kinds.BatchNormalization():
            return QBatchNormalization(momentum=0.9, epsilon=config["epsilon"], **common)
        case kinds.Add():
            return QAdd(name=layer.name, iq_confs=inputs)
        case kinds.AveragePooling2D():
            return QAveragePooling2D(config["pool_size"], **windowed, **common)
    return type(layer).from_config(config)


def exact_ebops(model: keras.Model) -> int:
    """EBOPs by our definition: bits of every activation times the span of every weight it meets.

    A batch normalization is a multiplication too. An average by a constant that is no power of two would
    be one for us; here it counts nothing.
    """
    counted: dict[type, Callable[[Any], int]] = {
        QDense: _dense_ebops,
        QConv2D: _conv_ebops,
        QBatchNormalization: _scale_ebops,
    }
    return sum(counted[type(layer)](layer) for layer in model.layers if type(layer) in counted)


def input_bits(layer: Any) -> np.ndarray:
    """i + f of every element that enters a layer, 0 where the quantizer gives the constant 0."""
    k, i, f = (np.asarray(values, np.int64) for values in layer.iq.quantizer.kif)
    bits = np.where(k + i + f > 0, np.maximum(i + f, 0), 0)
    return np.broadcast_to(bits, (1, *layer.input.shape[1:]))[0]


def _dense_ebops(layer: Any) -> int:
    return int((input_bits(layer) @ span(np.asarray(layer.qkernel))).sum())


def _conv_ebops(layer: Any) -> int:
    shape = layer.input.shape[1:-1]
    padding = window_padding(shape, layer.kernel_size, layer.strides, (1, 1), layer.padding)
    spans = span(np.asarray(layer.qkernel))
    return conv_ebops(
        input_bits(layer), spans, strides=layer.strides, dilation=(1, 1), padding=padding, groups=layer.groups
    )


def _scale_ebops(layer: Any) -> int:
    scale, _ = layer.qscaler_and_qoffset
    return int((input_bits(layer) * span(np.asarray(scale))).sum())
