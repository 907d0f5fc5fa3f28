"""Means whose divisor is the nearest power of two: a shift, and no multiplication at all."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hgqify.layers.merge import QAverage
from hgqify.layers.reductions import QMean


def nearest_shift(count: int) -> int:
    """``round(log2(count))``, exact: how far a sum is shifted right.

    Args:
        count: at least 1.
    """
    down = count.bit_length() - 1
    # Above 2**(down + 1/2) the next power of two is nearer in logarithm.
    return down + (count * count > 1 << (2 * down + 1))


def _shift(count: int) -> np.ndarray:
    return np.asarray(2.0 ** -nearest_shift(count), np.float32)


@keras.saving.register_keras_serializable("hgqify")
class QMeanPow2(QMean):
    """``y = oq(2**-round(log2(n)) * sum over the axes of iq(x))`` of n elements, the axes kept with size 1.

    The mean up to a factor of sqrt(2), equal to it where n is a power of two. A shift counts no EBOPs.

    Args:
        **kwargs: of `QReduction`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def reciprocal_values(self) -> np.ndarray:
        """The power of two that the sum is multiplied by, float32, 0-d."""
        return _shift(self.reduced_count())

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        config = super().get_config()
        config.pop("reciprocal_bits")
        return config


@keras.saving.register_keras_serializable("hgqify")
class QAveragePow2(QAverage):
    """``y = oq(2**-round(log2(n)) * sum_j iq_j(x_j))`` of n inputs; a shift counts no EBOPs.

    Args:
        **kwargs: of `QMerge`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def reciprocal_values(self) -> np.ndarray:
        """The power of two that the sum is multiplied by, float32, 0-d."""
        return _shift(len(self._shapes))

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        config = super().get_config()
        config.pop("reciprocal_bits")
        return config
