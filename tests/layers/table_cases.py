"""Cases of the layers of learned tables, with the networks of their edges written out in NumPy."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import numpy as np
from autodiff import numpy
from contract import Case, quantized
from linear_cases import OUT, PER_CHANNEL, relu, same

from hgqify import layers as L

FUNCTIONS = {"tanh": np.tanh, "relu": relu, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def network(layer, x):
    """The edges' networks in float64, edge by edge: (batch, n_in, n_out) to the same."""
    act = FUNCTIONS[layer.subnn_activation.name]
    kernels = [numpy(w).astype(np.float64) for w in layer.network.kernels]
    biases = [numpy(w).astype(np.float64) for w in layer.network.biases]
    y = np.empty(x.shape)
    for j, o in np.ndindex(*x.shape[1:]):
        h = x[:, j, o, None]
        for n, kernel in enumerate(kernels):
            h = h @ kernel[j, o]
            if biases:
                h = h + biases[n][j, o]
            if n < len(kernels) - 1:
                h = act(h)
        y[:, j, o] = h[:, 0]
    return y


def edges(n_out):
    """Every input once for each output."""
    return lambda x: np.repeat(x[..., None], n_out, axis=-1)


def tables(act=same):
    """Networks, each edge's entries rounded, and their sum."""

    def oracle(layer, x):
        flat = x.reshape(-1, *x.shape[-2:])
        y = quantized(layer.toq, network(layer, flat), layer.tables().transpose(2, 0, 1))
        return act(y.reshape(x.shape).sum(axis=-2))

    return oracle


def luts(layer, bits):
    """HGQ2's count of six-input tables, in rationals."""
    values = layer.tables().astype(np.float64)
    state = layer.toq.state(np.moveaxis(values, -1, 0))
    shape = (1, *values.shape[:2])
    k_out, i_out, f_out = (np.broadcast_to(part, shape)[0] for part in (state.k, state.i, state.f))
    k_in = np.broadcast_to(layer.iq.state().k, bits.shape)
    total = Fraction(0)
    for place in np.ndindex(*bits.shape):
        edge = place[-2:]
        a = int(bits[place] + (k_in[place] if bits[place] else 0))
        if layer.toq.derives_range:
            entries = values[edge]
            largest = int(np.abs(entries).max() * 2.0 ** f_out[edge])
            w, signed = largest.bit_length(), bool(entries.min() < 0)
        else:
            w, signed = max(0, int(i_out[edge] + f_out[edge])), bool(k_out[edge])
        w += signed if w else 0
        total += w * (Fraction(2) ** (a - 6) if a >= 5 else Fraction(a, 10)) + w
    return ceil(total)


TABLES = [
    Case(
        name="denset",
        make=lambda: L.QDenseT(3, n_hl=2, d_hl=4),
        shapes=[(4,)],
        oracle=tables(),
        ebops=luts,
        meets=edges(3),
    ),
    Case(
        name="denset-positions-kif-relu",
        trains=False,
        make=lambda: L.QDenseT(
            2,
            activation="relu",
            subnn_activation="sigmoid",
            iq_conf={"overflow_mode": "SAT", "q_type": "kbi"},
            toq_conf={"q_type": "kif", "round_mode": "RND_CONV"},
            oq_conf=OUT,
        ),
        shapes=[(2, 3, 4)],
        oracle=tables(relu),
        ebops=luts,
        meets=edges(2),
    ),
    Case(
        name="denset-straight-shared",
        trains=False,
        make=lambda: L.QDenseT(
            3, n_hl=0, use_bias=False, iq_conf=PER_CHANNEL, toq_conf={"heterogeneous_axis": ()}
        ),
        shapes=[(5, 4)],
        oracle=tables(),
        ebops=luts,
        meets=edges(3),
    ),
]
