"""Repairs of model configs: what older Keras versions wrote, and what only training needs."""

from collections.abc import Iterator
from typing import Any

# Arguments that Keras 3 no longer knows and that say nothing there: depthwise convolutions have one group
# per channel by definition, and recurrent layers take (batch, time, features) when time_major is False.
_OBSOLETE = {
    "DepthwiseConv1D": {"groups": None},
    "DepthwiseConv2D": {"groups": None},
    "GRU": {"time_major": False},
    "LSTM": {"time_major": False},
    "RNN": {"time_major": False},
    "SimpleRNN": {"time_major": False},
}


def repaired(config: Any) -> Any:
    """A config with obsolete arguments dropped and the input of a legacy Sequential spelled out.

    How a model inside was compiled is left out too: nobody trains it by its own loss, whose code may be
    elsewhere.

    Args:
        config: a parsed model config, of any Keras version; not changed.

    Returns:
        The repaired config; equal to the given one where nothing needs repair.
    """
    if isinstance(config, list):
        return [repaired(item) for item in config]
    if not isinstance(config, dict):
        return config
    result = {key: repaired(value) for key, value in config.items() if key != "compile_config"}
    kind, inner = result.get("class_name"), result.get("config")
    if kind in _OBSOLETE and isinstance(inner, dict):
        for key, neutral in _OBSOLETE[kind].items():
            if key in inner and (neutral is None or inner[key] == neutral):
                del inner[key]
    if kind == "Sequential" and isinstance(inner, dict):
        _add_input_layer(inner)
    return result


def _add_input_layer(sequential: dict[str, Any]) -> None:
    """Keras 2 kept the input shape in the first layer; Keras 3 then counts the batch dimension twice."""
    layers = sequential.get("layers")
    if not layers or "build_input_shape" in sequential:
        return
    first = layers[0].get("config")
    if layers[0].get("class_name") == "InputLayer" or not isinstance(first, dict):
        return
    if "batch_input_shape" not in first:
        return
    shape = first.pop("batch_input_shape")
    dtype = first.get("dtype")
    config = {
        "batch_shape": shape,
        "dtype": dtype if isinstance(dtype, str) else "float32",
        "name": f"{first.get('name', 'model')}_input",
    }
    layers.insert(0, {"class_name": "InputLayer", "config": config})


def entries(config: Any) -> Iterator[dict[str, Any]]:
    """Every serialized object (a dict with 'class_name') in a config, at any depth."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config
        for value in config.values():
            yield from entries(value)
    elif isinstance(config, list):
        for item in config:
            yield from entries(item)
