"""Where a training runs: on one device, or with every batch split over all of them."""

from __future__ import annotations

import contextlib
import enum
from contextlib import AbstractContextManager
from dataclasses import dataclass

import keras

from hgqify.errors import RuleError


class Devices(enum.StrEnum):
    """How many devices train.

    ===  ====================================================================
    ONE  the first
    ALL  every device that JAX lists; each takes an equal part of every batch
    ===  ====================================================================
    """

    ONE = "one"
    ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where models of a training live.

    Attributes:
        count: of devices.
        distribution: of Keras; None for one device.
    """

    count: int = 1
    distribution: keras.distribution.DataParallel | None = None

    def scope(self) -> AbstractContextManager[None]:
        """Within the block variables are made on all devices, and training steps run on them.

        Models made outside of it must not be called within.
        """
        return contextlib.nullcontext() if self.distribution is None else self.distribution.scope()


def place(devices: Devices, batch_size: int) -> Placement:
    """Where to train.

    Raises:
        RuleError: the batch cannot be split evenly, or the backend is not JAX.
    """
    if devices is Devices.ONE:
        return Placement()
    if keras.backend.backend() != "jax":
        raise RuleError(
            "devices='all' needs the JAX backend",
            received=keras.backend.backend(),
            remedy="set KERAS_BACKEND=jax, or leave devices out",
        )
    names = keras.distribution.list_devices()
    if len(names) == 1:
        return Placement()
    if batch_size % len(names):
        raise RuleError(
            f"batches cannot be split evenly over {len(names)} devices",
            received=f"batch_size={batch_size}",
            remedy=f"give a multiple of {len(names)}",
        )
    return Placement(count=len(names), distribution=keras.distribution.DataParallel(devices=names))
