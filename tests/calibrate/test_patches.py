"""Patches and kernel matrices multiply to what the layer computes."""

import keras
import numpy as np
import pytest

from hgqify.calibrate.patches import from_matrices, kernel_matrices, patch_rows
from hgqify.layers import QConv1D, QConv2D, QDense, QDepthwiseConv1D, QDepthwiseConv2D

CASES = {
    "dense": (lambda: QDense(3), (5,)),
    "dense over positions": (lambda: QDense(3), (4, 5)),
    "causal": (lambda: QConv1D(3, 3, padding="causal", dilation_rate=2), (9, 2)),
    "strides": (lambda: QConv2D(4, (3, 2), strides=(2, 1), padding="same"), (7, 6, 2)),
    "dilation": (lambda: QConv2D(4, 2, dilation_rate=2), (7, 6, 3)),
    "groups": (lambda: QConv2D(6, 3, groups=2, padding="same"), (5, 5, 4)),
    "depthwise": (lambda: QDepthwiseConv2D(3, depth_multiplier=2, padding="same"), (5, 5, 3)),
    "depthwise strides": (lambda: QDepthwiseConv1D(3, strides=2), (9, 3)),
}


def _made(make, shape, seed=0):
    layer = make()
    layer.build((None, *shape))
    rng = np.random.default_rng(seed)
    kernel = rng.integers(-8, 8, tuple(layer.kernel.shape)).astype(np.float32)
    return layer, kernel, rng.integers(-8, 8, (3, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
def test_rows_times_matrices_are_the_outputs(name):
    layer, kernel, x = _made(*CASES[name])
    expected = np.asarray(layer.apply_linear(keras.ops.convert_to_tensor(x), kernel))
    rows = patch_rows(layer, x, 10_000)
    product = rows @ kernel_matrices(layer, kernel)  # (groups, rows, outputs of a group)
    outputs = np.moveaxis(product, 0, 1).reshape(expected.shape)
    np.testing.assert_array_equal(outputs, expected)
    np.testing.assert_array_equal(from_matrices(layer, kernel_matrices(layer, kernel)), kernel)


def test_rows_are_drawn_alike_for_alike_shapes():
    layer, _, x = _made(*CASES["strides"])
    a, b = (patch_rows(layer, part, 10, seed=1) for part in (x, 2 * x))
    assert a.shape[1] == 10
    np.testing.assert_array_equal(2 * a, b)
