"""Lower TimeDistributed to its inner layer, where that takes the extra axis or has a sibling that does."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hgqify.graph.describe import cleaned
from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult

# Layers that work on the last axis, or on every element by itself.
_ANY_RANK = frozenset(
    {
        "Activation",
        "Dense",
        "Dropout",
        "ELU",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "LeakyReLU",
        "ReLU",
    }
)
_SPATIAL = ("Conv", "MaxPooling", "AveragePooling", "ZeroPadding", "Cropping", "UpSampling")
_GLOBAL = ("GlobalMaxPooling", "GlobalAveragePooling")
# What a window, a step or a repetition is on the axis of time.
_ON_TIME: Mapping[str, Any] = {
    "kernel_size": 1,
    "pool_size": 1,
    "strides": 1,
    "dilation_rate": 1,
    "size": 1,
    "padding": (0, 0),
    "cropping": (0, 0),
}


class LowerTimeDistributed(Pass):
    """TimeDistributed(Dense) -> Dense, TimeDistributed(Conv1D) -> Conv2D with a window of one on time, ..."""

    name = "lower-time-distributed"

    def run(self, graph: Graph) -> PassResult:
        """Lower every such layer that can be; the others are left."""
        replacements, events = {}, []
        for node in graph:
            if node.kind != "TimeDistributed" or node.call is not None:
                continue
            lowered = _lower(node, graph[node.inputs[0]].shape)
            if lowered:
                replacements[node.name] = lowered
                events.append(self.event(node, "lowered", f"{lowered[0].kind} over all times"))
        return self.result(graph, replacements, {}, events)


def _lower(node: Node, in_shape: tuple[int, ...]) -> tuple[Node, ...]:
    inner = node.config["layer"]
    kind, config = inner["class_name"], cleaned(inner["config"])
    if inner["module"] != "keras.layers" or config.get("data_format") == "channels_first":
        return ()
    if kind in _ANY_RANK:
        return (node.with_(kind=kind, config=config),)
    if kind in ("Flatten", "Reshape"):
        return (node.with_(kind="Reshape", config={"target_shape": node.shape}),)
    if kind == "Permute":
        return (node.with_(kind=kind, config={"dims": (1, *(axis + 1 for axis in config["dims"]))}),)
    if kind == "BatchNormalization":
        axis = config["axis"]
        return (node.with_(kind=kind, config={**config, "axis": axis + 1 if axis > 0 else axis}),)
    family, rank = kind[:-2], kind[-2:]
    if rank not in ("1D", "2D"):
        return ()
    if family in _SPATIAL and config.get("padding") != "causal":
        return (_over_time(node, family, int(rank[0]), config),)
    return _global_pooling(node, family, int(rank[0]), config, in_shape) if family in _GLOBAL else ()


def _over_time(node: Node, family: str, rank: int, config: Mapping[str, Any]) -> Node:
    """The same family with one more spatial axis, time, in front."""
    wider = dict(config)
    for key, on_time in _ON_TIME.items():
        value = wider.get(key)
        if value is None or isinstance(value, str):  # padding 'same' and 'valid' hold for every axis
            continue
        one_axis = rank == 1 and np.ndim(value) == np.ndim(on_time)
        own = (value,) if one_axis else tuple(value)
        wider[key] = (on_time, *own)
    weights = {key: value[None] if key == "kernel" else value for key, value in node.weights.items()}
    return node.with_(kind=f"{family}{rank + 1}D", config=wider, weights=weights)


def _global_pooling(
    node: Node, family: str, rank: int, config: Mapping[str, Any], in_shape: tuple[int, ...]
) -> tuple[Node, ...]:
    """A pooling over all places of each time, and a reshape that drops them."""
    window = (1, *in_shape[1:-1])
    pooled = node.with_(
        kind=f"{family.removeprefix('Global')}{rank + 1}D",
        config={"pool_size": window, "strides": window, "padding": "valid", "data_format": "channels_last"},
        shape=(in_shape[0], *(1,) * rank, in_shape[-1]),
    )
    if config.get("keepdims"):
        return (pooled,)
    pooled = pooled.with_(
        name=f"{node.name}/pooling", shared=f"{node.shared}/pooling" if node.shared else None
    )
    target = node.with_(kind="Reshape", config={"target_shape": node.shape}, inputs=(pooled.name,))
    return pooled, target
