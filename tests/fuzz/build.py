"""From the description of a network to a Keras model with all formats and weights set.

Nothing is initialised at random and nothing is traced: the model is called eagerly, so a network costs a
fraction of a second once its shapes have been seen.
"""

from typing import Any

import keras
import numpy as np
from description import Format, Network, Step
from drawing import format_range

from hgqify import layers as q
from hgqify.layers import ActivationKind, get_activation, refresh

NORMALIZED = ("QBatchNormalization", "QBatchNormDense", "QEinsumDenseBatchnorm")
"""Layers with the weights of a batch normalization."""


def build(network: Network) -> keras.Model:
    """The Keras model; inputs that reach no output are left out."""
    tensors: list[Any] = [keras.Input(shape, name=f"x{n}") for n, shape in enumerate(network.inputs)]
    made: list[Any] = []
    for n, step in enumerate(network.steps):
        sources = [tensors[s] for s in step.inputs]
        layer = made[step.again] if step.again is not None else _layer(step, f"s{n}")
        tensors.append(layer(sources if len(sources) > 1 else sources[0]))
        made.append(layer)
        if step.again is None:
            _set(layer, step, np.random.default_rng((network.seed, n)))
    used = _used(network)
    model = keras.Model(
        [x for n, x in enumerate(tensors[: len(network.inputs)]) if n in used],
        [tensors[n] for n in network.outputs],
    )
    refresh(model)
    return model


def _used(network: Network) -> set[int]:
    """Tensors that an output depends on."""
    used, pending = set(), list(network.outputs)
    while pending:
        n = pending.pop()
        used.add(n)
        if n >= len(network.inputs):
            pending += network.steps[n - len(network.inputs)].inputs
    return used


def _layer(step: Step, name: str) -> keras.layers.Layer:
    options = dict(step.options)
    if not step.layer.startswith("Q"):
        return getattr(keras.layers, step.layer)(name=name, **options)
    configs = [_config(form) for form in step.iq]
    merge = len(step.inputs) > 1
    options["iq_conf"] = False if not configs else configs if merge else configs[0]
    if step.oq is not None:
        options["oq_conf"] = _config(step.oq, constant=step.layer.endswith("Activation") and not _exact(step))
    if step.layer == "QDenseT":
        options["toq_conf"] = _entries(step.kq)
        return q.QDenseT(name=name, **options)
    for role in ("kq", "bq"):
        form = getattr(step, role)
        if form is not None:
            options[f"{role}_conf"] = _config(form, constant=True)
    if step.kq is not None and step.layer != "QBatchNormalization":
        options["depthwise_initializer" if "Depthwise" in step.layer else "kernel_initializer"] = "zeros"
    if step.layer == "QEmbedding":
        options["embeddings_initializer"] = "zeros"
    return getattr(q, step.layer)(name=name, **options)


def _entries(form: Format | None) -> dict[str, Any]:
    """The entries of tables, one format for all of an edge's."""
    if form is None:
        raise ValueError("tables need a format")
    axes = {"tensor": (), "channel": (2,), "element": (1, 2)}[form.grain]
    return _config(form, constant=True) | {"homogeneous_axis": None, "heterogeneous_axis": axes}


def _exact(step: Step) -> bool:
    exact = get_activation(step.options["activation"]).kind is ActivationKind.EXACT
    return exact and step.layer == "QActivation"


def _config(form: Format, *, constant: bool = False) -> dict[str, Any]:
    axes = {
        "tensor": {"heterogeneous_axis": ()},
        "channel": {"heterogeneous_axis": (-1,)},
        "element": {"homogeneous_axis": () if constant else (0,)},
    }
    if form.kind == "float":
        parts = {"m0": form.f, "e0": form.i, "e00": form.k}
        return {"q_type": form.kind, **parts, "overflow_mode": form.overflow, **axes[form.grain]}
    signs = {"k0": form.k if form.overflow != "WRAP_SM" else 1}
    modes = {"round_mode": form.rounding, "overflow_mode": form.overflow}
    return {"q_type": form.kind, **signs, **modes, **axes[form.grain]}


def _set(layer: Any, step: Step, rng: np.random.Generator) -> None:
    """Widths and weights of one layer."""
    for quantizer, form in zip(getattr(layer, "iqs", ()), step.iq, strict=True):
        _set_widths(quantizer, form, rng)
    if step.oq is not None:
        _set_widths(layer.oq, step.oq, rng)
    if step.layer == "QEmbedding" and step.oq is not None:
        layer.embeddings.assign(_values(rng, layer.embeddings.shape, step.oq, step.weights))
    if step.layer == "QAffineActivation":
        layer.scale.assign(rng.uniform(-2, 2, 1))
        layer.shift.assign(rng.uniform(-1, 1, 1))
    if step.kq is None:
        return
    if step.layer == "QDenseT":
        _set_widths(layer.toq, step.kq, rng)
        for weight in layer.network.trainable_variables:
            weight.assign(_values(rng, weight.shape, Format(i=0), step.weights))
        return
    _set_widths(layer.kq, step.kq, rng)
    if step.bq is not None:
        _set_widths(layer.bq, step.bq, rng)
    if step.layer in NORMALIZED:
        variance = rng.uniform(0.2, 2.0, layer.moving_variance.shape)
        layer.moving_variance.assign(variance)
        layer.gamma.assign(_values(rng, variance.shape, step.kq, step.weights) * np.sqrt(variance))
        layer.beta.assign(_values(rng, variance.shape, step.bq, step.weights))
        layer.moving_mean.assign(rng.uniform(-1, 1, variance.shape))
    if step.layer == "QBatchNormalization":
        return
    layer.kernel.assign(_values(rng, layer.kernel.shape, step.kq, step.weights))
    if step.layer in NORMALIZED:
        return
    if step.bq is not None:
        layer.bias.assign(_values(rng, layer.bias.shape, step.bq, step.weights))


def _set_widths(quantizer: Any, form: Format, rng: np.random.Generator) -> None:
    """The format in every group, or one near it."""
    shape, spread = quantizer.width_shape, form.spread
    if form.kind == "float":
        quantizer.set_minifloat(form.f + rng.integers(0, spread + 1, shape), form.i, form.k)
        return
    i, f = (value + rng.integers(-spread, spread + 1, shape) for value in (form.i, form.f))
    k = np.full(shape, form.k)
    if spread and form.k and form.overflow != "WRAP_SM":
        k = rng.integers(0, 2, shape)
    quantizer.set_state(k=k, i=i, f=f)


def _values(rng: np.random.Generator, shape: Any, form: Format, kind: str) -> np.ndarray:
    """Weights somewhat beyond the range of their quantizer, rarely on its grid."""
    top = format_range(form)[0] if form.kind == "float" else form.i
    values = rng.uniform(-1.2, 1.2, shape) * 2.0**top
    if kind == "zero":
        return np.zeros(shape)
    if kind == "constant":
        return np.full(shape, 2.0 ** (top - 1))
    return values * (rng.random(shape) < 0.3) if kind == "sparse" else values
