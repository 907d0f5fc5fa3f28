"""Multi-head attention as quantized projections, products and a softmax.

    q = x Wq,  k = y Wk,  v = y Wv;   o = softmax(q k^T) v;   result = o Wo

Each part stands in the model by itself, so it is trained, counted and exported as anywhere else. The scale
1 / sqrt(key_dim) of the textbook is in Wq from the start (its initial values are that much smaller): a
multiplication less. Products of two tensors are exported with io_parallel.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hgqify.errors import RuleError
from hgqify.layers.base import Conf
from hgqify.layers.einsum import QEinsum
from hgqify.layers.einsum_dense import QEinsumDense
from hgqify.layers.softmax import softmax


def multi_head_attention(
    query: Any,
    value: Any = None,
    key: Any = None,
    *,
    num_heads: int,
    key_dim: int,
    value_dim: int | None = None,
    output_dim: int | None = None,
    use_bias: bool = True,
    causal: bool = False,
    mask: Any = None,
    projected: int | None = None,
    name: str = "attention",
    iq_conf: Conf = None,
    kq_conf: Conf = None,
    bq_conf: Conf = None,
    oq_conf: Conf = None,
) -> Any:
    """Attention of ``query`` (batch, steps, channels) to ``value`` (batch, positions, channels).

    Args:
        query: (symbolic) tensor.
        value: tensor attended to; None for the query itself.
        key: tensor that keys are made of; None for ``value``.
        num_heads, key_dim, value_dim: heads, and channels of each head's keys and values (None: key_dim).
        output_dim: channels of the result; None for the query's.
        use_bias: of the four projections.
        causal: a step sees positions up to its own only.
        mask: constant booleans (steps, positions); False is not seen. A row without any gives 0.
        projected: Linformer (arXiv 2006.04768): keys and values are projected to so many positions, by a
            kernel each; None for none.
        name: of the last layer, and the beginning of the others' names.
        iq_conf: quantizer of every layer's inputs; None for the scope's default.
        kq_conf, bq_conf: of the projections' kernels and biases.
        oq_conf: of the result; None for none.

    Returns:
        (batch, steps, output_dim).

    Raises:
        RuleError: not tensors of three axes of known size, or a mask together with ``projected``.
    """
    value = query if value is None else value
    key = value if key is None else key
    for tensor in (query, value, key):
        if len(tensor.shape) != 3 or None in tensor.shape[1:]:
            raise RuleError(
                "attention takes (batch, steps, channels) of known size", where=name, received=tensor.shape
            )
    if projected is not None and (causal or mask is not None):
        raise RuleError(
            "projected positions are mixtures of all, so none can be masked",
            where=name,
            received="projected and a mask",
            remedy="leave one of them out",
        )
    linear: dict[str, Any] = {"iq_conf": iq_conf, "kq_conf": kq_conf, "bq_conf": bq_conf}

    def heads(x: Any, size: int, part: str, scale: float = 1.0) -> Any:
        return QEinsumDense(
            "btc,chd->bthd",
            (x.shape[1], num_heads, size),
            bias_axes="hd" if use_bias else None,
            # Glorot's, times sqrt(scale).
            kernel_initializer=keras.initializers.VarianceScaling(scale, "fan_avg", "uniform"),
            name=f"{name}_{part}",
            **linear,
        )(x)

    value_dim = key_dim if value_dim is None else value_dim
    q = heads(query, key_dim, "query", 1.0 / key_dim)
    k, v = heads(key, key_dim, "key"), heads(value, value_dim, "value")
    if projected is not None:
        k, v = (
            QEinsumDense(
                "bshd,sp->bphd",
                (projected, num_heads, x.shape[-1]),
                name=f"{name}_{part}_projected",
                **linear,
            )(x)
            for x, part in ((k, "key"), (v, "value"))
        )
    scores = QEinsum("bthd,bshd->bhts", iq_conf=iq_conf, name=f"{name}_scores")([q, k])
    seen = _seen(query.shape[1], value.shape[1], causal=causal, mask=mask)
    p = softmax(scores, mask=seen, iq_conf=iq_conf, name=f"{name}_softmax")
    o = QEinsum("bhts,bshd->bthd", iq_conf=iq_conf, name=f"{name}_mixed")([p, v])
    output_dim = query.shape[-1] if output_dim is None else output_dim
    return QEinsumDense(
        "bthd,hdo->bto",
        (query.shape[1], output_dim),
        bias_axes="o" if use_bias else None,
        oq_conf=oq_conf,
        name=name,
        **linear,
    )(o)


def _seen(steps: int, positions: int, *, causal: bool, mask: Any) -> np.ndarray | None:
    """Which positions each step sees, None where that is all."""
    if not causal and mask is None:
        return None
    seen = np.ones((steps, positions), bool) if mask is None else np.asarray(mask, bool)
    return np.tril(seen) if causal else seen


def linformer_attention(
    query: Any, value: Any = None, key: Any = None, *, projected: int, **kwargs: Any
) -> Any:
    """`multi_head_attention` to ``projected`` mixtures of the positions (Linformer, arXiv 2006.04768).

    Cost grows with steps times ``projected`` instead of steps times positions.

    Args:
        query, value, key, **kwargs: as for `multi_head_attention`.
        projected: how many.
    """
    return multi_head_attention(query, value, key, projected=projected, **kwargs)
