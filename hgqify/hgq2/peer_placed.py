"""One layer of HGQ2 in place of one of ours: made, and set as soon as it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hgqify import layers as q
from hgqify.graph import Node
from hgqify.hgq2 import peer
from hgqify.hgq2.peer_formats import PeerSetting, to_peer
from hgqify.hgq2.placed import Apply


class PeerPlaced:
    """A layer of HGQ2 that takes its weights and formats when it is first called.

    Args:
        layer: not built.
        settle: sets them.
        arguments: further ones of the call.
    """

    def __init__(
        self,
        layer: Any,
        settle: Callable[[Any], None] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._layer = layer
        self._settle = settle
        self._arguments = dict(arguments or {})

    def __call__(self, tensors: list[Any]) -> Any:
        """Apply the layer."""
        fresh = not self._layer.built
        result = self._layer(tensors[0] if len(tensors) == 1 else tensors, **self._arguments)
        if fresh and self._settle is not None:
            self._settle(self._layer)
        return result


class Ours:
    """One of our layers on its way to HGQ2: its quantizers, and what HGQ2's constructors take for them.

    Args:
        layer: built.
        node: its first call.
    """

    def __init__(self, layer: Any, node: Node) -> None:
        self.layer = layer
        self.node = node
        self.name = str(layer.name)
        self.path = node.origin[0]
        self.iqs = [to_peer(one, f"{self.path} (iq)") for one in getattr(layer, "iqs", ())]
        own = getattr(layer, "oq", None)
        self.oq = None if own is None or is_table(layer) else to_peer(own, f"{self.path} (oq)")

    def common(self, *, counted: bool = True) -> dict[str, Any]:
        """Keyword arguments of all layers; HGQ2 counts EBOPs where inputs are quantized only."""
        penalty = getattr(self.layer, "penalty", None)
        counted = counted and penalty is not None and bool(self.iqs)
        return {
            "name": self.name,
            "enable_iq": bool(self.iqs),
            "enable_oq": self.oq is not None,
            "oq_conf": None if self.oq is None else self.oq.config,
            "enable_ebops": counted,
            "beta0": float(peer.numpy(penalty.beta)) if counted and penalty is not None else None,
        }

    @property
    def iq_conf(self) -> Any:
        """Of a layer with one input."""
        return self.iqs[0].config if self.iqs else None

    def settle_data(self, theirs: Any) -> None:
        """Widths of input and output quantizers."""
        if self.iqs:
            quantizers = theirs.iq if isinstance(self.layer, q.QMerge) else [theirs.iq]
            for one, setting in zip(quantizers, self.iqs, strict=True):
                setting.assign(one)
        if self.oq is not None:
            self.oq.assign(theirs.oq)


def is_table(layer: Any) -> bool:
    """Whether a layer of ours looks a function up."""
    return isinstance(layer, q.QActivation) and layer.uses_table


def then_quantized(step: Apply, name: str, setting: PeerSetting | None) -> Apply:
    """HGQ2 cannot build output quantizers of some layers: they stand behind those."""
    if setting is None:
        return step
    last = lone_quantizer(setting, name)
    return lambda tensors: last([step(tensors)])


def lone_quantizer(setting: PeerSetting, name: str) -> PeerPlaced:
    """`Quantizer` as a layer."""
    made = peer.library("layers").Quantizer(setting.config, name=name)
    return PeerPlaced(made, setting.assign)
