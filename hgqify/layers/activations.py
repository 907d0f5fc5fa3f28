"""Activation functions as plain data: a name and parameters, and how hardware can compute them.

Two kinds exist. *Exact* ones are piecewise linear with dyadic constants: fixed-point arithmetic
computes them without error, so they may stand inside a linear layer. All *table* ones become a lookup
table in `QActivation`.
"""

from __future__ import annotations

import difflib
import enum
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import UnsupportedLayerError
from hgqify.quantizers import straight_through

MAX_CONSTANT_BITS = 8
"""A slope or bound counts as dyadic up to this many significant bits; 0.1 and the like do not."""

NOT_ELEMENTWISE = frozenset({"softmax", "log_softmax", "sparsemax", "glu"})
"""Activations that mix elements: no unary table can hold them."""


class ActivationKind(enum.StrEnum):
    """How an activation is computed in hardware."""

    EXACT = "exact"
    TABLE = "table"


@dataclass(frozen=True, kw_only=True)
class PiecewiseLinear:
    """``y = min(max(g(x), low), high)`` with ``g(x) = x`` for x >= 0, else ``slope * x``.

    Attributes:
        slope: for negative inputs; 1 leaves them as they are.
        low, high: bounds; None where unbounded.
    """

    slope: float = 1.0
    low: float | None = None
    high: float | None = None

    def __call__(self, x: Any) -> Any:
        """Evaluate on a Keras tensor: exact wherever ``slope * x`` has at most 24 bits."""
        if self.slope != 1.0:
            x = ops.where(x < 0, x * self.slope, x)
        if self.low is not None:
            x = _bounded(x, self.low, ops.maximum, ops.greater)
        if self.high is not None:
            x = _bounded(x, self.high, ops.minimum, ops.less)
        return x

    def numpy(self, x: np.ndarray) -> np.ndarray:
        """Evaluate in NumPy, in the dtype of ``x``."""
        y = np.where(x < 0, x * np.asarray(self.slope, x.dtype), x)
        if self.low is not None:
            y = np.maximum(y, np.asarray(self.low, x.dtype))
        if self.high is not None:
            y = np.minimum(y, np.asarray(self.high, x.dtype))
        return y


def _bounded(x: Any, bound: float, extreme: Callable[..., Any], inside: Callable[..., Any]) -> Any:
    """``extreme(x, bound)``; where both are equal, which quantized data often are, half the gradient passes.

    That is what JAX and PyTorch do of themselves; TensorFlow lets all of it pass.
    """
    value = extreme(x, bound)
    if keras.backend.backend() != "tensorflow":
        return value
    x = ops.convert_to_tensor(x)
    on_bound: Any = ops.cast(ops.equal(x, bound), x.dtype)
    passing = ops.cast(inside(x, bound), x.dtype) + 0.5 * on_bound
    return straight_through(value, x * ops.stop_gradient(passing))


def is_dyadic(value: float) -> bool:
    """Whether a constant has at most `MAX_CONSTANT_BITS` significant bits."""
    mantissa, _ = math.frexp(value)
    scaled = mantissa * 2**MAX_CONSTANT_BITS
    return math.isfinite(value) and scaled == int(scaled)


