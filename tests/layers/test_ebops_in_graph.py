"""EBOPs in the loss, factored: value and gradient equal those of the layer's own operation on bits."""

import numpy as np
import pytest
from autodiff import compiled, numpy, value_and_gradients, variable_gradients
from keras import ops

from hgqify import layers as L
from hgqify.layers.ebops import positions_met, span, span_in_graph
from hgqify.quantizers import straight_through
from hgqify.quantizers.float_bits import pow2_like
from hgqify.quantizers.ops_kernel import ops_straight_through

KIF = {"q_type": "kif", "f0": 3}
LAYERS = {
    "dense-3d": (lambda: L.QDense(3, kq_conf=KIF), (2, 4)),
    "same-strides": (lambda: L.QConv2D(3, (3, 2), padding="same", strides=2, kq_conf=KIF), (5, 4, 2)),
    "groups": (lambda: L.QConv2D(4, 3, groups=2, padding="same", kq_conf=KIF), (5, 4, 4)),
    "first": (lambda: L.QConv2D(2, 2, dilation_rate=(2, 1), data_format="channels_first"), (3, 5, 4)),
    "causal": (lambda: L.QConv1D(3, 3, padding="causal", dilation_rate=2, kq_conf=KIF), (7, 2)),
    "depthwise": (
        lambda: L.QDepthwiseConv2D((3, 2), strides=2, padding="same", depth_multiplier=2, kq_conf=KIF),
        (5, 4, 2),
    ),
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_factored_ebops_equal_the_operation_on_bits(name):
    make, shape = LAYERS[name]
    layer = make()
    layer.build((None, *shape))
    rng = np.random.default_rng(0)
    layer.kernel.assign(np.round(rng.normal(0, 4, layer.kernel.shape)) / 8)
    iq, kq = layer.iq, layer.kq
    iq.set_state(i=rng.integers(0, 3, iq.width_shape), f=rng.integers(-1, 5, iq.width_shape))
    variables = [q.b if q.f is None else q.f for q in (iq, kq)]

    def operation():
        kernel = ops.convert_to_tensor(layer.kernel)
        exact = ops.cast(span_in_graph(kq(kernel)), "float32")
        bits = straight_through(exact, ops.broadcast_to(kq.bits(kernel), kernel.shape))
        return ops.sum(layer.apply_linear(ops.broadcast_to(iq.bits(), (1, *shape)), bits))

    slopes, expected = (variable_gradients(fn, variables) for fn in (layer.ebops_value, operation))
    assert float(layer.ebops_value()) == float(operation()) == layer.ebops() > 0
    for slope, other in zip(slopes, expected, strict=True):
        np.testing.assert_array_equal(slope, other)
        assert np.any(slope != 0)


def test_positions_met_leave_padding_out():
    np.testing.assert_array_equal(
        positions_met(5, 3, 2, 1, (1, 1)), [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [0, 1, 0, 1, 0]]
    )


def test_spans_in_graph_equal_spans():
    rng = np.random.default_rng(1)
    values = np.ldexp(rng.integers(-(2**24), 2**24, 4096).astype(np.float64), rng.integers(-60, 60, 4096))
    values = np.concatenate([values, np.ldexp(1.0, np.arange(-126, 128)), [0.0, -0.0]]).astype(np.float32)
    np.testing.assert_array_equal(numpy(span_in_graph(ops.convert_to_tensor(values))), span(values))


@pytest.mark.parametrize("like", [np.float32(0), np.float32(1)])
def test_powers_of_two_of_float_exponents_are_exact(like):
    n = np.arange(-126, 128).astype(np.float32)
    like = ops.convert_to_tensor(like)
    got = numpy(compiled(lambda n: pow2_like(n, like))(ops.convert_to_tensor(n)))
    np.testing.assert_array_equal(got, np.ldexp(np.float32(1), n.astype(int)))


@pytest.mark.parametrize("through", [straight_through, ops_straight_through])
def test_straight_through_has_one_value_and_the_others_gradient(through):
    x = np.asarray([0.1, -7.3, 1e30], np.float32)
    value, (slope,) = value_and_gradients(lambda x: through(ops.floor(x), 3.0 * x), x)
    np.testing.assert_array_equal(value, np.floor(x))
    np.testing.assert_array_equal(slope, np.full(3, 3.0))
