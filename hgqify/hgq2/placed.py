"""One layer of ours in place of an HGQ2 layer: made, and set as soon as it is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from hgqify.errors import BitExactnessError
from hgqify.graph import Node, layer_name
from hgqify.hgq2 import formats
from hgqify.hgq2.formats import Setting

Apply = Callable[[list[Any]], Any]
"""From the input tensors of a call to its output tensor; the layers in it are made once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """An HGQ2 layer to be imported.

    Attributes:
        layer: it.
        node: its first call in the graph.
        shapes: of the call's inputs, without the batch.
    """

    layer: Any
    node: Node
    shapes: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """The name of our layer, and the beginning of those beside it."""
        return layer_name(self.node)

    @property
    def path(self) -> str:
        """What an error names."""
        return self.node.origin[0]

    def of(self, layer: Any, part: str) -> Source:
        """A layer inside this one, under a name of its own."""
        name = f"{self.name}_{part}"
        return Source(layer=layer, node=self.node.with_(layer=name, shared=None), shapes=self.shapes)

    def data(self, quantizer: Any, role: str) -> Setting:
        """The setting of a quantizer of data."""
        return formats.of_data(quantizer, f"{self.path} ({role})")

    def input(self) -> Setting | None:
        """The setting of the input quantizer, None where it is off."""
        return self.data(self.layer.iq, "iq") if self.layer.enable_iq else None

    def output(self) -> Setting | None:
        """The setting of the output quantizer, None where it is off."""
        return self.data(self.layer.oq, "oq") if self.layer.enable_oq else None

    def counting(self) -> dict[str, Any]:
        """Keyword arguments that say whether and at what price EBOPs count."""
        counted = bool(self.layer.enable_ebops)
        return {"enable_ebops": counted, "beta0": float(self.layer.beta) if counted else None}


def given(setting: Setting | None) -> Any:
    """An input quantizer's config for a constructor: False for none."""
    return False if setting is None else setting.config


def wanted(setting: Setting | None) -> Any:
    """An output quantizer's config for a constructor: None for none."""
    return None if setting is None else setting.config


class Placed:
    """A layer of ours that takes its weights and formats when it is first called.

    Args:
        layer: not built.
        inputs: settings of its input quantizers, none where they are off.
        output: of its output quantizer.
        settle: what else is set once it is built.
    """

    def __init__(
        self,
        layer: Any,
        *,
        inputs: Sequence[Setting | None] = (),
        output: Setting | None = None,
        settle: Callable[[Any], None] | None = None,
    ) -> None:
        self._layer = layer
        self._inputs = [setting for setting in inputs if setting is not None]
        self._output = output
        self._settle = settle

    def __call__(self, tensors: list[Any]) -> Any:
        """Apply the layer."""
        fresh = not self._layer.built
        result = self._layer(tensors[0] if len(tensors) == 1 else tensors)
        if fresh:
            for quantizer, setting in zip(getattr(self._layer, "iqs", ()), self._inputs, strict=True):
                setting.assign(quantizer)
            if self._output is not None:
                self._output.assign(self._layer.oq)
            if self._settle is not None:
                self._settle(self._layer)
        return result


def chain(*steps: Apply) -> Apply:
    """One after the other, the first on all tensors."""

    def apply(tensors: list[Any]) -> Any:
        result = steps[0](tensors)
        for step in steps[1:]:
            result = step([result])
        return result

    return apply


REPORT = "please report this model; nothing was written"


def require_equal(
    ours: np.ndarray, theirs: np.ndarray, f: Any, where: str, what: str, remedy: str = REPORT
) -> None:
    """Compare the codes of a constant.

    HGQ2 scales by a power of two that some backends compute inexactly, so its values count as the codes they
    are nearest to.

    Args:
        ours: on the grid.
        theirs: as HGQ2 quantizes them.
        f: fractional bits, broadcastable.
        where, what, remedy: what an error says.

    Raises:
        BitExactnessError: codes differ.
    """
    # Beyond |f| = 100 stands only what has no bits: the value 0 on either side.
    scale = np.clip(np.asarray(f, np.int64), -100, 100)
    mine, peers = (np.rint(np.ldexp(np.asarray(v, np.float64), scale)) for v in (ours, theirs))
    wrong = mine != peers
    if wrong.any():
        place = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise BitExactnessError(
            f"{int(wrong.sum())} of {wrong.size} codes of the {what} differ from HGQ2's",
            where=where,
            received=f"{mine[place]:.0f} for {peers[place]:.0f} at {place}",
            remedy=remedy,
        )


def tensor(value: Any) -> Any:
    """A float32 tensor."""
    return keras.ops.convert_to_tensor(np.asarray(value, np.float32))
