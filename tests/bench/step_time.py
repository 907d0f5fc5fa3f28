"""What a training step with quantizers costs, against the float step and against HGQ2's.

    python tests/bench/step_time.py [--backend jax] [--models mlp cnn resnet8] [--rounds 15] [--seconds 0.3]

A step is Keras' own: `train_step` (Adam, cross-entropy), compiled as `fit` compiles it, its state carried on,
one batch that lies in memory. The contestants take turns: in every round each runs for some tenths of a
second, and a figure is the median over the rounds of the ratio of two times of the *same* round. Only ratios
mean anything; the machine may be busy. The first batch of figures is thrown away.

- float: the plain Keras model. Normalizations are folded in all models, which can only favour float.
- trained: a width for every weight (kif: one trained tensor of widths per kernel) and integer and
  fractional bits for every element (or tensor) of the activations (kif SAT), all trained; EBOPs in the loss.
- quarter: the same, with the gradients of activation widths from a quarter of the batch, and none of the
  inputs, as fine-tuning under a budget trains with `width_gradient_part` 4.
- frozen: the same formats, none of them trained, and no EBOPs in the loss.
- HGQ2: the defaults of its pages (weights kbi SAT_SYM, activations kif WRAP) at the same granularity, EBOPs
  in the loss; only where `hgq` can be imported.

Peak memory is what the compiled step needs at once: arguments, results and temporaries, as XLA plans them;
known under JAX only. TensorFlow's step is compiled by XLA as `fit` compiles it, PyTorch's is eager.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import backend_option  # before keras, which reads its backend when it is imported
import keras
import numpy as np
from keras import layers as K

import hgqify.layers as L
from hgqify.graph import first_trained
from hgqify.layers import LayerConfigScope
from hgqify.quantizers import QuantizerConfig, QuantizerConfigScope

PER_ELEMENT = {"homogeneous_axis": (0,)}
PER_TENSOR = {"heterogeneous_axis": ()}
CLASSES = 10
PRICE = 1e-9  # of an EBOP, in units of the loss


def mlp() -> keras.Model:
    inputs = x = keras.Input((784,))
    for units in (512, 512):
        x = K.Dense(units, activation="relu")(x)
    return keras.Model(inputs, K.Dense(CLASSES)(x))


def cnn() -> keras.Model:
    inputs = x = keras.Input((32, 32, 3))
    for filters in (16, 32, 64):
        x = K.Conv2D(filters, 3, padding="same", strides=1 if filters == 16 else 2, activation="relu")(x)
    return keras.Model(inputs, K.Dense(CLASSES)(K.Flatten()(x)))


def resnet8() -> keras.Model:
    """The ResNet-8 of MLPerf Tiny without its normalizations."""

    def conv(x: Any, filters: int, size: int, strides: int = 1, activation: str | None = None) -> Any:
        return K.Conv2D(filters, size, strides=strides, padding="same", activation=activation)(x)

    inputs = keras.Input((32, 32, 3))
    x = conv(inputs, 16, 3, activation="relu")
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = conv(conv(x, filters, 3, strides, "relu"), filters, 3)
        x = x if strides == 1 else conv(x, filters, 1, strides)
        x = K.ReLU()(K.Add()([x, y]))
    return keras.Model(inputs, K.Dense(CLASSES)(K.Flatten()(K.AveragePooling2D(8)(x))))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table."""

    name: str
    make: Callable[[], keras.Model]
    batch: int
    axes: dict[str, Any]

    @property
    def activations(self) -> str:
        return "element" if self.axes is PER_ELEMENT else "tensor"


CASES = {
    "mlp": [Case(name="MLP 784-512-512-10", make=mlp, batch=256, axes=PER_ELEMENT)],
    "cnn": [Case(name="CNN 32x32x3", make=cnn, batch=128, axes=a) for a in (PER_ELEMENT, PER_TENSOR)],
    "resnet8": [Case(name="ResNet-8", make=resnet8, batch=32, axes=a) for a in (PER_ELEMENT, PER_TENSOR)],
}


