"""The formats a quantizer has at one moment, as integers."""

import dataclasses

import numpy as np
import numpy.typing as npt

from hgqify.fixed import Overflow, Rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizerState:
    """Formats and modes: what :func:`hgqify.fixed.quantize` needs to repeat the quantizer exactly.

    Attributes:
        k, i, f: int64 arrays that broadcast to the quantized tensor, without the batch axis for data.
        rounding: the deterministic rounding mode used at inference.
        overflow: the overflow mode.
    """

    k: npt.NDArray[np.int64]
    i: npt.NDArray[np.int64]
    f: npt.NDArray[np.int64]
    rounding: Rounding
    overflow: Overflow
