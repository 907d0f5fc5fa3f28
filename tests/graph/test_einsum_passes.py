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


def two(make, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, make(*inputs))
    tiny_models.randomize(model, 0)
    return model


ops = keras.ops
PRODUCTS = {
    "matmul": two(lambda a, b: ops.matmul(a, b), (3, 4), (4, 5)),
    "@": two(lambda a, b: a @ b, (2, 3, 4), (2, 4, 5)),
    "einsum": two(lambda a, b: ops.einsum("bthc,bshc->bhts", a, b), (3, 2, 4), (5, 2, 4)),
    "einsum, ellipsis": two(lambda a, b: ops.einsum("...tc,...sc->...st", a, b), (3, 2, 4), (3, 5, 4)),
    "Dot": two(lambda a, b: layers.Dot(axes=(2, 1))([a, b]), (3, 4), (4, 5)),
    "Dot, axis 1": two(lambda a, b: layers.Dot(axes=1)([a, b]), (4, 3), (4, 5)),
    "Dot, last axis": two(lambda a, b: layers.Dot(axes=-1)([a, b]), (3, 4), (5, 4)),
    "Dot, vectors": two(lambda a, b: layers.Dot(axes=1)([a, b]), (4,), (4,)),
    "Dot, vector and matrix": two(lambda a, b: layers.Dot(axes=(1, 2))([a, b]), (4,), (5, 4)),
    "a tensor twice": two(lambda a: layers.Dot(axes=2)([a, a]), (3, 4)),
}


@pytest.mark.parametrize("model", PRODUCTS.values(), ids=PRODUCTS)
def test_products_of_two_tensors_are_lowered(model):
    graph, _ = canonicalize(read(model))
    assert "Einsum" in [node.kind for node in graph]
    check(model, graph)


def test_a_dot_that_normalizes_is_refused():
    model = two(lambda a, b: layers.Dot(axes=1, normalize=True, name="cosine")([a, b]), (4,), (4,))
    (entry,) = plan(read(model)).refused
    assert entry.layer == "cosine"


def mha(*args, **options):
    return layers.MultiHeadAttention(*args, name="mha", **options)


def causal(size):
    return np.tril(np.ones((1, size, size), bool))


ATTENTION = {
    "self": two(lambda x: mha(2, 3)(x, x), (5, 4)),
    "cross": two(lambda x, y: mha(2, 3)(x, y), (5, 4), (6, 3)),
    "key": two(lambda x, y, z: mha(2, 3)(x, y, key=z), (5, 4), (6, 3), (6, 2)),
    # On JAX, Keras computes other sizes of values only where dropout or scores ask for the plain products.
    "value_dim": two(lambda x: mha(2, 3, value_dim=5, dropout=0.1)(x, x), (5, 4)),
    "no bias, output_shape": two(lambda x: mha(2, 3, use_bias=False, output_shape=7)(x, x), (5, 4)),
    "output of two axes": two(lambda x: mha(2, 3, output_shape=(2, 3))(x, x), (5, 4)),
    "dropout": two(lambda x: mha(2, 3, dropout=0.3)(x, x), (5, 4)),
    "causal": two(lambda x: mha(2, 3)(x, x, use_causal_mask=True), (5, 4)),
    "causal, with scores": two(
        lambda x: mha(2, 3)(x, x, use_causal_mask=True, return_attention_scores=True), (5, 4)
    ),
    "constant mask": two(lambda x: mha(2, 3)(x, x, attention_mask=causal(5)[:, ::-1, ::-1]), (5, 4)),
    "both masks": two(
        lambda x: mha(2, 3)(x, x, attention_mask=causal(5)[:, ::-1, ::-1] | np.eye(5, dtype=bool),
                            use_causal_mask=True), (5, 4)
    ),
    "two axes": two(lambda x: mha(2, 3)(x, x), (3, 2, 4)),
    "the second axis": two(lambda x: mha(2, 3, attention_axes=2)(x, x), (3, 2, 4)),
    "the first axis": two(lambda x: mha(2, 3, attention_axes=(1,))(x, x), (3, 2, 4)),
    "scores alone": two(lambda x: mha(2, 3)(x, x, return_attention_scores=True)[1], (5, 4)),
    "gate": two(lambda x: mha(2, 3, use_gate=True)(x, x), (5, 4)),
    "sliding window": two(lambda x: mha(2, 3, sliding_window=2)(x, x), (5, 4)),
    "grouped": two(lambda x: layers.GroupQueryAttention(3, 4, 2)(x, x), (5, 4)),
    "grouped, causal, scores": two(
        lambda x: layers.GroupQueryAttention(3, 4, 2)(
            x, x, use_causal_mask=True, return_attention_scores=True
        ),
        (5, 4),
    ),
    "Attention": two(lambda x, y: layers.Attention()([x, y]), (5, 4), (6, 4)),
    "Attention, key, scale": two(
        lambda x, y, z: layers.Attention(use_scale=True)([x, y, z]), (5, 4), (6, 3), (6, 4)
    ),
    "Attention, causal, scores": two(
        lambda x, y: layers.Attention()([x, y], use_causal_mask=True, return_attention_scores=True),
        (5, 4), (6, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", ATTENTION.values(), ids=ATTENTION)
def test_attention_is_opened(model):
    graph, _ = canonicalize(read(model))
    kinds = {node.kind for node in graph}
    assert {"Einsum", "Softmax"} <= kinds
    assert not kinds & {"EinsumDense", "MultiHeadAttention", "GroupQueryAttention", "Attention"}
    check(model, graph, rtol=1e-4)
