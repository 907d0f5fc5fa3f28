"""HGQ2's multi-head attention, and its Linformer, from our small layers.

    q = query Wq,  k = key Wk,  v = value Wv;   o = softmax(scale k q) v;   result = o Wo

A Linformer mixes the positions of key and value first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Ref
from hgqify.hgq2 import formats, linear, peer
from hgqify.hgq2.formats import Setting
from hgqify.hgq2.placed import Apply, Placed, Source
from hgqify.hgq2.softmax import masked_softmax
from hgqify.quantizers import MAX_BITS, Place


def attention(source: Source) -> Apply:
    """`QMultiHeadAttention` and `QLinformerAttention`; masks as far as they are causal.

    Raises:
        UnsupportedLayerError: a mask that is given as a tensor, or scores as a second output.
    """
    layer = source.layer
    roles, causal = _call(source)
    inner = {"query": layer.query_dense, "key": layer.key_dense, "value": layer.value_dense}
    parts = {name: linear.einsum_dense(source.of(part, name)) for name, part in inner.items()}
    # HGQ2 cannot build a quantizer of the whole layer's output.
    output = linear.einsum_dense(dataclasses.replace(source, layer=layer.output_dense))
    mixing = _position_mixing(source)
    products, combined = peer.attention_equations(layer)
    scores = Placed(q.QEinsum(products, iq_conf=False, name=f"{source.name}_scores"))
    mix = Placed(q.QEinsum(combined, iq_conf=False, name=f"{source.name}_mixed"))
    mask, identity = None, None
    if causal:
        mask = np.tril(np.ones((source.shapes[roles[0]][0], source.shapes[roles[1]][0]), bool))
        identity = _wide_enough(layer, source.path)
    weights = masked_softmax(source.of(peer.softmax_of(layer), "softmax"), mask, identity)

    def apply(tensors: list[Any]) -> Any:
        query, value, key = (tensors[index] for index in roles)
        if mixing is not None:
            key, value = mixing[0]([key]), mixing[1]([value])
        heads = [parts[name]([x]) for name, x in (("key", key), ("query", query))]
        return output([mix([weights([scores(heads)]), parts["value"]([value])])])

    return apply


def _position_mixing(source: Source) -> tuple[Placed, Placed] | None:
    """A Linformer's projections of keys' and values' positions, which may be one layer."""
    of_keys, of_values = peer.position_projections(source.layer)
    if of_keys is None:
        return None
    keys = linear.einsum_dense(source.of(of_keys, "key_positions"))
    if of_values is of_keys:
        return keys, keys
    return keys, linear.einsum_dense(source.of(of_values, "value_positions"))


def _call(source: Source) -> tuple[tuple[int, int, int], bool]:
    """Which inputs are query, value and key, and whether the mask is causal."""
    call = source.node.call
    args: tuple[Any, ...] = (Ref(0),) if call is None else call.args
    kwargs: Mapping[str, Any] = {} if call is None else call.kwargs
    given = dict(zip(("query", "value", "key"), args, strict=False)) | dict(kwargs)
    causal = bool(given.pop("use_causal_mask", False))
    query = given.pop("query")
    value = given.pop("value", None) or query
    key = given.pop("key", None) or value
    left = sorted(name for name, argument in given.items() if argument is not None)
    if left or len(args) > 3 or source.node.outputs != 1:
        raise UnsupportedLayerError(
            "attention is imported without masks other than the causal one, and with one output",
            where=source.path,
            received=", ".join(left) or "further arguments",
            remedy="call it as layer(query, value, key), with use_causal_mask=True at most",
        )
    return (query.index, value.index, key.index), causal


def _wide_enough(layer: Any, path: str) -> Setting:
    """A quantizer of the scores that changes none of them.

    Raises:
        UnsupportedLayerError: they may have more than 24 bits.
    """
    found = [formats.widths_of(part.oq, path) for part in (layer.query_dense, layer.key_dense)]
    count = int(layer.query_dense.kernel.shape[-1])
    # The most negative code times itself needs the one bit more.
    i = sum(int(widths.i.max()) for widths in found) + (count - 1).bit_length() + 1
    f = sum(int(widths.f.max()) for widths in found)
    if i + f > MAX_BITS:
        raise UnsupportedLayerError(
            "the scores have too many bits for a masked maximum",
            where=path,
            received=f"{i + f} bits",
            remedy="quantize queries and keys to fewer bits (qkvo_oq_conf)",
        )
    return formats.fixed(Place.DATALANE, 1, i, f)
