"""The operations of a fixed program: frozen descriptions with integer constants.

A *program* is what the firmware computes. Every tensor is a block of integers (codes) on one common
least significant bit: ``value = code * 2**-frac``. Constants carry their own ``frac``. Nothing here
computes: transfer rules live in ``precision/forward.py``, execution in ``reference/``, printing in
``export/``. Shapes never include the batch axis; layout is channels last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgqify.fixed import Overflow, Rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """Integer constant: ``value = codes * 2**-frac`` with int64 ``codes``."""

    codes: np.ndarray
    frac: int

    @property
    def values(self) -> np.ndarray:
        """The constant as float64 (exact below 53 bits)."""
        return self.codes * 2.0**-self.frac


@dataclass(frozen=True, kw_only=True, eq=False)
class Op:
    """Base of all operations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Input(Op):
    """A model input: real numbers; its consumers must all be `Quantize`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantize(Op):
    """Round, then handle overflow, element by element: the only operation that loses information.

    ``k``, ``i``, ``f`` are int arrays that broadcast to the tensor's shape (0-d: one format for all).
    ``digits``, where given, is one more: the significant bits of minifloats (see
    :mod:`hgqify.fixed.minifloat`), of which (k, i, f) is the fixed-point format that holds every number. The
    results are codes on 2**-f like any others, so nothing behind a minifloat is special.
    """

    k: np.ndarray
    i: np.ndarray
    f: np.ndarray
    rounding: Rounding
    overflow: Overflow
    digits: np.ndarray | None = None

    @property
    def is_uniform(self) -> bool:
        """Whether one format serves the whole tensor."""
        parts = (self.k, self.i, self.f, *(() if self.digits is None else (self.digits,)))
        return all(np.all(a == np.ravel(a)[0]) for a in parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(Op):
    """``y[..., o] = sum_c x[..., c] * kernel[c, o] + bias[o]``."""

    kernel: Constant
    bias: Constant | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Op):
    """Convolution (cross-correlation) over the spatial axes, channels last.

    ``kernel``: (*window, channels_in // groups, filters), filters ordered group by group;
    a depthwise convolution has ``groups = channels_in`` and kernel (*window, 1, channels_in * multiplier).
    ``padding``: (before, after) zeros per spatial axis, already resolved from 'same'/'causal'.
    """

    kernel: Constant
    bias: Constant | None
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleShift(Op):
    """``y = x * scale + shift``; constants broadcast to the tensor's shape (usually along channels)."""

    scale: Constant
    shift: Constant | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Op):
    """``a + b`` (same shape, or broadcasting)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subtract(Op):
    """``a - b``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Multiply(Op):
    """``a * b``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matmul(Op):
    """``y[g, m, n] = sum_c a[g, m, c] * b[g, n, c]``: a batch of matrix products of two tensors.

    The second one is transposed, so that both are read along their last axis. Every product of two tensors
    over some of their axes (einsum) is one, between permutations and reshapes.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class Maximum(Op):
    """``max(a, b)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Minimum(Op):
    """``min(a, b)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Op):
    """``min(max(x, low), high)``; scalar constants, None where unbounded. relu is ``low = 0``."""

    low: Constant | None
    high: Constant | None


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakyRelu(Op):
    """``x if x >= 0 else x * slope`` with a scalar constant slope."""

    slope: Constant


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Op):
    """Lookup: ``y = entries[code(x) - first]``.

    The input lies on a uniform format with ``in_frac`` fractional bits (the tensor's ``frac`` equals
    it); ``entries`` covers codes first .. first + len - 1, all the producer's quantizer can give.
    """

    in_frac: int
    first: int
    entries: Constant


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeTables(Op):
    """A table for each edge: ``y[..., j, o] = entries[j, o, code(x[..., j, o]) - first[j, o]]``.

    ``entries`` is (n_in, n_out, size); the others are int arrays (n_in, n_out): fractional bits of an edge's
    input, which is a multiple of that LSB; the code that its first entry belongs to, 0 or -2**(width - 1);
    the width of that code with its sign: 2**width entries are read, and what follows them never. Last come
    address and output bits as EBOPs count them.
    """

    in_frac: np.ndarray
    first: np.ndarray
    width: np.ndarray
    entries: Constant
    address_bits: np.ndarray
    output_bits: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Op):
    """Maximum over windows; padded places never win."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class SumPool(Op):
    """Sum over windows; padded places count zero. An average is this times a constant (`ScaleShift`)."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Op):
    """Row-major reshape to the node's shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Transpose(Op):
    """Permutation of the axes (batch excluded, counted from 0)."""

    perm: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Concatenate(Op):
    """Concatenation along ``axis`` (batch excluded, counted from 0)."""

    axis: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Op):
    """Zeros (before, after) per axis."""

    padding: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop(Op):
    """Drops (before, after) elements per axis."""

    cropping: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Repeat(Op):
    """Repeats each element ``repeats[a]`` times along axis a (nearest upsampling)."""

    repeats: tuple[int, ...]
