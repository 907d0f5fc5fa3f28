"""Softmax as fixed-point arithmetic: distances below the maximum, two lookup tables, one product.

    p = e * reciprocal(sum(e)),  e = exp(-(max(x) - x))

Maximum, distance and sum are exact; exp and reciprocal are tables. Distances are never negative and the
largest element gives e = 1, so no table needs a sign, and what lies so far below that e has no bit left
saturates to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hgqify.layers.base import Conf
from hgqify.layers.functions import exp_of_negative, reciprocal_from_one
from hgqify.layers.masking import QMask
from hgqify.layers.merge import QMultiply
from hgqify.layers.qactivation import QActivation
from hgqify.layers.reductions import QBelowMaximum, QSum


def softmax(
    x: Any,
    *,
    axis: int | Sequence[int] = -1,
    mask: Any = None,
    name: str = "softmax",
    iq_conf: Conf = None,
    exp_conf: Conf = None,
    reciprocal_conf: Conf = None,
    oq_conf: Conf = None,
) -> Any:
    """Quantized softmax of a tensor: applies the layers it consists of, and gives the last one's output.

    The layers are `QBelowMaximum`, `QActivation` (exp), `QMask` where there is a mask, `QSum`,
    `QActivation` (reciprocal) and `QMultiply`; each stands in the model by itself, as ``name_exp`` and the
    like, and is trained, calibrated and exported as it would be anywhere else.

    Args:
        x: (symbolic) tensor.
        axis: one or several axes, counted as Keras does.
        mask: constant booleans that broadcast to x without its batch; what is False gets probability 0.
            Rows without any element are 0, as in Keras.
        name: of the last layer, and the beginning of the others' names.
        iq_conf: quantizer of x; None for the scope's default.
        exp_conf, reciprocal_conf: of the tables' entries; None for the scope's default at place 'table'.
        oq_conf: of the output; None for none.
    """
    below = QBelowMaximum(axis=axis, mask=mask, iq_conf=iq_conf, name=f"{name}_below")(x)
    e = QActivation(exp_of_negative, oq_conf=exp_conf, name=f"{name}_exp")(below)
    if mask is not None:
        e = QMask(mask=mask, name=f"{name}_masked")(e)
    total = QSum(axis=axis, name=f"{name}_sum")(e)
    r = QActivation(reciprocal_from_one, oq_conf=reciprocal_conf, name=f"{name}_reciprocal")(total)
    return QMultiply(oq_conf=oq_conf, name=name)([e, r])
