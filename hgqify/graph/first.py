"""The layers that a training reaches last: nothing before them is trained."""

import keras

from hgqify.graph.keras_internals import recorded_calls


def first_trained(model: keras.Model) -> list[keras.Operation]:
    """The layers with trainable variables that read, in all of their calls, what no such layer made.

    Nobody asks for the gradient of what these read.

    Args:
        model: Sequential or functional.
    """
    untrained = {id(tensor) for tensor in model.inputs}
    first: dict[int, keras.Operation] = {}
    later: set[int] = set()
    for call in recorded_calls(model.outputs, model.inputs):
        layer = call.operation
        if any(id(tensor) not in untrained for tensor in call.inputs):
            later.add(id(layer))
        elif isinstance(layer, keras.layers.Layer) and layer.trainable_variables:
            first[id(layer)] = layer
        else:
            untrained.update(id(tensor) for tensor in call.outputs)
    return [layer for key, layer in first.items() if key not in later]
