"""On every architecture of the zoo: what is read, rewritten and built again computes the same."""

import keras
import numpy as np
import pytest
from tiny_zoo import tiny_models

from hgqify.graph import build, canonicalize, default_passes, read


def _outputs(model, x):
    return keras.tree.map_structure(np.asarray, model(x, training=False))


def _assert_close(actual, expected):
    keras.tree.assert_same_structure(actual, expected)
    for a, e in zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True):
        assert a.dtype == np.float32
        # Folding re-associates float sums: equality to float precision is what can hold.
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(e).max())))


@pytest.fixture(scope="module", params=tiny_models.ZOO)
def case(request):
    """A model of the zoo, its graph, the canonical graph and the events."""
    model = tiny_models.build(request.param, seed=1)
    graph = read(model)
    return model, graph, *canonicalize(graph)


def test_rebuilt_and_canonical_models_equal_the_original(case):
    model, graph, canonical, _ = case
    x = tiny_models.inputs(model, seed=2)
    expected = _outputs(model, x)
    keras.tree.map_structure(np.testing.assert_array_equal, _outputs(build(graph), x), expected)
    _assert_close(_outputs(build(canonical), x), expected)


def test_canonical_form_holds_no_fused_or_composite_layers(case):
    _, _, canonical, events = case
    for node in canonical:
        assert node.kind not in ("Dropout", "GaussianNoise", "RandomFlip", "Rescaling", "Normalization")
        assert not node.kind.startswith(("Separable", "ops."))
        if node.kind != "Activation":
            assert node.config.get("activation", "linear") == "linear"
        assert node.origin
        assert all(not value.flags.writeable for value in node.weights.values())
    assert all(event.layer and event.reason and event.pass_name for event in events)


def test_canonicalizing_twice_changes_nothing(case):
    _, _, canonical, _ = case
    for step in default_passes():
        assert not step(canonical).modified, step.name


def test_models_are_seeded():
    one, two = (tiny_models.build("residual", seed=3) for _ in range(2))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    other = tiny_models.build("residual", seed=4)
    assert any((a != b).any() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
