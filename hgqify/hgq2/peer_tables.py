"""Our unary functions as HGQ2's, tables compared entry by entry."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.hgq2 import peer
from hgqify.hgq2.peer_formats import PeerSetting, to_peer
from hgqify.hgq2.peer_placed import Ours, PeerPlaced, is_table
from hgqify.hgq2.placed import Apply, require_equal, tensor
from hgqify.layers.activations import Activation, PiecewiseLinear


def function_of(activation: Activation, where: str) -> Any:
    """What HGQ2's layers take: a function of one argument.

    Raises:
        UnsupportedLayerError: one with parameters, which they cannot hold.
    """
    if activation.piecewise == PiecewiseLinear():
        return "linear"
    if activation.piecewise == PiecewiseLinear(low=0.0):
        return "relu"
    plain = q.get_activation(activation.function, where=where)
    if plain != activation:
        raise UnsupportedLayerError(
            "HGQ2's layers hold functions without parameters only",
            where=where,
            received=f"{activation.name} {dict(activation.params)}",
            remedy="use the function's defaults",
        )
    return activation.function


def activation(ours: Ours) -> Apply:
    """`QActivation` as `QUnaryFunctionLUT`, `QAffineActivation` as `QAffinedUnaryFunctionLUT`.

    Tables are compared entry by entry.
    """
    layer = ours.layer
    function = function_of(layer.activation, ours.path)
    affine = (layer.scale, layer.shift) if isinstance(layer, q.QAffineActivation) else ()
    common = ours.common(counted=is_table(layer))
    oq = table_oq(layer, ours.path) if is_table(layer) else ours.oq
    common |= {"enable_oq": oq is not None, "oq_conf": None if oq is None else oq.config}

    def settle(theirs: Any) -> None:
        for setting in ours.iqs:
            setting.assign(theirs.iq)
        for mine, other in zip(affine, peer.affine_of(theirs) or (), strict=True):
            other.assign(peer.numpy(mine))
        if oq is not None:
            oq.assign(theirs.oq)
        if is_table(layer):
            check_table(layer, theirs, ours.path)

    cls = "QAffinedUnaryFunctionLUT" if affine else "QUnaryFunctionLUT"
    made = getattr(peer.library("layers"), cls)(function, iq_conf=ours.iq_conf, **common)
    return PeerPlaced(made, settle)


def table_oq(layer: q.QActivation, where: str) -> PeerSetting:
    """HGQ2's quantizer of a table's entries."""
    if layer.oq is None:
        raise UnsupportedLayerError("a table without output quantizer", where=where)
    _, codes, frac = layer.table_codes()
    return to_peer(layer.oq, f"{where} (oq)", np.ldexp(codes.astype(np.float64), -frac).astype(np.float32))


def check_table(layer: q.QActivation, theirs: Any, where: str, *, least: int | None = None) -> None:
    """Every entry of a table against HGQ2's function and output quantizer.

    Args:
        layer: ours.
        theirs: HGQ2's `QUnaryFunctionLUT`.
        where: what an error names.
        least: the smallest input code that can occur; None for all.

    Raises:
        BitExactnessError: one differs.
    """
    form, codes, frac = layer.table_codes()
    inputs = np.arange(codes.size, dtype=np.int64) - (0 if form.is_zero else form.k << form.b)
    seen = np.ones(codes.shape, bool) if least is None else inputs >= least
    x = np.ldexp(inputs[seen].astype(np.float64), -form.f).astype(np.float32)
    rank = len(theirs.oq.quantizer.variables[0].shape)
    column = keras.ops.reshape(tensor(x), (-1,) + (1,) * (rank - 1))
    found = np.ravel(peer.numpy(theirs.oq(peer.evaluated(theirs, column))))
    entries = np.ldexp(codes[seen].astype(np.float64), -frac)
    remedy = "HGQ2 has its own function there: give the table fewer bits, or keep this layer out of the model"
    require_equal(entries, found, frac, where, "table", remedy)
