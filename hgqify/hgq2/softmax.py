"""HGQ2's softmax from our small layers, with its tables.

    stable      d = max(x) - x,  e = exp(-scale d)
    else                         e = exp(scale x)
    p = e * inverse(sum(e)),     inverse(s) = 1 / (s + epsilon),  epsilon that of Keras

Every quantizer is HGQ2's: one before and one behind either table.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Ref
from hgqify.hgq2 import tables
from hgqify.hgq2.formats import Setting
from hgqify.hgq2.placed import Apply, Placed, Source, chain, given, wanted
from hgqify.layers.activations import get_activation


def softmax(source: Source) -> Apply:
    """`QSoftmax`, called without a mask or with a constant one.

    Raises:
        UnsupportedLayerError, PrecisionError: as `masked_softmax`; or a mask that is a tensor.
    """
    call = source.node.call
    given = {} if call is None else dict(call.kwargs)
    mask = given.pop("mask", None)
    if given or (call is not None and len(call.args) > 1) or isinstance(mask, Ref):
        raise UnsupportedLayerError(
            "a softmax is imported with a constant mask at most",
            where=source.path,
            received="a mask that depends on data" if isinstance(mask, Ref) else "further arguments",
            remedy="call it as layer(x), or with the same mask for every sample",
        )
    return masked_softmax(source, None if mask is None else _of_sample(mask, source), None)


def _of_sample(mask: Any, source: Source) -> np.ndarray:
    """A constant mask without the batch axis."""
    values = np.asarray(keras.ops.convert_to_numpy(mask), bool)
    rank = len(source.shapes[0])
    if values.ndim > rank and values.shape[0] != 1:
        raise UnsupportedLayerError(
            "the mask differs from sample to sample",
            where=source.path,
            received=values.shape,
            remedy="give one with 1 along the batch axis",
        )
    return values[0] if values.ndim > rank else values


def masked_softmax(source: Source, mask: np.ndarray | None, scores: Setting | None) -> Apply:
    """The same, seeing only a part of each row.

    Args:
        source: the `QSoftmax`.
        mask: constant booleans that broadcast to the input without its batch; None for none.
        scores: a quantizer that changes nothing, which a mask needs where the layer has none.

    Raises:
        UnsupportedLayerError: not stable, without a quantizer before the exponential; masked, without one at
            all.
        PrecisionError: a table that is too large.
    """
    layer, name = source.layer, source.name
    axes = [int(axis) for axis in layer.axes]
    iq, oq = source.input(), source.output()
    steps: list[Apply] = []
    exp_iq = layer.exp_table.iq if layer.stable else layer.iq if layer.enable_iq else None
    if exp_iq is None:
        raise UnsupportedLayerError(
            "the exponential has no quantizer before it",
            where=source.path,
            received="stable=False, enable_iq=False",
            remedy="set enable_iq=True or stable=True",
        )
    if layer.stable:
        before = iq if iq is not None or mask is None else scores
        if mask is not None and before is None:
            raise UnsupportedLayerError(
                "a masked maximum needs a quantizer before it",
                where=source.path,
                received="enable_iq=False",
                remedy="set enable_iq=True",
            )
        below = q.QBelowMaximum(axis=axes, mask=mask, iq_conf=given(before), name=f"{name}_below")
        steps.append(Placed(below, inputs=[before]))
    sign = -1.0 if layer.stable else 1.0
    exponential = get_activation(q.scaled_exp, {"scale": sign * float(layer.input_scaler)})
    steps.append(tables.table(exponential, exp_iq, layer.exp_table, source.of(layer.exp_table, "exp")))
    if mask is not None:
        steps.append(Placed(q.QMask(mask=mask, name=f"{name}_masked")))
    inverse = get_activation(q.shifted_reciprocal, {"epsilon": keras.config.epsilon()})
    total = Placed(q.QSum(axis=axes, iq_conf=False, name=f"{name}_sum"))
    part = source.of(layer.inv_table, "inverse")
    reciprocal = tables.table(inverse, layer.inv_table.iq, layer.inv_table, part)
    product = Placed(q.QMultiply(iq_conf=False, oq_conf=wanted(oq), name=name), output=oq)
    exponentials = chain(*steps)

    def apply(tensors: list[Any]) -> Any:
        e = exponentials(tensors)
        return product([e, reciprocal([total([e])])])

    return apply
