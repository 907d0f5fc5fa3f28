"""What an error at every weight and activation costs: the Gauss-Newton diagonal, by sampling.

For a small error d at a weight or activation, the loss grows by ``1/2 d^T J^T G J d`` (J the Jacobian of the
outputs, G the curvature of the loss at the outputs). With random output vectors v of covariance G, J^T v has
the covariance J^T G J, so that its squares, which cost one backward pass, average to the diagonal. For
class scores G = diag(p) - p p^T = L L^T, the curvature of KL(float || quantized), with
L = diag(sqrt p) - p sqrt(p)^T: v = L s, s random signs. (The usual choice, v = e_y - p with the class y drawn
from p, has the same covariance, but where the model is sure it is zero on nearly all samples and huge on the
rest: it takes many more of them. Fisher information: Martens, arXiv 1412.1193, section 9.) For other outputs
G is the identity over the output's mean square: v is random signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.calibrate.candidates import DataCandidates
from hgqify.calling import structured
from hgqify.data import Source
from hgqify.errors import CalibrationError
from hgqify.layers import KeptFloat, QLinear, quantized_layers
from hgqify.progress import Event, Progress, no_progress

ops: Any = keras.ops
BATCH = 16
"""Samples of one backward pass: one draw of every weight's gradient, so that small batches tell more."""

SAMPLES = 384
"""Most samples seen, unless said otherwise."""

_LONG, _LONGER = 12, 30  # positions along an axis of which a third, or a fifth, is enough to price a width


@dataclass(frozen=True, kw_only=True, eq=False)
class Sensitivity:
    """Expected increase of the loss per sample.

    Attributes:
        weights: by layer, the curvature h of every weight; an error e at it costs ``h e^2 / 2``.
        data: by layer, the loss of every candidate format of its input, (C, *widths).
        samples: samples seen.
    """

    weights: Mapping[str, np.ndarray]
    data: Mapping[str, np.ndarray]
    samples: int


def require_gradients() -> None:
    """Refuse, before any work, what takes gradients of the float model where they cannot be had.

    Raises:
        CalibrationError: another backend than JAX.
    """
    if keras.backend.backend() != "jax":
        raise CalibrationError(
            "what an error costs takes gradients, which come from JAX only so far",
            received=f"backend {keras.backend.backend()}",
            remedy="set KERAS_BACKEND=jax for the conversion (the result runs on every backend), or convert "
            "without a budget, without equalize and with other ranges than 'mse'",
        )


