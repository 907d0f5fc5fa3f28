"""EinsumDense and products of two tensors as what they are lowered to."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny_zoo import tiny_models

from hgqify.convert import plan
from hgqify.graph import build, canonicalize, read
from hgqify.graph.passes.lower_einsum_dense import why_not

EQUATIONS = {
    "dense": ("abc,cd->abd", (3, 4), (None, 5), "d"),
    "no bias": ("abc,cd->abd", (3, 4), (None, 5), None),
    "ellipsis": ("...x,xy->...y", (3, 2, 4), (5,), "y"),
    "heads": ("abc,cde->abde", (3, 4), (None, 2, 5), "de"),
    "joined heads": ("abcd,cde->abe", (3, 2, 4), (None, 5), "e"),
    "summed first": ("abc,bd->adc", (3, 4), (5, 4), "dc"),
    "summed apart": ("abcd,dbe->aec", (3, 2, 4), (5, 2), "e"),
    "bias on places": ("abc,cd->abd", (3, 4), (3, 5), "bd"),
    "bias on places alone": ("abc,cd->abd", (3, 4), (3, 5), "b"),
    "shared": ("abc,bcd->abd", (3, 4), (3, 5), "bd"),
    "shared and places": ("abcd,cde->abce", (3, 2, 4), (3, 2, 5), "e"),
    "shared inside": ("abcd,bde->aecb", (3, 2, 4), (5, 2, 3), "ec"),
    "nothing summed": ("ab,bc->abc", (3,), (3, 5), "bc"),
    "an outer product": ("ab,c->abc", (3,), (3, 5), "c"),
    "flat": ("ab,bc->ac", (4,), (5,), "c"),
}


def check(model, graph, rtol=1e-5):
    x = tiny_models.inputs(model)
    for a, b in zip(
        keras.tree.flatten(build(graph)(x)), keras.tree.flatten(model(x, training=False)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=2e-5)


def einsum_dense(equation, shape, output_shape, bias_axes, **options):
    x = keras.Input(shape)
    layer = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, name="einsum", **options)
    model = keras.Model(x, layer(x))
    tiny_models.randomize(model, 0)
    return model


@pytest.mark.parametrize("case", EQUATIONS.values(), ids=EQUATIONS)
def test_einsum_dense_is_lowered(case):
    model = einsum_dense(*case, activation="relu")
    graph, events = canonicalize(read(model))
    assert "EinsumDense" not in [node.kind for node in graph]
    assert "lowered" in [event.action for event in events]
    check(model, graph)


@pytest.mark.parametrize(
    ("equation", "output_shape", "reason"),
    [("abc,cd->ad", (5,), "of one operand alone is summed"), ("abc,ade->bce", (4, 5), "batch axis")],
)
def test_einsum_dense_that_is_no_dense_layer_is_refused_with_the_reason(equation, output_shape, reason):
    node = read(einsum_dense("abc,cd->abd", (3, 4), (None, 5), "d")).nodes[-1]
    node = node.with_(config={**node.config, "equation": equation, "output_shape": output_shape})
    weights = {**node.weights, "kernel": np.zeros((4, 5) if equation[4] == "c" else (3, 4, 5))}
    assert reason in why_not(node.with_(weights=weights), (3, 4))


def test_a_sum_over_one_operand_is_refused_by_name():
    model = einsum_dense("abc,cd->ad", (3, 4), (5,), "d")
    (entry,) = plan(read(model)).refused
    assert entry.layer == "einsum"
    assert "summed" in entry.reason


def test_a_shared_einsum_dense_stays_shared():
    a, b = keras.Input((3, 4)), keras.Input((3, 4))
    layer = layers.EinsumDense("abc,cde->abed", (None, 2, 5), bias_axes="ed", name="twice")
    model = keras.Model([a, b], [layer(a), layer(b)])
    tiny_models.randomize(model, 1)
    graph, _ = canonicalize(read(model))
    check(model, graph)
    assert len({node.shared for node in graph if node.kind == "Dense"}) == 1
