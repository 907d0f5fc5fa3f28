"""Defaults of all quantized layers: whether they count EBOPs in training, and at what price.

Scopes are context managers over one immutable record in a `contextvars.ContextVar`: they nest, other
threads and tasks never see them, and leaving a scope restores exactly what held before.
"""

from __future__ import annotations

import contextvars
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from hgqify.errors import RuleError
from hgqify.quantizers import check_names


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """What a quantized layer reads when its constructor leaves ``enable_ebops`` or ``beta0`` open.

    Attributes:
        enable_ebops: add ``beta * EBOPs`` to the loss in training.
        beta0: initial price of one effective bit operation, in units of the loss.

    Raises:
        RuleError: when ``beta0`` is negative or not a number.
    """

    enable_ebops: bool = True
    beta0: float = 1e-5

    def __post_init__(self) -> None:
        if not self.beta0 >= 0:
            raise RuleError(
                "the price of EBOPs cannot be negative",
                where="LayerConfig.beta0",
                received=self.beta0,
                remedy="use 0 to leave it to a controller, or enable_ebops=False",
            )


_current: contextvars.ContextVar[LayerConfig] = contextvars.ContextVar(
    "hgqify_layer_config",
    default=LayerConfig(),  # noqa: B039 - the record is frozen
)


def current_layer_config() -> LayerConfig:
    """The defaults in force here."""
    return _current.get()


class LayerConfigScope:
    """``with LayerConfigScope(enable_ebops=True, beta0=1e-5): ...`` sets defaults for layers made inside.

    What is left None keeps the surrounding scope's value. The defaults outside every scope are
    ``enable_ebops=True, beta0=1e-5``.

    Raises:
        RuleError: an option that does not exist (names the nearest), or on entering a negative ``beta0``.
    """

    def __init__(
        self, *, enable_ebops: bool | None = None, beta0: float | None = None, **unknown: Any
    ) -> None:
        check_names(unknown, ("enable_ebops", "beta0"), "LayerConfigScope")
        self._enable_ebops = enable_ebops
        self._beta0 = beta0
        # A list, so that one scope object may be entered again while it is open.
        self._tokens: list[contextvars.Token[LayerConfig]] = []

    def __enter__(self) -> LayerConfig:
        config = _current.get()
        if self._enable_ebops is not None:
            config = replace(config, enable_ebops=self._enable_ebops)
        if self._beta0 is not None:
            config = replace(config, beta0=float(self._beta0))
        self._tokens.append(_current.set(config))
        return config

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._tokens.pop())
