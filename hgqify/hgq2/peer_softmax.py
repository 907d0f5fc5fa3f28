"""Where our small layers make a softmax that HGQ2 has as one layer.

stable      QBelowMaximum, QActivation (exp), QSum, QActivation (reciprocal), QMultiply
else                       QActivation (exp), QSum, QActivation (reciprocal), QMultiply
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.fixed import quantize, to_codes, to_values
from hgqify.graph import Graph, Node
from hgqify.hgq2 import peer
from hgqify.hgq2.peer_formats import PeerSetting, to_peer
from hgqify.hgq2.peer_placed import PeerPlaced
from hgqify.hgq2.peer_tables import check_table
from hgqify.hgq2.placed import Apply

_EXPONENTIALS = ("hgqify>exp_of_negative", "hgqify>scaled_exp")
_RECIPROCALS = ("hgqify>reciprocal_from_one", "hgqify>shifted_reciprocal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax:
    """The nodes of one softmax.

    Attributes:
        below: distances below the maximum; None where it is not stable.
        masked: the exponential where it is seen; None without a mask.
        exponential, total, reciprocal, product: the others.
    """

    below: Node | None
    masked: Node | None
    exponential: Node
    total: Node
    reciprocal: Node
    product: Node

    @property
    def first(self) -> Node:
        """The node that takes the input."""
        return self.exponential if self.below is None else self.below

    @property
    def inner(self) -> tuple[str, ...]:
        """Names of all nodes but the product."""
        nodes = (self.below, self.exponential, self.masked, self.total, self.reciprocal)
        return tuple(node.name for node in nodes if node is not None)


def find_softmax(graph: Graph, layers: Mapping[str, Any]) -> tuple[Softmax, ...]:
    """All of them."""
    found = (_around(graph, layers, node) for node in graph)
    return tuple(one for one in found if one is not None)


def _around(graph: Graph, layers: Mapping[str, Any], node: Node) -> Softmax | None:
    """The softmax that a node is the exponential of, if it is one."""

    def layer(of: Node | None) -> Any:
        return None if of is None else layers.get(of.origin[0])

    if not _is_table(layer(node), _EXPONENTIALS) or node.name in graph.outputs:
        return None
    after = graph.only_consumer(node.name)
    masked = after if type(layer(after)) is q.QMask and not layer(after).iqs else None
    e = node if masked is None else masked
    consumers = graph.consumers(e.name)
    totals = [one for one in consumers if type(layer(one)) is q.QSum and _passes(layer(one), [layer(node)])]
    if len(consumers) != 2 or len(totals) != 1:
        return None
    reciprocal = graph.only_consumer(totals[0].name)
    if reciprocal is None or not _is_table(layer(reciprocal), _RECIPROCALS):
        return None
    product = graph.only_consumer(reciprocal.name)
    if product is None or type(layer(product)) is not q.QMultiply:
        return None
    if product.inputs != (e.name, reciprocal.name):
        return None
    if not _passes(layer(product), [layer(node), layer(reciprocal)]):
        return None
    before = graph[node.inputs[0]]
    below = before if isinstance(layer(before), q.QBelowMaximum) else None
    if below is not None:
        seen = None if masked is None else layer(masked).mask
        first = layer(below)
        fits = first.mask == seen and first.oq is None and first.axes == layer(totals[0]).axes
        if not fits or graph.only_consumer(below.name) is None:
            return None
    return Softmax(
        below=below,
        masked=masked,
        exponential=node,
        total=totals[0],
        reciprocal=reciprocal,
        product=product,
    )


def _passes(layer: Any, tables: Sequence[q.QActivation]) -> bool:
    """Whether the input quantizers of a layer change no entry of the tables it reads, or are off."""
    for quantizer, table in zip(layer.iqs, tables, strict=False):
        if quantizer.is_dummy:
            continue
        _, codes, frac = table.table_codes()
        state = quantizer.state()
        formats = [np.ravel(part)[:, None] for part in np.broadcast_arrays(state.k, state.i, state.f)]
        values = to_values(codes, frac)[None]
        k, i, f = np.unique(np.stack(formats), axis=1)
        if np.any(quantize(values, k, i, f, state.rounding, state.overflow) != values):
            return False
    return True


def _is_table(layer: Any, functions: tuple[str, ...]) -> bool:
    # Not one with a scale and shift, which a softmax lacks.
    return type(layer) is q.QActivation and layer.uses_table and layer.activation.name in functions


def softmax(found: Softmax, layers: Mapping[str, Any]) -> Apply:
    """`QSoftmax`, both tables compared entry by entry.

    Raises:
        UnsupportedLayerError: a table that HGQ2's does not serve.
    """

    def layer(node: Node) -> Any:
        return layers[node.origin[0]]

    exponential, reciprocal = layer(found.exponential), layer(found.reciprocal)
    product, path = layer(found.product), found.product.origin[0]
    scale = float(exponential.activation.params.get("scale", -1.0))
    stable = found.below is not None
    if (scale < 0) != stable:
        raise UnsupportedLayerError(
            "HGQ2's softmax takes exp(-x) of distances below the maximum, else exp(x)",
            where=path,
            received=f"exp({scale:g} x)",
            remedy="use hgqify.layers.softmax",
        )
    iqs = layer(found.below).iqs if found.below is not None else exponential.iqs
    iq = to_peer(iqs[0], f"{path} (iq)") if iqs else None
    exp_iq = to_peer(exponential.iqs[0], f"{path} (exp iq)")
    exp_oq = _table(exponential, f"{path} (exp)")
    inv_iq = to_peer(reciprocal.iqs[0], f"{path} (inverse iq)")
    inv_oq = _table(reciprocal, f"{path} (inverse)")
    oq = None if product.oq is None else to_peer(product.oq, f"{path} (oq)")
    # The largest element has distance 0: no sum is below its exponential, but that of a row not seen at all.
    whole = found.masked is None or layer(found.masked).mask_values().any(axis=layer(found.total).axes).all()
    least = _least_sum(exponential, reciprocal) if stable and whole else None

    def settle(theirs: Any) -> None:
        for setting, quantizer in (
            (iq, theirs.iq if theirs.enable_iq else None),
            (exp_iq if stable else None, theirs.exp_table.iq if stable else None),
            (exp_oq, theirs.exp_table.oq),
            (inv_iq, theirs.inv_table.iq),
            (inv_oq, theirs.inv_table.oq),
            (oq, theirs.oq if theirs.enable_oq else None),
        ):
            if setting is not None and quantizer is not None:
                setting.assign(quantizer)
        check_table(exponential, theirs.exp_table, f"{path} (exp)", least=0 if stable else None)
        check_table(reciprocal, theirs.inv_table, f"{path} (inverse)", least=least)

    made = peer.library("layers").QSoftmax(
        axis=layer(found.total).batched_axes,
        stable=stable,
        enable_iq=iq is not None,
        iq_conf=None if iq is None else iq.config,
        exp_iq_conf=exp_iq.config,
        exp_oq_conf=exp_oq.config,
        inv_iq_conf=inv_iq.config,
        inv_oq_conf=inv_oq.config,
        input_scaler=abs(scale),
        enable_oq=oq is not None,
        oq_conf=None if oq is None else oq.config,
        enable_ebops=False,
        name=str(product.name),
    )
    mask = None if found.masked is None else layer(found.masked).mask_values()[None]
    return PeerPlaced(made, settle, {} if mask is None else {"mask": mask})


def _least_sum(exponential: q.QActivation, reciprocal: q.QActivation) -> int | None:
    """The reciprocal's input code for a row of which only the largest element counts; None where it wraps."""
    state = reciprocal.iqs[0].state()
    if not state.overflow.saturates:
        return None
    form, codes, frac = exponential.table_codes()
    largest = to_values(codes[0 if form.is_zero else form.k << form.b], frac)
    k, i, f = (int(np.ravel(part)[0]) for part in (state.k, state.i, state.f))
    return int(to_codes(largest, k, i, f, state.rounding, state.overflow))


def _table(layer: q.QActivation, where: str) -> PeerSetting:
    """Saturating, without a sign, as HGQ2's tables in a softmax are; rounding is compared entry by entry.

    Raises:
        UnsupportedLayerError: negative entries.
    """
    if layer.oq is None:
        raise UnsupportedLayerError("a table without output quantizer", where=where)
    _, codes, frac = layer.table_codes()
    values = np.ldexp(codes.astype(np.float64), -frac).astype(np.float32)
    if values.min(initial=0) < 0:
        raise UnsupportedLayerError(
            "HGQ2's softmax has tables without sign",
            where=where,
            received=str(values.min()),
            remedy="set k0=0",
        )
    state = layer.oq.state(values)
    i, f = int(np.ravel(state.i)[0]), int(np.ravel(state.f)[0])
    config = peer.library("config").QuantizerConfig("kbi", "table", k0=0, b0=max(i + f, 0), i0=i, br=None)
    widths = {"k": 0, "i": i, "b": i + f}
    return PeerSetting(config=config, widths={name: np.asarray(v, np.float32) for name, v in widths.items()})
