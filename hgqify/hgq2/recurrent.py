"""HGQ2's recurrent layers, unrolled: every step is made of the same small layers.

    simple   h' = act(paq(W iq(x) + b + U sq(h)))
    GRU      z, r = praq(act_r(Wz,r iq(x) + b + Uz,r s)),   c = paq(act(Wh iq(x) + b + m)),   s = sq(h)
             h' = c + z * (s - c),   m = r * rhq(Uh s + b')  or, with reset_after=False,  Uh rhq(r * s)

HGQ2 writes h' as ``z * s + (1 - z) * c``; both are exact, and equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.hgq2 import formats, peer
from hgqify.hgq2.elementwise import lone_quantizer, quantized
from hgqify.hgq2.formats import Setting
from hgqify.hgq2.placed import Apply, Placed, Source, given, require_equal, wanted
from hgqify.layers.activations import get_activation, require_exact
from hgqify.layers.recurrent import joined, steps_of
from hgqify.quantizers import Place

Step = Callable[[Any, Any], Any]
"""From the projected input of a step and the state before it (None for zeros) to the state."""


def simple_rnn(source: Source) -> Apply:
    """`QSimpleRNN`.

    Raises:
        UnsupportedLayerError: an activation that needs a table, which would have no quantizer behind it.
    """
    cell, name = source.layer.cell, source.name
    bq = cell.bq if cell.use_bias else None
    inputs = _Projection(source, "kernel", cell.kernel, cell.kq, cell.iq, cell.bias, bq)
    sq = cell.sq if cell.enable_sq else None
    state = _Projection(source, "recurrent", cell.recurrent_kernel, cell.rkq, sq)
    add = Placed(q.QAdd(iq_conf=False, name=f"{name}_add"))
    act = _activated(source, cell.activation, "activation")
    before = quantized(source.data(cell.paq, "paq"), f"{name}_paq")

    def step(x: Any, h: Any) -> Any:
        return act([before([x if h is None else add([x, state([h])])])])

    return _unrolled(source, inputs, step)


def gru(source: Source) -> Apply:
    """`QGRU`, of either form.

    Raises:
        UnsupportedLayerError: as `simple_rnn`.
    """
    cell, name = source.layer.cell, source.name
    units = int(cell.units)
    iq = cell.iq if cell.enable_iq else None
    bias = None if not cell.use_bias else peer.numpy(cell.bias)
    rows = [None, None] if bias is None else [bias[0], bias[1]] if cell.reset_after else [bias, None]
    bq = cell.bq if cell.use_bias else None
    whole = np.s_[:, :]
    row = 0 if cell.reset_after else None
    inputs = _Projection(source, "kernel", cell.kernel, cell.kq, iq, rows[0], bq, row=row)
    gates = whole if cell.reset_after else np.s_[:, : 2 * units]
    recurrent = _Projection(
        source, "recurrent", cell.recurrent_kernel, cell.rkq, None, rows[1], bq, columns=gates, row=1
    )
    saved = quantized(source.data(cell.sq, "sq"), f"{name}_sq")
    held = quantized(source.data(cell.rhq, "rhq"), f"{name}_rhq")
    act_zr = _activated(source, cell.recurrent_activation, "gates")
    act_c = _activated(source, cell.activation, "c")
    gate = lone_quantizer(cell.praq, f"{source.path} (praq)", f"{name}_praq")
    candidate = quantized(source.data(cell.paq, "paq"), f"{name}_paq")
    sums = ("add_zr", "add_c", "state")
    add_zr, add_c, mix = (Placed(q.QAdd(iq_conf=False, name=f"{name}_{n}")) for n in sums)
    away = Placed(q.QSubtract(iq_conf=False, name=f"{name}_away"))
    kept, reset = (Placed(q.QMultiply(iq_conf=False, name=f"{name}_{n}")) for n in ("kept", "reset"))
    late = None
    if not cell.reset_after:
        late = _Projection(
            source, "candidate", cell.recurrent_kernel, cell.rkq, None, columns=np.s_[:, 2 * units :]
        )
    zero = Placed(q.QMask(mask=np.zeros(units, bool), name=f"{name}_zero"))
    parts = _Split(name, units)

    def step(x: Any, h: Any) -> Any:
        s = zero([parts(x, "x", 2)]) if h is None else saved([h])
        inner = recurrent([s])
        inner_zr = parts.pair(inner, "h") if late is None else inner
        zr = gate([act_zr([add_zr([parts.pair(x, "x"), inner_zr])])])
        z, r = parts(zr, "zr", 0), parts(zr, "zr", 1)
        memory = reset([r, held([parts(inner, "h", 2)])]) if late is None else late([held([reset([r, s])])])
        c = candidate([act_c([add_c([parts(x, "x", 2), memory])])])
        return mix([c, kept([z, away([s, c])])])

    return _unrolled(source, inputs, step)


def _unrolled(source: Source, inputs: Apply, step: Step) -> Apply:
    layer, name = source.layer, source.name
    if layer.stateful or layer.cell.enable_oq:
        raise UnsupportedLayerError(
            "a state from batch to batch, or an output quantizer in a cell, is not imported",
            where=source.path,
            received=f"stateful={layer.stateful}, enable_oq={layer.cell.enable_oq}",
            remedy="switch them off",
        )

    def apply(tensors: list[Any]) -> Any:
        states: list[Any] = []
        for x in steps_of(inputs(tensors), layer.go_backwards, name):
            states.append(step(x, states[-1] if states else None))
        return joined(states, layer.return_sequences, name)

    return apply


def _activated(source: Source, function: Any, part: str) -> Placed:
    found = require_exact(get_activation(function, where=source.path), source.path)
    return Placed(q.QActivation(found, iq_conf=False, name=f"{source.name}_{part}"))


class _Split:
    """Gates of a tensor (batch, gates * units), by layers that only move values, shared by all steps."""

    def __init__(self, name: str, units: int) -> None:
        self._name, self._units = name, units
        self._layers: dict[tuple[str, int, int], tuple[Any, ...]] = {}

    def __call__(self, x: Any, of: str, index: int) -> Any:
        """One gate."""
        return self._cut(x, of, index, index + 1)

    def pair(self, x: Any, of: str) -> Any:
        """The first two."""
        return self._cut(x, of, 0, 2)

    def _cut(self, x: Any, of: str, first: int, end: int) -> Any:
        size, units = int(x.shape[-1]), self._units
        key = (of, first, end)
        if key not in self._layers:
            label = f"{self._name}_{of}_{first}_{end}"
            self._layers[key] = (
                keras.layers.Reshape((size, 1), name=f"{label}_rows"),
                keras.layers.Cropping1D((first * units, size - end * units), name=f"{label}_cut"),
                keras.layers.Reshape(((end - first) * units,), name=label),
            )
        for layer in self._layers[key]:
            x = layer(x)
        return x


class _Projection(Placed):
    """A kernel of a cell as a dense layer, or some of its columns.

    Args:
        source: names.
        part: the layer's.
        kernel, kq: of HGQ2, and its quantizer.
        iq: HGQ2's quantizer of the input, None for none.
        bias, bq: the bias and the quantizer it, or the table it is a row of, has; None for none.
        columns: of the kernel.
        row: of the table of biases that ``bq`` quantizes, where it is one.
    """

    def __init__(
        self,
        source: Source,
        part: str,
        kernel: Any,
        kq: Any,
        iq: Any,
        bias: Any = None,
        bq: Any = None,
        *,
        columns: Any = np.s_[:, :],
        row: int | None = None,
    ) -> None:
        path, name = source.path, f"{source.name}_{part}"
        whole = peer.numpy(kernel)
        k_setting = _cut(formats.of_constant(kq, whole, Place.WEIGHT, f"{path} (kq)"), whole.shape, columns)
        expected = {"kernel": peer.numpy(kq(kernel))[columns]}
        b_setting = None
        if bias is not None:
            all_biases = peer.numpy(source.layer.cell.bias)
            index = np.s_[:] if row is None else np.s_[row]
            of_all = formats.of_constant(bq, all_biases, Place.BIAS, f"{path} (bq)")
            b_setting = _cut(of_all, all_biases.shape, index)
            expected["bias"] = peer.numpy(bq(source.layer.cell.bias))[index]
        data = None if iq is None else source.data(iq, "iq")
        if data is not None and part == "kernel":
            data = _of_sequence(data)

        def settle(ours: Any) -> None:
            ours.kernel.assign(whole[columns])
            k_setting.assign(ours.kq)
            if b_setting is not None:
                ours.bias.assign(peer.numpy(bias))
                b_setting.assign(ours.bq)
            for key, quantizer, weight in (("kernel", ours.kq, ours.kernel), ("bias", ours.bq, ours.bias)):
                if quantizer is not None and not quantizer.is_dummy:
                    f = quantizer.state(weight).f
                    require_equal(ours.quantized_weights()[key], expected[key], f, path, key)

        made = q.QDense(
            expected["kernel"].shape[1],
            use_bias=b_setting is not None,
            iq_conf=given(data),
            kq_conf=k_setting.config,
            bq_conf=wanted(b_setting),
            name=name,
        )
        super().__init__(made, inputs=[data], settle=settle)


def _of_sequence(setting: Setting) -> Setting:
    """The setting of one step's quantizer for all steps at once."""
    own = any(value.shape[-1] > 1 for value in setting.widths.values())
    widths = {name: value[:, None] for name, value in setting.widths.items()}
    config = setting.config.replace(heterogeneous_axis=(2,) if own else ())
    return dataclasses.replace(setting, config=config, widths=widths)


def _cut(setting: Setting, shape: tuple[int, ...], index: Any) -> Setting:
    """The setting of a part of a constant, with a width for every element."""
    widths = {name: np.broadcast_to(value, shape)[index] for name, value in setting.widths.items()}
    return dataclasses.replace(setting, config=setting.config.replace(homogeneous_axis=()), widths=widths)