def _piecewise(name: str, params: Mapping[str, Any]) -> PiecewiseLinear | None:
    """The exact form of a built-in activation, or None where it has none."""
    if name == "linear":
        return PiecewiseLinear()
    if name == "relu6":
        return PiecewiseLinear(slope=1.0, low=0.0, high=6.0)
    if name == "hard_tanh":
        return PiecewiseLinear(low=-1.0, high=1.0)
    if name == "leaky_relu":
        slope, high, threshold = params["negative_slope"], None, 0.0
    elif name == "relu":
        slope, high, threshold = params["negative_slope"], params["max_value"], params["threshold"]
    else:
        return None
    constants = [slope] if high is None else [slope, high]
    # A threshold makes the function jump; a negative bound would cut the wrong branch.
    if threshold or not all(map(is_dyadic, constants)) or (high is not None and high < 0):
        return None
    if slope == 0:
        return PiecewiseLinear(low=0.0, high=high)
    return PiecewiseLinear(slope=float(slope), high=high)


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A unary elementwise function.

    Attributes:
        name: of a function in `keras.activations` or `keras.ops`, or the registered name of a function
            under `keras.saving.register_keras_serializable`.
        params: its keyword arguments beyond x, completed with the function's defaults; numbers,
            booleans, strings or None.
        function: what the name stands for.
        piecewise: the exact form, or None for table kinds.
    """

    name: str
    params: Mapping[str, Any]
    function: Callable[..., Any] = field(compare=False, repr=False)
    piecewise: PiecewiseLinear | None

    @property
    def kind(self) -> ActivationKind:
        """EXACT where fixed-point arithmetic computes it without error, else TABLE."""
        return ActivationKind.TABLE if self.piecewise is None else ActivationKind.EXACT

    def __call__(self, x: Any) -> Any:
        """Evaluate on a Keras tensor."""
        if self.piecewise is not None:
            return self.piecewise(x)
        return self.function(x, **self.params)

    def get_config(self) -> dict[str, Any]:
        """``{"activation": name, "activation_params": params}``."""
        return {"activation": self.name, "activation_params": dict(self.params)}


def _lookup(name: str) -> Callable[..., Any] | None:
    for module in (keras.activations, ops):
        function = getattr(module, name, None)
        if inspect.isfunction(function):
            return function
    registered = keras.saving.get_registered_object(name)
    return registered if callable(registered) else None


def _known_names() -> list[str]:
    skip = {"get", "serialize", "deserialize", *NOT_ELEMENTWISE}
    return [n for n, v in vars(keras.activations).items() if inspect.isfunction(v) and n not in skip]


def _name_of(function: Callable[..., Any]) -> str:
    registered = keras.saving.get_registered_name(function)
    return registered if isinstance(registered, str) else getattr(function, "__name__", "")


def _complete(
    name: str, function: Callable[..., Any], params: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Defaults of the function, overridden by the params; refuses what the function does not take."""
    signature = list(inspect.signature(function).parameters.values())[1:]
    defaults = {p.name: p.default for p in signature if p.default is not inspect.Parameter.empty}
    missing = [
        p.name
        for p in signature
        if p.default is inspect.Parameter.empty
        and p.name not in params
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    unknown = sorted(set(params) - {p.name for p in signature})
    if unknown or missing:
        raise UnsupportedLayerError(
            f"activation {name!r} does not fit these parameters",
            where=where,
            received=dict(params),
            remedy=f"it takes {[p.name for p in signature]}",
        )
    return {**defaults, **params}


def _check_elementwise(activation: Activation, where: str) -> None:
    """A custom function must give each element the value it gives that element alone."""
    probe = np.linspace(0.25, 2.0, 4, dtype=np.float32)
    try:
        together = np.asarray(ops.convert_to_numpy(activation(ops.convert_to_tensor(probe))))
        apart: list[Any] = [
            ops.convert_to_numpy(activation(ops.convert_to_tensor(probe[j : j + 1]))) for j in range(4)
        ]
        fits = together.shape == (4,) and np.allclose(together, np.concatenate(apart), equal_nan=True)
    except (TypeError, ValueError) as error:
        raise UnsupportedLayerError(
            "activation cannot be evaluated on a vector", where=where, received=f"{activation.name}: {error}"
        ) from error
    if not fits:
        raise UnsupportedLayerError(
            "activation is not elementwise",
            where=where,
            received=activation.name,
            remedy="only functions of one element can become a table",
        )


def get_activation(
    identifier: str | Callable[..., Any] | Activation | None,
    params: Mapping[str, Any] | None = None,
    *,
    where: str = "activation",
) -> Activation:
    """Resolve a name, a function or a Keras activation layer.

    Args:
        identifier: a name in `keras.activations`, `keras.ops` or the Keras registry; such a function;
            a `keras.layers.ReLU`, `LeakyReLU`, `ELU` or `Activation` layer; None for linear.
        params: keyword arguments of the function, such as ``{"negative_slope": 0.125}``.
        where: what the message names on error.

    Raises:
        UnsupportedLayerError: unknown name, parameters that do not fit, or not elementwise.
    """
    params = dict(params or {})
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, keras.layers.Layer):
        identifier, params = _from_layer(identifier, where)
    name = (
        "linear"
        if identifier is None
        else identifier
        if isinstance(identifier, str)
        else _name_of(identifier)
    )
    if name in NOT_ELEMENTWISE:
        raise UnsupportedLayerError(
            "activation mixes elements and has no table",
            where=where,
            received=name,
            remedy="end the model at the logits: the order of the classes stays the same",
        )
    function = identifier if callable(identifier) and not isinstance(identifier, str) else _lookup(name)
    if function is None:
        close = difflib.get_close_matches(name, _known_names(), n=1)
        raise UnsupportedLayerError(
            "unknown activation",
            where=where,
            received=name,
            remedy=(
                f"did you mean {close[0]!r}"
                if close
                else "register the function with keras.saving.register_keras_serializable"
            ),
        )
    if _lookup(name) is not function:
        raise UnsupportedLayerError(
            "activation cannot be saved",
            where=where,
            received=name or repr(function),
            remedy="register the function with keras.saving.register_keras_serializable",
        )
    complete = _complete(name, function, params, where)
    activation = Activation(
        name=name, params=complete, function=function, piecewise=_piecewise(name, complete)
    )
    if getattr(keras.activations, name, None) is not function:
        _check_elementwise(activation, where)
    return activation


def _from_layer(layer: keras.layers.Layer, where: str) -> tuple[Any, dict[str, Any]]:
    """The function and parameters an activation layer stands for."""
    if isinstance(layer, keras.layers.LeakyReLU):
        return "leaky_relu", {"negative_slope": float(layer.negative_slope)}
    if isinstance(layer, keras.layers.ReLU):
        high = None if layer.max_value is None else float(layer.max_value)
        return "relu", {
            "negative_slope": float(layer.negative_slope),
            "max_value": high,
            "threshold": float(layer.threshold),
        }
    if isinstance(layer, keras.layers.ELU):
        return "elu", {"alpha": float(layer.alpha)}
    if isinstance(layer, keras.layers.Activation):
        return layer.activation, {}
    raise UnsupportedLayerError("layer is not a unary activation", where=where, received=type(layer).__name__)


def require_exact(activation: Activation, where: str) -> Activation:
    """Return the activation if it may stand inside a linear layer.

    Raises:
        UnsupportedLayerError: for table kinds.
    """
    if activation.kind is ActivationKind.TABLE:
        raise UnsupportedLayerError(
            "activation is not piecewise linear with dyadic constants",
            where=where,
            received=f"{activation.name} {dict(activation.params)}",
            remedy="use activation='linear' here and put a QActivation layer behind, which holds a table",
        )
    return activation
