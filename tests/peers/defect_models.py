"""The peers' defects of the design's section 7 as small models of quantized layers, one per line."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
from branches import Branch, conf

from hgqify import layers as q

kl = keras.layers
Built = tuple[list[keras.KerasTensor], list[keras.KerasTensor]]


def start(shape: tuple[int, ...], *format_: object) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """A model input, and its quantized value (k=1, i=2, f=5 unless told)."""
    x = keras.Input(shape)
    return x, q.Quantize(iq_conf=conf(*(format_ or (1, 2, 5))))(x)  # type: ignore[arg-type]


def per_element(layer: q.QLayer, tensor: keras.KerasTensor, seed: int) -> keras.KerasTensor:
    """Apply a quantizer whose formats differ between the elements."""
    result = layer(tensor)
    rng = np.random.default_rng(seed)
    shape = layer.iq.width_shape
    layer.iq.set_state(k=1, i=rng.integers(-1, 3, shape), f=rng.integers(0, 6, shape))
    return result


def consumed_output() -> Built:
    """D1."""
    x, a = start((6,))
    b = q.QDense(5, iq_conf=False, oq_conf=conf(1, 3, 4))(a)
    c = q.QDense(4, iq_conf=conf(1, 1, 1), oq_conf=conf(1, 4, 4))(b)
    return [x], [b, c]


def finer(overflow: str) -> Built:
    """D2, D3."""
    x, a = start((8,), 1, 3, 1)
    return [x], [q.Quantize(iq_conf=conf(1, 1, 4, overflow))(a)]


def table_behind_narrow() -> Built:
    """D4: the index could be wider than what reaches it, and is finer."""
    x, a = start((8,), 1, 1, 2)
    return [x], [q.QActivation("tanh", iq_conf=conf(1, 3, 4), oq_conf=conf(1, 0, 6))(a)]


def signed_table_behind_relu() -> Built:
    """D4."""
    x, a = start((8,), 1, 2, 4)
    b = q.QActivation("relu", iq_conf=False)(a)
    return [x], [q.QActivation("sigmoid", iq_conf=conf(1, 2, 4), oq_conf=conf(1, 1, 6))(b)]


def tensor_behind_elements() -> Built:
    """D5."""
    x = keras.Input((10,))
    a = per_element(q.Quantize(iq_conf=conf(1, 2, 3, heterogeneous_axis=(-1,))), x, 0)
    b = q.Quantize(iq_conf=conf(1, 2, 4))(a)
    return [x], [q.QDense(4, iq_conf=conf(1, 2, 3), oq_conf=conf(1, 4, 5))(b), b]


def rounded_twice() -> Built:
    """D6."""
    x, a = start((6,))
    b = q.QDense(5, iq_conf=False, oq_conf=conf(1, 3, 3))(a)
    c = q.QDense(4, iq_conf=conf(1, 3, 1), oq_conf=conf(1, 4, 4))(b)
    return [x], [c]


def rounded_twice_through_reshape() -> Built:
    """D6, with the rounded values themselves as output."""
    x, a = start((4, 3))
    b = q.QDense(2, iq_conf=False, oq_conf=conf(1, 3, 3))(a)
    return [x], [q.Quantize(iq_conf=conf(1, 2, 1, "SAT", "RND_CONV"))(kl.Reshape((2, 4))(b))]


def plain_relu() -> Built:
    """D7."""
    x, a = start((6,))
    b = kl.ReLU()(q.QDense(5, iq_conf=False)(a))
    return [x], [q.QDense(3, iq_conf=conf(1, 3, 4), oq_conf=conf(1, 4, 4))(b), kl.ReLU()(a)]


def used_twice(layer: type[q.QLayer]) -> Built:
    """D8: the two edges have formats of their own."""
    x, a = start((8,))
    own = [conf(1, 2, 4), conf(1, 1, 2, "SAT", "TRN")]
    return [x], [layer(iq_conf=own, oq_conf=conf(1, 4, 5))([a, a])]


def used_twice_unquantized() -> Built:
    """D8: no format between."""
    x, a = start((8,))
    b = q.QDense(8, iq_conf=False)(a)
    return [x], [q.QAdd(iq_conf=False)([b, b]), q.QMultiply(iq_conf=False)([a, a])]


def wrap_and_sat_behind_one_format() -> Built:
    """D9, as the remedy has it: one format for the whole input first."""
    x, a = start((8,), 1, 4, 5)
    low, high = (q.Quantize(iq_conf=conf(1, 1, 3, mode))(a) for mode in ("WRAP", "SAT"))
    return [x], [low, high, q.QSubtract(iq_conf=False)([low, high])]


def wrap_and_sat_on_the_input() -> Built:
    """D9 itself."""
    x = keras.Input((8,))
    return [x], [q.Quantize(iq_conf=conf(1, 1, 3, mode))(x) for mode in ("WRAP", "SAT")]


def sums_beyond_float32() -> Built:
    """D11: 35 bits."""
    x = keras.Input((64,))
    wide = q.QDense(
        4, iq_conf=conf(1, 2, 13), kq_conf={"q_type": "kif", "f0": 14}, bq_conf={"q_type": "kif", "f0": 14}
    )
    return [x], [wide(x)]


def quantizers_only() -> Built:
    """D13."""
    x, a = start((6,))
    return [x], [q.Quantize(iq_conf=conf(1, 1, 3, "SAT_SYM", "RND_CONV"))(a)]


def one_quantizer() -> Built:
    """D13: the smallest model there is."""
    x, a = start((6,))
    return [x], [a]


def one_tensor_two_outputs() -> Built:
    """D13."""
    x, a = start((6,))
    b = q.QDense(3, iq_conf=False, oq_conf=conf(1, 4, 4))(a)
    return [x], [b, b, a]


NAMES = ("input", "a-b", "c.d", "e f", "1st", "class", "ap_fixed", "Ünit")
# What hls4ml calls the settings of a layer, among which it keeps the layer's result by its name.
ATTRIBUTES = ("activation", "n_in", "name", "weight_data", "trace", "accum_t", "reuse_factor", "scale")


def odd_names() -> Built:
    """D13."""
    x = keras.Input((6,), name="output")
    a = q.Quantize(iq_conf=conf(1, 2, 5), name="model")(x)
    for name in NAMES:
        a = q.QDense(6, iq_conf=conf(1, 2, 5), oq_conf=conf(1, 3, 6), name=name)(a)
    return [x], [a]


def names_of_settings() -> Built:
    """D13: names no peer has trouble with, but a layer of hls4ml may."""
    x, a = start((6,))
    for name in ATTRIBUTES:
        a = q.QDense(6, iq_conf=conf(1, 2, 5), oq_conf=conf(1, 3, 6), name=name)(a)
    table = q.QActivation("tanh", iq_conf=conf(1, 2, 4), oq_conf=conf(1, 0, 6), name="table_data")
    return [x], [table(a)]


EXACT: dict[str, Branch] = {
    "D1 output that is also consumed": consumed_output,
    "D2 SAT finer than its producer": partial(finer, "SAT"),
    "D3 SAT_SYM finer than its producer": partial(finer, "SAT_SYM"),
    "D4 table behind a narrower tensor": table_behind_narrow,
    "D4 signed table behind relu": signed_table_behind_relu,
    "D5 one format behind per-element data": tensor_behind_elements,
    "D6 rounded twice": rounded_twice,
    "D6 rounded twice, reshape between": rounded_twice_through_reshape,
    "D7 keras.layers.ReLU": plain_relu,
    "D8 one tensor twice: add": partial(used_twice, q.QAdd),
    "D8 one tensor twice: subtract": partial(used_twice, q.QSubtract),
    "D8 one tensor twice: multiply": partial(used_twice, q.QMultiply),
    "D8 one tensor twice, unquantized": used_twice_unquantized,
    "D9 WRAP and SAT behind one format": wrap_and_sat_behind_one_format,
    "D11 sums beyond 24 bits": sums_beyond_float32,
    "D13 quantizers only": quantizers_only,
    "D13 one quantizer": one_quantizer,
    "D13 one tensor as two outputs": one_tensor_two_outputs,
    "D13 names": odd_names,
    "D13 names of settings": names_of_settings,
}
"""By line: exact in both interfaces, but for `PARALLEL_ONLY`; equal to Keras, but for `BEYOND_FLOAT32`."""

PARALLEL_ONLY = {"D5 one format behind per-element data": "needs one format for the whole tensor"}
BEYOND_FLOAT32 = "D11 sums beyond 24 bits"
REFUSED: dict[str, Branch] = {"D9 WRAP and SAT on one input": wrap_and_sat_on_the_input}
