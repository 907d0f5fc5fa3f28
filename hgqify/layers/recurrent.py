"""Recurrent layers as their steps: unrolled, so that every step is a layer of the firmware.

Weights and quantizers are shared between the steps; EBOPs, as of every shared layer, count once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from hgqify.errors import RuleError
from hgqify.layers.base import Conf
from hgqify.layers.dense import QDense
from hgqify.layers.merge import QAdd, QMultiply, QSubtract
from hgqify.layers.qactivation import QActivation


def simple_rnn(
    x: Any,
    units: int,
    *,
    activation: Any = "tanh",
    use_bias: bool = True,
    return_sequences: bool = False,
    go_backwards: bool = False,
    name: str = "simple_rnn",
    iq_conf: Conf = None,
    kq_conf: Conf = None,
    bq_conf: Conf = None,
) -> Any:
    """``h_t = act(W x_t + b + U h_{t-1})`` from ``h = 0``, as `keras.layers.SimpleRNN`.

    Args:
        x: (symbolic) tensor (batch, steps, channels).
        units: of the state.
        activation: exact or a table, see `QActivation`.
        use_bias: b.
        return_sequences: all states (batch, steps, units), else the last (batch, units).
        go_backwards: from the last step to the first.
        name: the beginning of the layers' names.
        iq_conf: quantizer of x and the state; None for the scope's default.
        kq_conf, bq_conf: of the weights.

    Raises:
        RuleError: an unknown number of steps.
    """
    linear: dict[str, Any] = {"iq_conf": iq_conf, "kq_conf": kq_conf}
    inputs = QDense(units, use_bias=use_bias, bq_conf=bq_conf, name=f"{name}_kernel", **linear)(x)
    recurrent = QDense(units, use_bias=False, name=f"{name}_recurrent", **linear)
    add = QAdd(name=f"{name}_add")
    act = QActivation(activation, name=f"{name}_activation")
    states: list[Any] = []
    for part in steps_of(inputs, go_backwards, name):
        states.append(act(add([part, recurrent(states[-1])]) if states else part))
    return joined(states, return_sequences, name)


def gru(
    x: Any,
    units: int,
    *,
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    use_bias: bool = True,
    return_sequences: bool = False,
    go_backwards: bool = False,
    name: str = "gru",
    iq_conf: Conf = None,
    kq_conf: Conf = None,
    bq_conf: Conf = None,
) -> Any:
    """``h_t = c + z * (h_{t-1} - c)`` from ``h = 0``, as `keras.layers.GRU` with one bias.

        z = act_r(Wz x_t + bz + Uz h),  r = act_r(Wr x_t + br + Ur h),  c = act(Wc x_t + bc + r * (Uc h))

    Args:
        recurrent_activation: of the gates z and r.
        x, units, activation, use_bias, return_sequences, go_backwards, name, iq_conf, kq_conf, bq_conf: as
            for `simple_rnn`.

    Raises:
        RuleError: an unknown number of steps.
    """
    linear: dict[str, Any] = {"iq_conf": iq_conf, "kq_conf": kq_conf}

    def parts(gate: str) -> list[Any]:
        layer = QDense(units, use_bias=use_bias, bq_conf=bq_conf, name=f"{name}_{gate}_kernel", **linear)
        return steps_of(layer(x), go_backwards, f"{name}_{gate}")

    def with_state(gate: str, function: Any) -> Callable[[Any, Any], Any]:
        recurrent = QDense(units, use_bias=False, name=f"{name}_{gate}_recurrent", **linear)
        add, act = QAdd(name=f"{name}_{gate}_add"), QActivation(function, name=f"{name}_{gate}")

        def apply(part: Any, h: Any) -> Any:
            return act(part if h is None else add([part, recurrent(h)]))

        return apply

    update = with_state("z", recurrent_activation)
    reset = with_state("r", recurrent_activation)
    recurrent = QDense(units, use_bias=False, name=f"{name}_c_recurrent", **linear)
    forget = QMultiply(name=f"{name}_c_reset")
    add, act = QAdd(name=f"{name}_c_add"), QActivation(activation, name=f"{name}_c")
    moved, kept = QSubtract(name=f"{name}_moved"), QMultiply(name=f"{name}_kept")
    state = QAdd(name=f"{name}_state")
    states: list[Any] = []
    for z_part, r_part, c_part in zip(parts("z"), parts("r"), parts("c"), strict=True):
        h = states[-1] if states else None
        z = update(z_part, h)
        if h is None:
            c = act(c_part)
            away = QMultiply(name=f"{name}_first_kept")([z, c])
            states.append(QSubtract(name=f"{name}_first_state")([c, away]))
            continue
        c = act(add([c_part, forget([reset(r_part, h), recurrent(h)])]))
        states.append(state([c, kept([z, moved([h, c])])]))
    return joined(states, return_sequences, name)


def steps_of(x: Any, go_backwards: bool, name: str) -> list[Any]:
    """(batch, units) of every step."""
    count, units = x.shape[1:] if len(x.shape) == 3 else (None, None)
    if count is None or units is None:
        raise RuleError(
            "a recurrent layer is unrolled over (batch, steps, channels) of known size",
            where=name,
            received=x.shape,
            remedy="fix the number of steps in keras.Input",
        )
    found = []
    for step in range(count):
        alone = keras.layers.Cropping1D((step, count - 1 - step), name=f"{name}_step{step}")(x)
        found.append(keras.layers.Reshape((units,), name=f"{name}_at{step}")(alone))
    return found[::-1] if go_backwards else found


def joined(states: list[Any], return_sequences: bool, name: str) -> Any:
    """All states along a new axis of steps, or the last one."""
    if not return_sequences:
        return states[-1]
    rows = [keras.layers.Reshape((1, *h.shape[1:]), name=f"{name}_row{n}")(h) for n, h in enumerate(states)]
    result = rows[0]
    for n, row in enumerate(rows[1:], start=1):  # two at a time: hls4ml's reader takes no more
        last = n == len(rows) - 1
        result = keras.layers.Concatenate(axis=1, name=f"{name}_states{'' if last else n}")([result, row])
    return result