def windows(config: dict[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in ("strides", "padding") if name in config}


def ours(model: keras.Model, case: Case, *, trained: bool, part: int = 1) -> keras.Model:
    """The model in our layers."""
    weights = {"f0": 7, "trainable": trained}
    data = QuantizerConfig("kif", "datalane", overflow_mode="SAT", i0=3, f0=5, trainable=trained, **case.axes)
    data = data.replace(width_gradient_part=part)

    def convert(layer: K.Layer) -> K.Layer:
        config = layer.get_config()
        match layer:
            case K.Dense():
                return L.QDense(layer.units, activation=config["activation"], iq_conf=data)
            case K.Conv2D():
                size, act = config["kernel_size"], config["activation"]
                return L.QConv2D(layer.filters, size, activation=act, iq_conf=data, **windows(config))
            case K.Add():
                return L.QAdd(iq_conf=data)
            case K.AveragePooling2D():
                return L.QAveragePooling2D(config["pool_size"], iq_conf=data, **windows(config))
        return type(layer).from_config(config)

    with (
        QuantizerConfigScope(place=("weight", "bias"), default_q_type="kif", **weights),
        LayerConfigScope(enable_ebops=trained, beta0=PRICE),
    ):
        clone = keras.models.clone_model(model, clone_function=convert)
    for layer in first_trained(clone) if part > 1 else ():
        if isinstance(layer, L.QLinear):
            layer.needs_input_gradient = False
    return clone


def hgq2(model: keras.Model, case: Case) -> keras.Model:
    """The model in HGQ2's layers."""
    from hgq import config as C
    from hgq import layers as H

    def convert(layer: K.Layer) -> K.Layer:
        config = layer.get_config()
        match layer:
            case K.Dense():
                return H.QDense(layer.units, activation=config["activation"], iq_conf=data)
            case K.Conv2D():
                size, act = config["kernel_size"], config["activation"]
                return H.QConv2D(layer.filters, size, activation=act, iq_conf=data, **windows(config))
            case K.Add():
                return H.QAdd(iq_confs=data)
            case K.AveragePooling2D():
                return H.QAveragePooling2D(config["pool_size"], iq_conf=data, **windows(config))
        return type(layer).from_config(config)

    with (
        C.QuantizerConfigScope(place="all", default_q_type="kbi", overflow_mode="SAT_SYM"),
        C.QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="WRAP", **case.axes),
        C.LayerConfigScope(enable_ebops=True, beta0=PRICE),
    ):
        # Its configs are completed by the scope in force when they are made.
        data = C.QuantizerConfig("kif", "datalane", i0=3, f0=5)
        return keras.models.clone_model(model, clone_function=convert)


class Stepper:
    """The training step of a model, compiled as `fit` compiles it, and one batch that lies in memory."""

    bytes: int | None = None  # peak memory of the step, where it is known

    def __init__(self, model: keras.Model, batch: tuple[np.ndarray, np.ndarray]) -> None:
        compile_model(model)
        model.train_on_batch(*batch)
        tensors = tuple(keras.ops.convert_to_tensor(part) for part in batch)
        model.make_train_function()
        self._model, self._function = model, model.train_function
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self._data: Any = iter(tf.data.Dataset.from_tensors(tensors).repeat())
        else:
            self._data = [tensors]

    def run(self, steps: int) -> float:
        """Seconds per step."""
        start = time.perf_counter()
        for _ in range(steps):
            self._function(self._data)
        keras.ops.convert_to_numpy(self._model.trainable_variables[0])  # waits until all is done
        return (time.perf_counter() - start) / steps

    def steps_in(self, seconds: float) -> int:
        """Steps that take about so long."""
        self.run(2)
        return max(1, round(seconds / self.run(3)))


def compile_model(model: keras.Model) -> None:
    """Optimizer and loss of all contestants."""
    model.compile(keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))


