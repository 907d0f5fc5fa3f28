"""What is handed to hls4ml: one `LayerSpec` per node of its intermediate representation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hgqify.export.types import HlsType


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSpec:
    """One hls4ml layer.

    Attributes:
        name: unique lower-case name; also the name of the tensor it writes.
        kind: hls4ml's class name.
        inputs: names of the tensors it reads.
        types: type of every variable that matters: 'result', 'accum', 'weight', 'bias', 'table', ...
        attributes: the rest of hls4ml's layer dictionary.
        node: name of the program node whose value the tensor holds, None inside a group of layers.
        layer: path of the Keras layer it comes from.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    types: Mapping[str, HlsType]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    node: str | None = None
    layer: str = ""
