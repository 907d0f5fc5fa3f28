"""How an attention layer is called: its tensors by role, and the mask that is the same for every sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.graph.model import Graph, Node, Ref

_PARAMETERS = (
    "query",
    "value",
    "key",
    "query_mask",
    "value_mask",
    "key_mask",
    "attention_mask",
    "return_attention_scores",
    "training",
    "use_causal_mask",
)
_OF_LIST = ("inputs", "mask", "training", "return_attention_scores", "use_causal_mask")


class AttentionError(ValueError):
    """An attention layer that cannot be opened; the message is a clause that says why."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an attention layer.

    Attributes:
        query, value, key: names of the tensors.
        shapes: of these tensors, by name.
        mask: constant mask given with the call, batch axis included, or None.
        causal: whether a place sees only itself and those before it.
        returns_scores: whether the probabilities are returned as well.
    """

    query: str
    value: str
    key: str
    shapes: Mapping[str, tuple[int, ...]]
    mask: np.ndarray | None
    causal: bool
    returns_scores: bool

    @classmethod
    def of(cls, node: Node, shapes: Mapping[str, tuple[int, ...]]) -> Call:
        """The call of a node whose inputs have these shapes.

        Raises:
            AttentionError: a mask depends on data, or an argument is not understood.
        """
        given = _arguments(node)
        if not isinstance(given.get("return_attention_scores", False), bool):
            raise AttentionError("return_attention_scores is no constant")
        tensors = [given.get(role) for role in ("query", "value", "key")]
        if tensors[2] is None:
            tensors[2] = tensors[1]
        if not all(isinstance(tensor, Ref) for tensor in tensors):
            raise AttentionError("query, value or key is no tensor of the model")
        for role in ("query_mask", "value_mask", "key_mask", "mask"):
            if given.get(role) is not None:
                raise AttentionError(f"{role} depends on the data")
        names = [node.inputs[tensor.index] for tensor in tensors if isinstance(tensor, Ref)]
        return cls(
            query=names[0],
            value=names[1],
            key=names[2],
            shapes=shapes,
            mask=_constant(given.get("attention_mask")),
            causal=bool(given.get("use_causal_mask", False)),
            returns_scores=bool(given.get("return_attention_scores", False)),
        )

    def mask_over(self, rank: int, attended: int, window: int | None = None) -> np.ndarray | None:
        """The whole constant mask with ``rank`` axes, batch included; None where nothing is masked.

        Args:
            rank: axes of the scores.
            attended: axes that attention runs over.
            window: how far places see each other, None for all.
        """
        places = (self.shapes[self.query][0], self.shapes[self.value][0])
        mask = self.mask
        row, column = np.ogrid[: places[0], : places[1]]
        for wanted, seen in ((self.causal, row >= column), (window, np.abs(row - column) < (window or 0))):
            if wanted:
                mask = seen[None] if mask is None else mask & seen[None]
        if mask is None or mask.all():
            return None
        while mask.ndim < rank:  # for the heads, as Keras does
            mask = np.expand_dims(mask, -2 * attended - 1)
        if mask.shape[0] != 1:
            raise AttentionError("attention_mask differs between samples")
        return mask


def bound(graph: Graph, node: Node) -> Call:
    """The call of a node of a graph.

    Raises:
        AttentionError: as `Call.of`.
    """
    return Call.of(node, {name: graph[name].shape for name in node.inputs})


def _arguments(node: Node) -> dict[str, Any]:
    """Arguments by parameter; tensors as `Ref`."""
    in_list = node.kind in ("Attention", "AdditiveAttention")
    if node.call is None:
        args: tuple[Any, ...] = tuple(Ref(index) for index in range(len(node.inputs)))
        args, kwargs = (list(args),) if in_list else args, {}
    else:
        args, kwargs = node.call.args, dict(node.call.kwargs)
    given = {**dict(zip(_OF_LIST if in_list else _PARAMETERS, args, strict=False)), **kwargs}
    if in_list:
        tensors = given.pop("inputs")
        given |= dict(zip(("query", "value", "key"), tensors, strict=False))
        mask = given.pop("mask", None)
        given["mask"] = None if mask is None or all(part is None for part in mask) else mask
    return given


def _constant(mask: Any) -> np.ndarray | None:
    if mask is None:
        return None
    if any(isinstance(leaf, Ref | str) for leaf in keras.tree.flatten(mask)):
        raise AttentionError("attention_mask depends on the data")
    return np.asarray(keras.ops.convert_to_numpy(mask)).astype(bool)