class JaxStepper(Stepper):
    """The compiled step alone, its state carried on, without what Keras does around it."""

    def __init__(self, model: keras.Model, batch: tuple[np.ndarray, np.ndarray]) -> None:
        import jax

        self._wait = jax.block_until_ready
        compile_model(model)
        model.train_on_batch(*batch)  # makes the variables of optimizer and metrics
        groups = (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
        # Copies: the step takes the memory of its state away.
        self._state = tuple([jax.numpy.array(np.asarray(v)) for v in group] for group in groups)
        self._batch = tuple(jax.numpy.asarray(part) for part in batch)
        lowered = jax.jit(model.train_step, donate_argnums=0).lower(self._state, self._batch)
        self._step = lowered.compile()

    def run(self, steps: int) -> float:
        """Seconds per step."""
        start = time.perf_counter()
        for _ in range(steps):
            _, self._state = self._step(self._state, self._batch)
        self._wait(self._state)
        return (time.perf_counter() - start) / steps

    @property
    def bytes(self) -> int:  # type: ignore[override]
        """Peak memory of the step."""
        plan = self._step.memory_analysis()
        total = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
        return total - plan.alias_size_in_bytes

    @property
    def hlo(self) -> str:
        """The compiled program, to see where time goes."""
        return self._step.as_text()


def contestants(case: Case, wanted: Iterable[str]) -> dict[str, Stepper]:
    """Compiled steps by name."""
    keras.utils.set_random_seed(0)
    model = case.make()
    random = np.random.default_rng(0)
    x = random.normal(size=(case.batch, *model.input.shape[1:])).astype(np.float32)
    y = random.integers(0, CLASSES, case.batch)
    make: dict[str, Callable[[], keras.Model]] = {
        "float": lambda: model,
        "trained": lambda: ours(model, case, trained=True),
        "quarter": lambda: ours(model, case, trained=True, part=4),
        "frozen": lambda: ours(model, case, trained=False),
        "HGQ2": lambda: hgq2(model, case),
    }
    stepper = JaxStepper if keras.backend.backend() == "jax" else Stepper
    return {name: stepper(make[name](), (x, y)) for name in wanted}


def in_turn(steppers: dict[str, Stepper], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per step by name, one figure a round."""
    steps = {name: stepper.steps_in(seconds) for name, stepper in steppers.items()}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(rounds):
        for name, stepper in steppers.items():
            times[name].append(stepper.run(steps[name]))
    return times


def ratio(times: dict[str, list[float]], above: str, below: str) -> str:
    """Median of the ratios of each round, with the quartiles."""
    if above not in times or below not in times:
        return "-"
    found = [a / b for a, b in zip(times[above], times[below], strict=True)]
    if len(found) < 4:
        return f"{statistics.median(found):.2f}"
    low, middle, high = statistics.quantiles(found, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


HEADER = (
    "model",
    "batch",
    "activation widths per",
    "trained / float",
    "quarter / float",
    "frozen / float",
    "HGQ2 / float",
    "HGQ2 / trained",
    "HGQ2 / quarter",
    "HGQ2 / frozen",
    "memory: trained / float",
    "quarter / float",
    "frozen / float",
    "HGQ2 / float",
)


def row(case: Case, steppers: dict[str, Stepper], times: dict[str, list[float]]) -> tuple[str, ...]:
    names = ("trained", "quarter", "frozen", "HGQ2")
    memory = {name: [float(s.bytes)] for name, s in steppers.items() if s.bytes is not None}
    return (
        case.name,
        str(case.batch),
        case.activations,
        *(ratio(times, name, "float") for name in names),
        *(ratio(times, "HGQ2", name) for name in names[:3]),
        *(ratio(memory, name, "float") for name in names),
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[backend_option.parser()],
    )
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument(
        "--activations", nargs="+", choices=["element", "tensor"], default=["element", "tensor"]
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one contestant in one round")
    parser.add_argument("--without-hgq2", action="store_true")
    options = parser.parse_args()
    wanted = ["float", "trained", "quarter", "frozen"]
    if importlib.util.find_spec("hgq") is not None and not options.without_hgq2:
        wanted.append("HGQ2")
    print("| " + " | ".join(HEADER) + " |\n|" + "---|" * len(HEADER), flush=True)
    for case in (case for name in options.models for case in CASES[name]):
        if case.activations not in options.activations:
            continue
        steppers = contestants(case, wanted)
        times = in_turn(steppers, options.rounds, options.seconds)
        print("| " + " | ".join(row(case, steppers, times)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
