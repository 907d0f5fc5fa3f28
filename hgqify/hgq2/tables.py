"""Unary functions of HGQ2: where they are no piecewise linear ones, one table for all elements.

HGQ2 lets every element have its own format before and behind the function. Ours is a table over one input
format: the finest and widest of them, behind a quantizer for each element. Where the outputs differ, too, the
table holds so many more bits that rounding its entries to each element's format gives what rounding the
function itself gives; that is tried out for every entry.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.errors import PrecisionError, UnsupportedLayerError
from hgqify.fixed import Overflow, Rounding, quantize, to_values
from hgqify.hgq2 import formats, peer
from hgqify.hgq2.elementwise import quantized
from hgqify.hgq2.formats import Setting, Widths
from hgqify.hgq2.placed import Apply, Placed, Source, chain, given, require_equal, wanted
from hgqify.layers.activations import Activation, ActivationKind, get_activation
from hgqify.quantizers import MAX_BITS, Place, int_bits

MAX_TABLE_BITS = 16
"""Widest input of a table."""


def unary_function(source: Source) -> Apply:
    """`QUnaryFunctionLUT`, and with a scale and shift before the function `QAffinedUnaryFunctionLUT`.

    Raises:
        UnsupportedLayerError: a table without quantizers on both sides.
        PrecisionError: an input too wide for a table.
    """
    layer, path = source.layer, source.path
    function = get_activation(layer.activation, where=path)
    if function.kind is ActivationKind.EXACT and peer.affine_of(layer) is None:
        iq, oq = source.input(), source.output()
        made = q.QActivation(function, iq_conf=given(iq), oq_conf=wanted(oq), name=source.name)
        return Placed(made, inputs=[iq], output=oq)
    if not (layer.enable_iq and layer.enable_oq):
        raise UnsupportedLayerError(
            "a function without quantizers on both sides is no table",
            where=path,
            received=f"{function.name}, enable_iq={layer.enable_iq}, enable_oq={layer.enable_oq}",
            remedy="switch both on",
        )
    return table(function, layer.iq, layer, source)


def table(function: Activation, iq: Any, layer: Any, source: Source) -> Apply:
    """A table, with what it needs before and behind it.

    Args:
        function: ours.
        iq: HGQ2's quantizer before it.
        layer: the `QUnaryFunctionLUT`: its function and its output quantizer are what the table must equal.
        source: names.

    Raises:
        UnsupportedLayerError, PrecisionError: as `unary_function`.
    """
    path, affine = source.path, peer.affine_of(layer)
    before = formats.widths_of(iq, f"{path} (iq)")
    behind = formats.widths_of(layer.oq, f"{path} (oq)")
    setting = source.data(iq, "iq")
    steps: list[Apply] = []
    bits = _common(before)
    entries = max(bits[1] + bits[2], 0) + int(bool(bits[0]) or (before.is_uniform and _may_get_sign(setting)))
    if entries > MAX_TABLE_BITS:
        raise PrecisionError(
            f"a table takes an input of at most {MAX_TABLE_BITS} bits",
            where=path,
            received=f"k, i, f = {bits}" + ("" if before.is_uniform else ", over all elements"),
            remedy="quantize its input to fewer bits, or share one format (heterogeneous_axis=())",
        )
    if not before.is_uniform:
        steps.append(quantized(setting, f"{source.name}_in"))
        setting = formats.fixed(Place.DATALANE, *bits)
    if behind.is_uniform:
        own, last = formats.of_table(layer.oq, f"{path} (oq)"), None
    else:
        last = source.data(layer.oq, "oq")
        own = _guarded(function if affine is None else partial(peer.evaluated, layer), bits, behind, path)

    def settle(ours: Any) -> None:
        if affine is not None:
            for mine, theirs in zip((ours.scale, ours.shift), affine, strict=True):
                mine.assign(peer.numpy(theirs))
        ours.refresh_table()
        if last is None:
            _check_table(ours, layer, path)

    made = (q.QActivation if affine is None else q.QAffineActivation)(
        function,
        iq_conf=setting.config,
        oq_conf=own.config,
        max_table_bits=max(entries, 2),
        name=source.name if last is None else f"{source.name}_table",
    )
    steps.append(Placed(made, inputs=[setting], output=own, settle=settle))
    if last is not None:
        steps.append(quantized(last, source.name))
    return chain(*steps)


def _may_get_sign(setting: Setting) -> bool:
    """Whether training may give it a sign, for which `QActivation` leaves room."""
    return bool(setting.config.k0) or not setting.config.overflow_mode.saturates


def _common(found: Widths) -> tuple[int, int, int]:
    """The least (k, i, f) that holds every element's format."""
    live = found.is_live
    if not live.any():
        return 0, 0, 0
    return tuple(int(part[live].max()) for part in (found.k, found.i, found.f))  # type: ignore[return-value]


def _inputs(bits: tuple[int, int, int]) -> np.ndarray:
    """The values of all codes, ascending, float32."""
    k, i, f = bits
    size = 1 << max(i + f, 0)
    return to_values(np.arange(-k * size, size, dtype=np.int64), f).astype(np.float32)


def _guarded(
    function: Callable[[Any], Any], bits: tuple[int, int, int], behind: Widths, path: str
) -> Setting:
    """A format of the table's entries that rounding again does not notice."""
    y = peer.numpy(function(keras.ops.convert_to_tensor(_inputs(bits))))
    y = np.nan_to_num(y, nan=0.0, posinf=2.0**60, neginf=-(2.0**60))
    live = np.broadcast_to(behind.is_live, behind.k.shape)
    targets: set[tuple[int, int, int]] = {
        (int(one[0]), int(one[1]), int(one[2]))
        for one in zip(behind.k[live].ravel(), behind.i[live].ravel(), behind.f[live].ravel(), strict=True)
    }
    top = max((i for _, i, _ in targets), default=0)
    finest = max((f for _, _, f in targets), default=0)
    for guard in range(1, MAX_BITS):
        f = finest + guard
        i = int(int_bits(y.min(), y.max(), f, rounding=Rounding.TRN))
        if behind.overflow is not Overflow.WRAP:
            i = min(i, top + 1)  # what lies above saturates behind it as well
        if i + f > MAX_BITS:
            break
        k = int(y.min() < 0)
        # Cut off, not rounded: what was above a tie stays at or above it.
        entries = quantize(y, k, i, f, Rounding.TRN, Overflow.SAT)
        modes = (behind.rounding, behind.overflow)
        if all(np.array_equal(quantize(entries, *one, *modes), quantize(y, *one, *modes)) for one in targets):
            return formats.fixed(Place.TABLE, k, i, f, Rounding.TRN)
    raise PrecisionError(
        "no table serves the different output formats of all elements",
        where=path,
        received=f"{len(targets)} formats",
        remedy="share one output format: allow_heterogeneous_table=False",
    )


def _check_table(ours: Any, layer: Any, path: str) -> None:
    """Every entry against HGQ2's own function and output quantizer.

    Raises:
        BitExactnessError: one differs.
    """
    form, codes, frac = ours.table_codes()
    x = np.zeros(1, np.float32) if form.is_zero else _inputs((form.k, form.i, form.f))
    rank = len(layer.oq.quantizer.variables[0].shape)
    column = keras.ops.reshape(keras.ops.convert_to_tensor(x), (-1,) + (1,) * (rank - 1))
    theirs = np.ravel(peer.numpy(layer.oq(peer.evaluated(layer, column))))
    require_equal(np.ldexp(codes.astype(np.float64), -frac), theirs, frac, path, "table")
