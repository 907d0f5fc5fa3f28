"""A random float Keras model, drawn call by call: tensors that fit, layers, what was done.

Everything follows from one seeded generator, so a number names a model. Layers start from zeros (random
initializers compile once per shape); the weights are drawn at the end.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from tiny_zoo import tiny_models

Shape = tuple[int, ...]

# A few shapes, so that what JAX compiles for one model serves others.
SHAPES: dict[int, list[Shape]] = {
    1: [(4,), (6,)],
    2: [(4, 3), (3, 2), (5, 4)],
    3: [(5, 4, 2), (4, 4, 3)],
    4: [(3, 4, 2, 2)],
}
LARGE = 72
"""Elements of a tensor that a layer is put on."""
CALIBRATED = 32
"""Samples of calibration data."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A layer as the option of another: an inner layer, a cell."""

    kind: str
    options: dict[str, Any]


def made(kind: str, **options: Any) -> Made:
    """Short for `Made`."""
    return Made(kind=kind, options=options)


def make(kind: str, options: dict[str, Any]) -> Any:
    """An unbuilt layer of Keras whose weights start from zeros."""
    cls = getattr(keras.layers, kind)
    given = {key: _built(value) for key, value in options.items()}
    for name in inspect.signature(cls).parameters:
        if name.endswith("_initializer"):
            given.setdefault(name, "zeros")
    return cls(**given)


def _built(value: Any) -> Any:
    if isinstance(value, Made):
        return make(value.kind, value.options)
    return [_built(item) for item in value] if isinstance(value, list) else value


class Code(keras.layers.Layer):
    """Somebody's own layer: its call is a function of keras.ops."""

    def __init__(self, function: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def call(self, *tensors: Any) -> Any:
        return self.function(*tensors)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "function": self.function}


@dataclass(frozen=True, kw_only=True)
class FloatNetwork:
    """A drawn model.

    Attributes:
        number: that it was drawn from.
        model: with weights.
        makers: for every model input, what gives samples of it: (generator, count) -> array.
        drawn: families that it holds.
        log: its calls, as text.
    """

    number: int
    model: keras.Model
    makers: tuple[Callable[[np.random.Generator, int], np.ndarray], ...]
    drawn: tuple[str, ...]
    log: tuple[str, ...]

    def data(self, count: int = CALIBRATED, seed: int = 0) -> list[np.ndarray]:
        """Samples, one array an input."""
        rng = np.random.default_rng((self.number, seed))
        return [make_samples(rng, count) for make_samples in self.makers]

    def __repr__(self) -> str:
        return f"float network {self.number}:\n  " + "\n  ".join(self.log)


