"""Layers by the paths that `read` gives their nodes."""

import keras


def layers_by_path(model: keras.Model, prefix: str = "") -> dict[str, keras.layers.Layer]:
    """All layers of a model and of the models in it, by their paths, as `Node.origin` names them."""
    found: dict[str, keras.layers.Layer] = {}
    for layer in model.layers:
        path = prefix + layer.name
        found[path] = layer
        if isinstance(layer, keras.Model):
            found |= layers_by_path(layer, f"{path}/")
    return found
