"""Our quantizers, merges, pooling and sums as HGQ2's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.hgq2 import peer
from hgqify.hgq2.peer_formats import PeerSetting
from hgqify.hgq2.peer_placed import Ours, PeerPlaced, lone_quantizer, then_quantized
from hgqify.hgq2.placed import Apply


def quantize(ours: Ours) -> Apply:
    """`Quantize`."""
    if not ours.iqs:
        raise UnsupportedLayerError("the layer has no quantizer", where=ours.path, remedy="remove it")
    first = lone_quantizer(ours.iqs[0], ours.name if ours.oq is None else f"{ours.name}_iq")
    return then_quantized(first, ours.name, ours.oq)


def merge(ours: Ours) -> Apply:
    """Merges; a mean of two, four and so on is one by a shift."""
    name = type(ours.layer).__name__
    if name == "QAverage":
        _require_shift(len(ours.node.inputs), ours.path)
        name = "QAveragePow2"
    made = getattr(peer.library("layers"), name)(iq_confs=_confs(ours.iqs), **ours.common())
    return PeerPlaced(made, ours.settle_data)


def _confs(settings: Sequence[PeerSetting]) -> Any:
    return [setting.config for setting in settings] or None


def einsum(ours: Ours) -> Apply:
    """`QEinsum`, its output quantizer behind it."""
    terms, result = ours.layer.sample_equation.split("->")
    batch = next(letter for letter in "zyxwZYXW" if letter not in terms)
    equation = ",".join(batch + term for term in terms.split(",")) + f"->{batch}{result}"
    return _unquantized(ours, "QEinsum", {"equation": equation, "iq_confs": _confs(ours.iqs)})


def reduction(ours: Ours) -> Apply:
    """`QSum`, `QMeanPow2`, and `QMean` of a power of two, their output quantizers behind them."""
    layer = ours.layer
    if type(layer) is q.QMean:
        _require_shift(layer.reduced_count(), ours.path)
    name = "QSum" if isinstance(layer, q.QSum) else "QMeanPow2"
    arguments = {"axes": layer.batched_axes, "keepdims": True, "iq_conf": ours.iq_conf}
    return _unquantized(ours, name, arguments)


def _unquantized(ours: Ours, cls: str, arguments: Mapping[str, Any]) -> Apply:
    inner = ours.name if ours.oq is None else f"{ours.name}_exact"
    common = ours.common() | {"enable_oq": False, "oq_conf": None, "name": inner}
    made = getattr(peer.library("layers"), cls)(**arguments, **common)
    oq, ours.oq = ours.oq, None
    return then_quantized(PeerPlaced(made, ours.settle_data), ours.name, oq)


def pooling(ours: Ours) -> Apply:
    """Pooling; averages over powers of two."""
    layer = ours.layer
    name = type(layer).__name__
    if "Average" in name:
        for count in set(layer.window_counts().ravel().tolist()):
            _require_shift(count, ours.path)
    names = ("data_format", "keepdims")
    if not name.startswith("QGlobal"):
        names = ("pool_size", "strides", "padding", "data_format")
    arguments = {one: getattr(layer, one) for one in names}
    made = getattr(peer.library("layers"), name)(**arguments, iq_conf=ours.iq_conf, **ours.common())
    return PeerPlaced(made, ours.settle_data)


def _require_shift(count: int, where: str) -> None:
    if count & (count - 1):
        raise UnsupportedLayerError(
            "HGQ2 averages by a float division, which is exact over a power of two only",
            where=where,
            received=f"{count} elements",
            remedy="use QMeanPow2 or QAveragePow2",
        )