class Drawing:
    """The model drawn so far."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.inputs: list[Any] = []
        self.makers: list[Callable[[np.random.Generator, int], np.ndarray]] = []
        self.tensors: list[Any] = []
        self.read: set[int] = set()
        self.layers: list[tuple[Any, Any]] = []
        self.log: list[str] = []

    # choices

    def one_of(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def number(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(self.rng.integers(low, high + 1))

    def rarely(self, odds: int) -> bool:
        """True once in ``odds`` calls."""
        return bool(self.rng.integers(odds) == 0)

    def numbers(self, *shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        """Constants, on a coarse grid so that they print short."""
        return (np.round(self.rng.uniform(low, high, shape) * 16) / 16).astype(np.float32)

    # tensors

    def input(self, shape: Shape, *, below: int | None = None) -> Any:
        """A new model input: floats, or whole numbers below a bound."""
        dtype = "float32" if below is None else "int32"
        x = keras.Input(shape, dtype=dtype, name=f"x{len(self.inputs)}")
        sizes = self.one_of(["equal", "equal", "rows differ", "grid"])

        def samples(rng: np.random.Generator, count: int) -> np.ndarray:
            if below is not None:
                return rng.integers(0, below, (count, *shape)).astype(np.int32)
            values = rng.normal(size=(count, *shape))
            if sizes == "rows differ":
                values *= 2.0 ** rng.integers(-6, 3, (count, *(1,) * len(shape)))
            return (np.round(values * 4) / 4 if sizes == "grid" else values).astype(np.float32)

        self.log.append(f"x{len(self.inputs)} = Input({shape}, {dtype}), {sizes}")
        self.inputs.append(x)
        self.makers.append(samples)
        if below is None:
            self.tensors.append(x)
        return x

    def tensor(
        self, rank: int | Sequence[int] = (1, 2, 3), fits: Callable[[Shape], bool] | None = None
    ) -> Any:
        """A float tensor of one of these ranks, mostly a late one; a new one if none fits."""
        ranks = [rank] if isinstance(rank, int) else list(rank)

        def suits(shape: Shape) -> bool:
            # EinsumDense leaves sizes open that it was not told.
            known = len(shape) in ranks and None not in shape and math.prod(shape) <= LARGE
            return known and (fits is None or fits(shape))

        found = [x for x in self.tensors if suits(tuple(x.shape[1:]))]
        if found:
            return found[-1] if self.rarely(2) else self.one_of(found)
        shapes = [s for r in ranks for s in SHAPES[r] if suits(s)]
        return self.shaped(self.one_of(shapes))

    def like(self, x: Any) -> Any:
        """A tensor of the same shape, another one where there is one."""
        found = [y for y in self.tensors if y.shape == x.shape and y is not x]
        if found and not self.rarely(4):
            return self.one_of(found)
        return x if self.rarely(2) else self.shaped(tuple(x.shape[1:]))

    def shaped(self, shape: Shape) -> Any:
        """A tensor of this shape: a new input, or all of some tensor through a dense layer."""
        if self.rarely(2) and len(self.inputs) < 3:
            return self.input(shape)
        small = [x for x in self.tensors if math.prod(x.shape[1:]) <= LARGE]
        x = self.one_of(small) if small else self.input((4,))
        x = x if len(x.shape) == 2 else self.call("Flatten", x)
        y = self.call("Dense", x, units=math.prod(shape))
        return y if len(shape) == 1 else self.call("Reshape", y, target_shape=shape)

    # calls

    def call(self, kind: str, *given: Any, called: dict[str, Any] | None = None, **options: Any) -> Any:
        """Call a new layer of Keras; a list for one that takes a list. Returns what it returns."""
        return self.apply(make(kind, options), kind, options, given, called or {})

    def apply(
        self, layer: Any, kind: str, options: dict[str, Any], given: Sequence[Any], called: dict[str, Any]
    ) -> Any:
        """Call a layer, and remember it."""
        self.log.append(
            f"{kind}({_told(options)}) on {', '.join(map(self._name, given))} {_told(called)}".rstrip()
        )
        result = layer(*given, **called)
        if len(given) == 1 and not isinstance(given[0], list) and not called:
            self.layers.append((layer, given[0]))
        self._note([*given, called], result)
        return result

    def compute(self, name: str, function: Callable[..., Any], *given: Any, **constants: Any) -> Any:
        """Call operations of keras.ops, by themselves or in a layer of somebody's own."""
        own = bool(constants) or self.rarely(3)
        self.log.append(
            f"ops {name} {_told(constants)} on {', '.join(map(self._name, given))}{' in a layer' * own}"
        )
        if constants:
            plain = function

            def function(*tensors: Any) -> Any:
                return plain(*tensors, **constants)

        result = Code(function)(*given) if own else function(*given)
        self._note(given, result)
        return result

    def _name(self, x: Any) -> str:
        if isinstance(x, list):
            return f"[{', '.join(map(self._name, x))}]"
        places = [n for n, y in enumerate(self.tensors) if y is x]
        return f"t{places[0]}{tuple(x.shape[1:])}" if places else f"{x.name}{tuple(x.shape[1:])}"

    def _note(self, given: Any, result: Any) -> None:
        self.read |= {id(x) for x in keras.tree.flatten(list(given)) if isinstance(x, keras.KerasTensor)}
        for x in keras.tree.flatten(result):
            self.log[-1] += f" -> t{len(self.tensors)}{tuple(x.shape[1:])}"
            self.tensors.append(x)

    def finished(self, number: int, drawn: Sequence[str]) -> FloatNetwork:
        """The model: what nobody reads, and sometimes one that is read, is an output.

        An input that nobody reads is an output, or left out.
        """
        own = {id(x) for x in self.inputs}
        outputs = [x for x in self.tensors if id(x) not in self.read | own]
        read = [x for x in self.tensors if id(x) in self.read - own and len(x.shape) > 1]
        if read and self.rarely(4):
            outputs.append(self.one_of(read))
        if self.rarely(4):
            outputs += [x for x in self.tensors if id(x) in own - self.read]
        kept = self.read | {id(x) for x in outputs}
        inputs = [(x, make) for x, make in zip(self.inputs, self.makers, strict=True) if id(x) in kept]
        model = keras.Model([x for x, _ in inputs], outputs, name=f"network{number}")
        tiny_models.randomize(model, number)
        return FloatNetwork(
            number=number,
            model=model,
            makers=tuple(make for _, make in inputs),
            drawn=tuple(drawn),
            log=tuple(self.log),
        )


def _told(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}".replace("\n", "") for key, value in options.items())
