"""HGQ2's dense layers of learned tables.

Their tables are what HGQ2 computes: networks and formats carry over, and the entries are stored as HGQ2's own
float32 gives them, since the last bit of a sum in another order may round to another code. A batch
normalization behind the networks goes into their last layers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from hgqify import layers as q
from hgqify.errors import PrecisionError, UnsupportedLayerError
from hgqify.hgq2 import formats, peer
from hgqify.hgq2.formats import Setting
from hgqify.hgq2.placed import Placed, Source, require_equal, tensor, wanted
from hgqify.layers.activations import get_activation, require_exact

MAX_TABLE_BITS = 12
"""Widest input of an edge."""


def dense(source: Source) -> Placed:
    """`QDenseT`.

    Raises:
        UnsupportedLayerError: no quantizer on the edges, or formats that differ between positions.
        PrecisionError: an input too wide for a table.
    """
    layer, path = source.layer, source.path
    if not layer.enable_iq:
        raise UnsupportedLayerError(
            "a layer of tables without input quantizer is none", where=path, received="enable_iq=False"
        )
    n_in, n_out = source.shapes[0][-1], layer.n_out
    iq = _per_edge(source.data(layer.iq, "iq"), path)
    toq = _per_edge(formats.of_table(layer.toq, f"{path} (toq)"), path)
    oq = source.output()
    kernels, biases = _networks(layer, (n_in, n_out))

    def settle(ours: Any) -> None:
        toq.assign(ours.toq)
        for mine, theirs in ((ours.network.kernels, kernels), (ours.network.biases, biases)):
            for weight, value in zip(mine, theirs, strict=True):
                weight.assign(value.reshape(weight.shape))
        ours.refresh()
        _store(ours, layer, len(source.shapes[0]), path)

    made = q.QDenseT(
        n_out,
        layer.n_hl,
        layer.d_hl,
        activation=require_exact(get_activation(layer.activation, where=path), path),
        subnn_activation=get_activation(layer.subnn_activation, where=path),
        iq_conf=iq.config,
        toq_conf=toq.config,
        oq_conf=wanted(oq),
        use_bias=bool(biases),
        max_table_bits=_address_bits(layer, path),
        name=source.name,
        **source.counting(),
    )
    return Placed(made, inputs=[iq], output=oq, settle=settle)


def _address_bits(layer: Any, path: str) -> int:
    """Width of the widest edge's input, with a sign if it has or may get one."""
    found = formats.widths_of(layer.iq, f"{path} (iq)")
    sign = bool(found.k.any()) or not found.overflow.saturates
    bits = int(np.max(np.where(found.is_live, found.i + found.f, 0), initial=0)) + int(sign)
    if bits > MAX_TABLE_BITS:
        raise PrecisionError(
            f"the table of an edge takes an input of at most {MAX_TABLE_BITS} bits",
            where=path,
            received=f"{bits} bits",
            remedy="quantize its input to fewer bits",
        )
    return max(bits, 2)


def _per_edge(setting: Setting, path: str) -> Setting:
    """The setting over (batch, n_in, n_out): HGQ2's has the positions between.

    Raises:
        UnsupportedLayerError: widths of their own at each position.
    """
    if any(np.size(value) > 1 and any(n > 1 for n in value.shape[:-2]) for value in setting.widths.values()):
        raise UnsupportedLayerError(
            "QDenseT with formats of its own at each position, where all share one set of tables",
            where=path,
            received=f"formats of shape {next(iter(setting.widths.values())).shape}",
            remedy="share them along the positions with homogeneous_axis",
        )
    widths = {
        name: value.reshape(1, *value.shape[-2:]) if np.size(value) > 1 else value
        for name, value in setting.widths.items()
    }
    own = tuple(axis for axis in (1, 2) if any(v.ndim == 3 and v.shape[axis] > 1 for v in widths.values()))
    return dataclasses.replace(setting, config=setting.config.replace(heterogeneous_axis=own), widths=widths)


def _networks(layer: Any, edges: tuple[int, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Kernels and biases, layer by layer, with the normalization in the last ones."""
    kernels, biases = [], []
    for dense_layer in layer.module.layers:
        kernel, *bias = (np.asarray(w, np.float32) for w in dense_layer.get_weights())
        kernels.append(kernel)
        biases += bias
    if layer.enable_bn:
        norm = layer.bn_module
        scale: Any = 1.0 / np.sqrt(peer.numpy(norm.moving_variance) + norm.epsilon)
        scale = scale * (peer.numpy(norm.gamma) if norm.scale else 1.0) / math.sqrt(edges[0])
        shift = (peer.numpy(norm.beta) if norm.center else 0.0) / math.sqrt(edges[0])
        shift = np.broadcast_to(shift - peer.numpy(norm.moving_mean) * scale, edges)
        if not biases:
            biases = [np.zeros((*edges, units), np.float32) for units in (*(layer.d_hl,) * layer.n_hl, 1)]
        kernels[-1] = kernels[-1] * scale[:, None]
        biases[-1] = biases[-1].reshape(edges) * scale + shift
    return kernels, biases


def _store(ours: Any, layer: Any, rank: int, path: str) -> None:
    """HGQ2's own entries for every code of every edge.

    Raises:
        BitExactnessError: one differs from ours by more than one code.
    """
    state = ours.edge_state()
    bits = np.maximum(state.i + state.f, 0)
    first, last = -(state.k << bits), (1 << bits) - 1
    size = 2**ours.max_table_bits
    codes = np.minimum(np.arange(size).reshape(-1, 1, 1) + first, last)
    x = np.ldexp(codes.astype(np.float64), state.i - bits).astype(np.float32)
    shape = (size, *(1,) * (rank - 1), *ours.edges)
    y = layer.module(tensor(x.reshape((*shape, 1))), training=False)
    if layer.enable_bn:
        y = layer.bn_module(y, training=False) / math.sqrt(ours.edges[0])
    theirs = peer.numpy(layer.toq(y)).reshape(size, *ours.edges)
    f = ours.toq.state().f
    mine = np.moveaxis(ours.tables(), -1, 0)
    near = np.abs(mine - theirs) <= np.ldexp(1.0, -f)
    require_equal(np.where(near, theirs, mine), theirs, f, path, "tables")
    ours.stored.store(theirs, ours.stored.source)
