"""The formats a quantizer has at one moment, as integers."""

import dataclasses

import numpy as np
import numpy.typing as npt

from hgqify.fixed import Overflow, Rounding, operand_bits


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizerState:
    """Formats and modes: what :func:`hgqify.fixed.quantize` needs to repeat the quantizer exactly.

    Attributes:
        k, i, f: int64 arrays that broadcast to the quantized tensor, without the batch axis for data.
        rounding: the deterministic rounding mode used at inference.
        overflow: the overflow mode.
        digits: significant bits of a minifloat, m + 1, of whose numbers (k, i, f) is the fixed-point format
            that holds them all; None for fixed point. An int64 array like the others.
    """

    k: npt.NDArray[np.int64]
    i: npt.NDArray[np.int64]
    f: npt.NDArray[np.int64]
    rounding: Rounding
    overflow: Overflow
    digits: npt.NDArray[np.int64] | None = None

    @property
    def operand_bits(self) -> npt.NDArray[np.int64]:
        """Bits with which an operand counts in EBOPs: max(i + f, 0), or all k + e + m of a minifloat."""
        return operand_bits(self.k, self.i, self.f, self.digits)

    @property
    def width(self) -> npt.NDArray[np.int64]:
        """Bits a number is stored in, sign included: max(k + i + f, 0), or k + e + m of a minifloat."""
        return np.maximum(self.k + self.i + self.f, 0) if self.digits is None else self.operand_bits
