"""Families of recurrent layers and attention, in the form of those in `float_layers`."""

from collections.abc import Callable
from typing import Any

from float_drawing import Drawing, made
from keras import ops

Family = Callable[[Drawing], Any]


# recurrent layers


def _recurrent(d: Drawing) -> dict[str, Any]:
    return {"return_sequences": d.rarely(2), "go_backwards": d.rarely(4)}


def _steps(d: Drawing) -> Any:
    """A short sequence: every step is some ten layers."""
    return d.tensor(2, lambda shape: shape[0] <= 3)


def recurrent(kind: str) -> Family:
    def family(d: Drawing) -> None:
        x, units = _steps(d), d.number(1, 3)
        options = _recurrent(d) | {"units": units}
        if kind == "GRU":
            options["reset_after"] = d.rarely(2)
        if d.rarely(4):
            state = [d.shaped((units,)) for _ in range(2 if kind == "LSTM" else 1)]
            d.call(kind, x, called={"initial_state": state}, **options)
            return
        d.call(kind, x, return_state=d.rarely(4), **options)

    return family


def rnn(*cells: str) -> Family:
    def family(d: Drawing) -> None:
        chosen = [made(cell, units=d.number(1, 3)) for cell in cells or (d.one_of(["GRUCell", "LSTMCell"]),)]
        cell: Any = chosen[0] if len(chosen) == 1 else made("StackedRNNCells", cells=chosen)
        d.call("RNN", _steps(d), cell=cell, **_recurrent(d))

    return family


def bidirectional(d: Drawing) -> None:
    kind = d.one_of(["LSTM", "GRU", "SimpleRNN"])
    inner = made(kind, units=d.number(1, 2), return_sequences=d.rarely(2))
    d.call("Bidirectional", _steps(d), layer=inner, merge_mode=d.one_of(["concat", "sum", "mul", "ave"]))


def time_distributed(d: Drawing) -> None:
    if d.rarely(2):
        d.call("TimeDistributed", d.tensor(3), layer=made("Conv1D", filters=2, kernel_size=2))
    else:
        inner = made("Dense", units=d.number(1, 3), activation=d.one_of([None, "tanh"]))
        d.call("TimeDistributed", d.tensor(2), layer=inner)


def conv_lstm(rank: int) -> Family:
    shape = {1: (2, 4, 2), 2: (2, 3, 3, 1), 3: (2, 2, 2, 2, 1)}[rank]

    def family(d: Drawing) -> None:
        options = {"filters": d.number(1, 2), "kernel_size": 2, "padding": d.one_of(["valid", "same"])}
        d.call(f"ConvLSTM{rank}D", d.shaped(shape), return_sequences=d.rarely(2), **options)

    return family


# attention


def multi_head(d: Drawing) -> None:
    x = d.tensor(2)
    y = x if d.rarely(2) else d.tensor(2)
    options: dict[str, Any] = {
        "num_heads": d.number(1, 2),
        "key_dim": d.number(1, 2),
        "use_bias": d.rarely(2),
    }
    if d.rarely(3):
        options |= {"use_gate": True}
    called: dict[str, Any] = {"use_causal_mask": True} if x is y and d.rarely(2) else {}
    if not called and d.rarely(3):
        mask = d.rng.random((1, x.shape[1], y.shape[1])) < 0.7
        mask[..., 0] = True
        called = {"attention_mask": mask}
    d.call("MultiHeadAttention", x, y, called=called, **options)


def grouped_query(d: Drawing) -> None:
    x = d.tensor(2)
    groups = d.one_of([1, 2])
    d.call("GroupQueryAttention", x, x if d.rarely(2) else d.tensor(2), head_dim=2,
           num_query_heads=2, num_key_value_heads=groups)  # fmt: skip


def attention(kind: str) -> Family:
    def family(d: Drawing) -> None:
        x = d.tensor(2)
        given = [x, d.like(x), *([d.like(x)] if d.rarely(3) else [])]
        options: dict[str, Any] = {"use_scale": d.rarely(2)}
        if kind == "Attention" and d.rarely(3):
            options["score_mode"] = "concat"
        d.call(kind, given, called={"use_causal_mask": True} if d.rarely(2) else {}, **options)

    return family


def long_attention(d: Drawing) -> None:
    """Over so many places that it divides late."""
    x = d.shaped((18, 2))
    d.call("MultiHeadAttention", x, x, num_heads=1, key_dim=1)


def masks_by_hand(d: Drawing) -> None:
    """A causal mask made of the shape of a tensor, and one that is added to the scores."""
    x = d.shaped((3, 2))

    place = ops.cumsum(ops.ones_like(x[:, :, 0]), axis=1)
    mask = ops.less_equal(ops.expand_dims(place, 1), ops.expand_dims(place, 2))
    y = d.call("MultiHeadAttention", x, x, called={"attention_mask": mask}, num_heads=1, key_dim=2)
    scores = d.compute("Matmul", lambda y: ops.matmul(y, ops.transpose(y, (0, 2, 1))), y)
    masked = d.compute("Add", lambda s: s + (1 - ops.tril(ops.ones((3, 3)))) * -1e9, scores)
    d.compute("Softmax", lambda s, x: ops.matmul(ops.softmax(s), x), masked, x)
