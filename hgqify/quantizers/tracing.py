"""A block of code in which quantizers that track ranges do so without training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_on: ContextVar[bool] = ContextVar("range_tracing", default=False)


@contextlib.contextmanager
def range_tracing() -> Iterator[None]:
    """``with range_tracing(): model(x, training=False)`` widens the ranges that are tracked, and no others.

    Calls must be eager: a compiled function does what it did when it was compiled.
    """
    token = _on.set(True)
    try:
        yield
    finally:
        _on.reset(token)


def is_tracing() -> bool:
    """Whether this context traces ranges."""
    return _on.get()
