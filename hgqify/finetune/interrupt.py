"""Ctrl-C between two steps of a training, never within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def between_steps() -> Iterator[Callable[[], None]]:
    """Within the block the first Ctrl-C waits until it is asked for; a second one comes at once.

    Python raises KeyboardInterrupt wherever it happens to be: in the middle of an update, or in a callback of
    the garbage collector (JAX has one), where it is printed and lost.

    Only where Ctrl-C does what it does by default, and in the main thread, which alone hears of signals.

    Yields:
        To be called between two steps: raises KeyboardInterrupt if one is waiting.
    """
    default = signal.default_int_handler
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) != default
    ):
        yield lambda: None
        return
    waiting: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        waiting.append(number)
        signal.signal(signal.SIGINT, default)

    def ask() -> None:
        if waiting:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield ask
        ask()
    finally:
        signal.signal(signal.SIGINT, default)