def measure_sensitivity(
    clone: keras.Model,
    source: Source,
    candidates: Mapping[str, DataCandidates],
    *,
    logits: Sequence[bool],
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Sensitivity:
    """One forward and one backward pass of the float model over calibration data.

    Memory is bounded by one batch of activations and gradients.

    Args:
        clone: float model with the layers of the quantized one, see `convert.Conversion`.
        source: data; labels are not used.
        candidates: by layer name, the formats to price at that layer's input.
        logits: for each output, whether it holds class scores.
        samples: how many samples at most; the last incomplete batch is left out unless it is the only one.
        seed: of the random output vectors.
        progress: hears of every batch.

    Raises:
        CalibrationError: another backend than JAX, or gradients that are not finite.
    """
    require_gradients()
    known = [n for n in (samples, source.samples) if n is not None]
    size, total = min(BATCH, *known), min(known)
    tapped = _tapped(clone, set(candidates), size)
    step = _compile_step(tapped, candidates, logits)
    weights: list[np.ndarray] = []
    data: list[np.ndarray] = []
    done = 0
    for batch in source.batches(size, limit=samples):
        if len(batch) != size:  # another size would compile again
            continue
        squares, losses = step(batch.inputs, int(np.random.default_rng((seed, done)).integers(2**31)))
        weights = [a + b for a, b in zip(weights, squares, strict=True)] if weights else squares
        data = [a + b for a, b in zip(data, losses, strict=True)] if data else losses
        done += size
        progress(Event(stage="sensitivity", done=done, total=total, unit="samples"))
    found = {name: h / done for name, h in zip(tapped.kernels, weights, strict=True)}
    priced = {name: loss / (2 * done) for name, loss in zip(tapped.taps, data, strict=True)}
    for name, values in (*found.items(), *priced.items()):
        if not np.isfinite(values).all():
            raise CalibrationError("gradients are not finite", where=name, remedy="check the data's scale")
    return Sensitivity(weights=found, data=priced, samples=done)


def _kernels(clone: keras.Model) -> list[QLinear]:
    return [layer for layer in quantized_layers(clone) if isinstance(layer, QLinear)]


class _Tap(keras.layers.Layer):
    """``x + error``: a place where an error can be put in, zero by default; one value per sample."""

    def __init__(self, batch: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch = batch

    def build(self, input_shape: Sequence[int]) -> None:
        """Make the error of a batch."""
        shape = (self.batch, *input_shape[1:])
        self.error = self.add_weight(name="error", shape=shape, initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        """Add the error."""
        return x + self.error

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        """The input's; only at run time must the batch be the size of the errors."""
        return keras.KerasTensor(x.shape, dtype=x.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tapped:
    """A copy of the clone with a tap before the first input of some layers, at every call of them.

    Attributes:
        model: its outputs are the clone's, then the tensor at each tap.
        kernels: by layer name, where its kernel is among the model's variables.
        errors: where the errors of the taps are among them.
        taps: by layer name, which taps are its.
    """

    model: keras.Model
    kernels: Mapping[str, int]
    errors: Sequence[int]
    taps: Mapping[str, Sequence[int]]


def _tapped(clone: keras.Model, names: set[str], batch: int) -> _Tapped:
    taps: list[_Tap] = []
    seen: list[Any] = []
    owners: dict[str, list[int]] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name in names:
            owners.setdefault(layer.name, []).append(len(taps))
            seen.append(args[0])
            taps.append(_Tap(batch, name=f"tap_{len(taps)}"))
            args = (taps[-1](args[0]), *args[1:])
        return layer(*args, **kwargs)

    copy = keras.models.clone_model(clone, call_function=call, clone_function=_undrawn)
    model = keras.Model(copy.inputs, [*keras.tree.flatten(copy.outputs), *seen], name="tapped")
    for layer in clone.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    place = {id(variable): n for n, variable in enumerate(model.variables)}
    return _Tapped(
        model=model,
        kernels={layer.name: place[id(layer.kernel)] for layer in _kernels(model)},
        errors=[place[id(tap.error)] for tap in taps],
        taps=owners,
    )


def _undrawn(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A copy that starts with zeros: drawing weights compiles a program for every shape."""
    if isinstance(layer, KeptFloat):
        return layer.copy()
    config = layer.get_config()
    return type(layer).from_config(
        {key: "zeros" if key.endswith("_initializer") else value for key, value in config.items()}
    )


def _compile_step(
    tapped: _Tapped, candidates: Mapping[str, DataCandidates], logits: Sequence[bool]
) -> Callable[[Sequence[np.ndarray], int], tuple[list[np.ndarray], list[np.ndarray]]]:
    """From a batch and a seed to the squared gradients of the kernels and the losses of the candidates."""
    import jax

    model = tapped.model
    values = [ops.convert_to_tensor(v) for v in model.variables]
    trainable = [next(n for n, v in enumerate(model.variables) if v is t) for t in model.trainable_variables]
    others = [n for n in range(len(values)) if n not in trainable]
    places = [*tapped.kernels.values(), *tapped.errors]
    constants = [_constants(candidates[name]) for name in tapped.taps]

    def step(values: Any, inputs: Any, key: Any) -> Any:
        def outputs(varied: Any) -> Any:
            own = list(values)
            for place, value in zip(places, varied, strict=True):
                own[place] = value
            result = model.stateless_call(
                [own[n] for n in trainable],
                [own[n] for n in others],
                structured(model, inputs),
                training=False,
            )
            flat = keras.tree.flatten(result[0])
            return flat[: len(logits)], flat[len(logits) :]

        scores, pullback, seen = jax.vjp(outputs, [values[n] for n in places], has_aux=True)
        keys = jax.random.split(key, len(logits))
        drawn = [_draw(y, k, scored) for y, k, scored in zip(scores, keys, logits, strict=True)]
        (gradients,) = pullback(drawn)
        count = len(tapped.kernels)
        losses = [
            sum(_losses(seen[n], gradients[count + n], *parts) for n in numbers)
            for numbers, parts in zip(tapped.taps.values(), constants, strict=True)
        ]
        return [g * g for g in gradients[:count]], losses

    compiled = jax.jit(step)

    def run(inputs: Sequence[np.ndarray], seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        squares, losses = compiled(values, list(inputs), jax.random.key(seed))
        return _doubles(squares), _doubles(losses)

    return run


def _doubles(arrays: Iterable[Any]) -> list[np.ndarray]:
    return [np.asarray(a, np.float64) for a in arrays]


def _draw(y: Any, key: Any, is_logits: bool) -> Any:
    """An output vector per sample with the covariance of the loss's curvature."""
    import jax

    signs = jax.random.rademacher(key, y.shape, y.dtype)
    if is_logits:
        p = jax.nn.softmax(y, axis=-1)
        spread = ops.sqrt(p) * signs
        return spread - p * ops.sum(spread, axis=-1, keepdims=True)
    return signs / ops.sqrt(ops.mean(ops.square(y)) + 1e-12)


def _constants(candidates: DataCandidates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LSB, lowest and highest value of every candidate, (C, 1, *widths); all zero without bits."""
    live = candidates.bits > 0
    step = np.ldexp(1.0, -candidates.f)
    high = np.where(live, np.ldexp(1.0, candidates.i) - step, 0.0)
    low = np.where(live, -np.ldexp(1.0, candidates.i) * candidates.k, 0.0)
    return tuple(np.asarray(part[:, None], np.float32) for part in (step, low, np.maximum(high, 0)))  # type: ignore[return-value]


def _losses(x: Any, gradient: Any, step: Any, low: Any, high: Any) -> Any:
    """``sum g^2 (x - q(x))^2`` for every candidate, summed over samples and the axes that share widths."""
    import jax

    shape = step.shape[2:]
    # Of many positions that share a width, a part tells enough: not every second, as strided layers do.
    places = [0 < n < x.ndim - 1 and (not shape or shape[n - 1] == 1) for n in range(x.ndim)]
    strides = [1 + 2 * (size >= _LONG) + 2 * (size >= _LONGER) for size in x.shape]
    thin = tuple(slice(None, None, n if place else 1) for n, place in zip(strides, places, strict=True))
    left = x[thin]
    weights = ops.square(gradient[thin]) * (x.size / left.size)
    x = left
    shared = tuple(n + 1 for n in range(x.ndim - 1) if not shape or shape[n] == 1)

    def one(parts: Any) -> Any:
        step, low, high = parts
        quantized = ops.clip(ops.floor(x / step + 0.5) * step, low, high)
        cost = weights * ops.square(x - quantized)
        total = ops.sum(cost, axis=(0, *shared), keepdims=True)[0]
        return ops.reshape(total, shape)

    return jax.lax.map(one, (step, low, high))
