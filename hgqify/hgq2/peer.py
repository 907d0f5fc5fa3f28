"""HGQ2 itself: where it is imported, and what is asked of its objects.

HGQ2 is a peer that only this package knows, and only while a model comes from it or goes to it. Names that
HGQ2 0.2 does not make public are used here and nowhere else.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import keras
import numpy as np

from hgqify.errors import HgqifyError

_ROOT = "hgq"


def library(part: str = "layers") -> ModuleType:
    """The module ``hgq.<part>``; importing it registers HGQ2's layers with Keras.

    Raises:
        HgqifyError: HGQ2 is not installed.
    """
    try:
        return importlib.import_module(f"{_ROOT}.{part}")
    except ModuleNotFoundError as error:
        raise HgqifyError(
            "HGQ2 is not installed",
            where="hgqify.hgq2",
            received=str(error),
            remedy="install it: pip install 'hgqify[hgq2]'",
        ) from error


def class_name(layer: Any) -> str | None:
    """Name of a layer's class if it is HGQ2's own, else None; subclasses compute who knows what."""
    cls = type(layer)
    return cls.__name__ if cls.__module__.split(".")[0] == _ROOT else None


def numpy(value: Any) -> np.ndarray:
    """A tensor or variable as float32."""
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)


def variables(quantizer: Any) -> Mapping[str, np.ndarray]:
    """Trained widths of an HGQ2 quantizer as they are stored, not rounded: k, i, and f (kif) or b (kbi)."""
    return {v.name: numpy(v) for v in quantizer.quantizer.variables if v.name in ("k", "i", "f", "b")}


def affine_of(layer: Any) -> tuple[Any, Any] | None:
    """(scale, shift) that a table's input goes through first, of shape (1,); None where it has none."""
    return (layer.scale, layer.bias) if class_name(layer) == "QAffinedUnaryFunctionLUT" else None


def evaluated(layer: Any, x: Any) -> Any:
    """What a `QUnaryFunctionLUT` gives for a quantized input before its output quantizer."""
    affine = affine_of(layer)
    return layer.activation(x if affine is None else x * affine[0] + affine[1])


def softmax_of(attention: Any) -> Any:
    """The `QSoftmax` inside an attention layer."""
    return attention._softmax


def attention_equations(attention: Any) -> tuple[str, str]:
    """(keys times queries, probabilities times values) of an attention layer."""
    return attention._dot_product_equation, attention._combine_equation


def position_projections(attention: Any) -> tuple[Any, Any]:
    """Linformer's projections of keys' and values' positions; None for a plain attention layer."""
    return getattr(attention, "_lin_k_proj", None), getattr(attention, "_lin_v_proj", None)
