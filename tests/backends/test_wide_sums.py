"""Sums so long that a backend takes its fastest path, at the edge of what float32 holds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from autodiff import BACKEND, numpy

from hgqify import layers as q
from hgqify.layers.full_float32 import full_float32
from hgqify.precision import certify, lower
from hgqify.quantizers import QuantizerConfig
from hgqify.reference import run

# Weights of 12 bits: neither bfloat16 (8) nor TF32 (11) could hold them.
WEIGHTS = QuantizerConfig("kbi", "weight", k0=1, i0=12, b0=12, overflow_mode="SAT_SYM", homogeneous_axis=())


def codes(bits: int) -> QuantizerConfig:
    return QuantizerConfig(
        "kif", "datalane", k0=1, i0=bits - 1, f0=0, overflow_mode="SAT_SYM", heterogeneous_axis=()
    )


def one_layer(layer: q.QLayer, shape: tuple[int, ...], seed: int) -> keras.Model:
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(seed)
    layer.kernel.assign(rng.integers(-4095, 4096, layer.kernel.shape).astype(np.float32))
    return model


LAYERS = {
    # 1024 products of at most 7 * 4095: below 2**24 for the weights drawn, and above 2**23.
    "dense": (lambda: q.QDense(64, iq_conf=codes(4), kq_conf=WEIGHTS, use_bias=False), (1024,)),
    "conv3x3": (
        lambda: q.QConv2D(16, 3, padding="same", iq_conf=codes(6), kq_conf=WEIGHTS, use_bias=False),
        (16, 16, 24),
    ),
    "conv5x5-strided": (
        lambda: q.QConv2D(8, 5, strides=2, iq_conf=codes(5), kq_conf=WEIGHTS, use_bias=False),
        (15, 15, 16),
    ),
    "depthwise": (
        lambda: q.QDepthwiseConv2D(7, iq_conf=codes(8), kq_conf=WEIGHTS, use_bias=False),
        (16, 16, 8),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [1, 40])
def test_every_code_is_exact_to_the_last_bit_of_float32(name: str, batch: int) -> None:
    make, shape = LAYERS[name]
    model = one_layer(make(), shape, seed=batch)
    program = lower(model)
    assert certify(program).proved
    assert max(entry.bits for entry in certify(program).entries) >= 23
    rng = np.random.default_rng(batch)
    x = rng.integers(-255, 256, (batch, *shape)).astype(np.float32)
    expected = run(program, x).values[0]
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    np.testing.assert_array_equal(numpy(model(keras.ops.convert_to_tensor(x), training=False)), expected)


def test_settings_for_speed_do_not_reach_the_layers() -> None:
    """What a user sets to be fast elsewhere is set aside within, and put back where that can be."""
    make, shape = LAYERS["conv3x3"]
    model = one_layer(make(), shape, seed=3)
    x = np.random.default_rng(3).integers(-31, 32, (8, *shape)).astype(np.float32)
    expected = run(lower(model), x).values[0]
    if BACKEND == "torch":
        import torch

        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            with full_float32():
                inside = [
                    setting.fp32_precision
                    for setting in (
                        torch.backends.cuda.matmul,
                        torch.backends.cudnn.conv,
                        torch.backends.mkldnn.matmul,
                        torch.backends.mkldnn.conv,
                    )
                ]
            found = numpy(model(keras.ops.convert_to_tensor(x)))
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision(before)
        assert inside == ["ieee"] * 4
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(True)
        found = numpy(model(keras.ops.convert_to_tensor(x)))
        assert not tf.config.experimental.tensor_float_32_execution_enabled()
    else:
        import jax

        with jax.default_matmul_precision("bfloat16"):
            found = numpy(model(keras.ops.convert_to_tensor(x)))
            traced = str(jax.make_jaxpr(lambda x: model(x))(x))
        assert "precision=Precision.HIGHEST" in traced or "HIGHEST" in traced
    np.testing.assert_array_equal(found, expected)
