"""Data for a model: opened, and checked against the model's inputs."""

from __future__ import annotations

from typing import Any

import keras

from hgqify.data import Source, check_against, open_source


def open_for(model: keras.Model, data: Any, **options: Any) -> Source:
    """Open data for a model.

    Args:
        model: its inputs' names select arrays in files and order those of dicts.
        data, options: as for `hgqify.data.open_source`.

    Raises:
        DataError: the data cannot be read, or does not fit the model.
    """
    names = [tensor.name for tensor in model.inputs]
    source = open_source(data, names=names, **options)
    check_against(source, [tensor.shape[1:] for tensor in model.inputs], names)
    return source
