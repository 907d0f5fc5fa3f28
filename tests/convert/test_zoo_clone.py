"""On every architecture of the zoo: with quantizers off, the clone equals the float model."""

import keras
import numpy as np
import pytest
from tiny_zoo import tiny_models

from hgqify.convert import Status, convert
from hgqify.graph import read


@pytest.mark.parametrize("name", tiny_models.ZOO)
def test_clone_equals_the_float_model(name):
    model = tiny_models.build(name, seed=1)
    graph = read(model)
    conversion = convert(graph)
    x = tiny_models.inputs(model, seed=2)
    expected = keras.tree.flatten(model.predict_on_batch(x))
    actual = keras.tree.flatten(conversion.clone.predict_on_batch(x))
    for logits, a, e in zip(conversion.logits, actual, expected, strict=True):
        a, e = np.asarray(keras.ops.softmax(a) if logits else a), np.asarray(e)
        # Folding re-associates float sums: equality to float precision is what can hold.
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(e).max())))
    paths = [path for node in graph for path in node.origin]
    assert [entry.layer for entry in conversion.report.entries] == list(dict.fromkeys(paths))
    assert not conversion.report.refused
    for entry in conversion.report.entries:
        assert entry.target or entry.reason
        if entry.status is Status.CONVERTED:
            assert entry.target
