"""How well a quantized model does what its float origin did, on data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calibrate import sqnr
from hgqify.calling import predict
from hgqify.convert import Conversion
from hgqify.data import Source
from hgqify.errors import UnsupportedLayerError
from hgqify.gather.outcomes import fitting_numbers, rms
from hgqify.report import Quality
from hgqify.scoring import classes, label_classes, names_classes, unfit_labels

_BATCH = 256
_ALIKE = 30.0
"""dB: a rounding apart they are above 100, with a decision in a hundred turned still above 40."""
_NOISY = 10.0
"""dB: less than that behind a layer, and half of what follows may be noise."""
_ROW_BY_ROW = frozenset(
    {
        "LayerNormalization",
        "RMSNormalization",
        "UnitNormalization",
        "GroupNormalization",
        "Softmax",
        "Attention",
        "AdditiveAttention",
        "MultiHeadAttention",
        "GroupQueryAttention",
    }
)
"""Kinds that divide each row by what it holds, and enlarge the noise of small ones."""


def scoring_outputs(logits: Sequence[bool], float_model: keras.Model, source: Source) -> tuple[bool, ...]:
    """Which outputs score classes: those that lost a softmax, or else the one that the labels choose from.

    Many models are trained on logits and have no softmax. Labels tell: whole numbers from 0 to C - 1, one
    per sample, or one-hot rows of C, name the classes of an output of C values (C > 1) that are not
    all probabilities already.

    Args:
        logits: for each output, whether it lost a softmax.
        float_model: gives the outputs.
        source: data, with or without labels.
    """
    if any(logits) or not source.has_labels:
        return tuple(logits)
    batch = next(iter(source.batches(_BATCH, limit=_BATCH)))
    outputs = predict(float_model, batch.inputs)
    for position, output in enumerate(outputs):
        scores = output.ndim == 2 and output.shape[1] > 1 and not np.all((output >= 0) & (output <= 1))
        if scores and names_classes(np.asarray(batch.labels), output.shape[1]):
            return tuple(n == position for n in range(len(outputs)))
    return tuple(logits)


def refuse_unfit_labels(float_model: keras.Model, source: Source) -> None:
    """Refuse labels that say nothing about any output: they would be left aside without a word.

    Args:
        float_model: whose outputs they label.
        source: data with labels; its first batch is looked at.

    Raises:
        DataError: they are no classes of an output, and not of the shape of one.
    """
    batch = next(iter(source.batches(_BATCH, limit=_BATCH)))
    labels = np.asarray(batch.labels)
    shapes = [tuple(tensor.shape[1:]) for tensor in float_model.outputs]
    for shape in shapes:
        if labels.size == len(labels) * int(np.prod(shape)) or (shape and names_classes(labels, shape[-1])):
            return
        steps, count = shape[:-1], shape[-1] if shape else 0
        by_step = steps and labels.shape[1:] in (steps, (*steps, 1))
        if by_step and labels.min() >= 0 and labels.max() < count:
            return
    raise unfit_labels(labels, shapes, source.where)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What two models made of the same samples.

    Attributes:
        floats, fixed: outputs of the float and of the quantized model, in flat order.
        labels: of the samples, as the data has them; None without.
    """

    floats: tuple[np.ndarray, ...]
    fixed: tuple[np.ndarray, ...]
    labels: np.ndarray | None


def outputs_of(float_model: keras.Model, model: keras.Model, source: Source, limit: int) -> Outputs:
    """Outputs of two models, with the same inputs and outputs, on up to ``limit`` samples of a source."""
    labels: list[np.ndarray] = []
    floats: list[list[np.ndarray]] = []
    fixed: list[list[np.ndarray]] = []
    for batch in source.batches(_BATCH, limit=limit):
        floats.append(predict(float_model, batch.inputs))
        fixed.append(predict(model, batch.inputs))
        if batch.labels is not None:
            labels.append(batch.labels)
    a, b = (tuple(np.concatenate(p) for p in zip(*parts, strict=True)) for parts in (floats, fixed))
    return Outputs(floats=a, fixed=b, labels=np.concatenate(labels) if labels else None)


def measure(
    float_model: keras.Model,
    model: keras.Model,
    source: Source,
    *,
    logits: Sequence[bool],
    limit: int,
    name: str,
) -> Quality:
    """Compare two models on up to ``limit`` samples of a source.

    Args:
        float_model, model: with the same inputs and outputs.
        source, logits, name: as for `judged`.
        limit: number of samples.
    """
    return judged(outputs_of(float_model, model, source, limit), logits=logits, name=name)


def judged(outputs: Outputs, *, logits: Sequence[bool], name: str) -> Quality:
    """How well a quantized model did what its float origin did.

    Args:
        outputs: of both; labels, if any, are classes of the first output that is one of classes, or else
            numbers that the first output of their size should have given.
        logits: for each output, whether it holds classification logits.
        name: what the data is, for the report.
    """
    a, b = outputs.floats, outputs.fixed
    agreement = float_accuracy = accuracy = float_rms = rms_error = None
    for is_logits, y, q in zip(logits, a, b, strict=True):
        wanted, found = classes(y, logits=is_logits), classes(q, logits=is_logits)
        if wanted is None or found is None:
            continue
        agreement = float(np.mean(wanted == found))
        truth = None if outputs.labels is None else label_classes(outputs.labels)
        if truth is not None and len(truth) == len(wanted):
            float_accuracy, accuracy = float(np.mean(wanted == truth)), float(np.mean(found == truth))
        break
    fitting = fitting_numbers(outputs) if agreement is None else None
    if fitting is not None:
        position, labels = fitting
        float_rms, rms_error = rms(a[position] - labels), rms(b[position] - labels)
    noise = sqnr(np.concatenate([y.ravel() for y in a]), np.concatenate([q.ravel() for q in b]))
    return Quality(
        samples=len(a[0]),
        agreement=agreement,
        float_accuracy=float_accuracy,
        accuracy=accuracy,
        output_sqnr_db=noise,
        data=name,
        float_rms_error=float_rms,
        rms_error=rms_error,
    )


def refuse_unlike(model: keras.Model, conversion: Conversion, inputs: Sequence[np.ndarray]) -> None:
    """Raise if layers that stay in float made the clone another function than the model.

    Masks, states and weights of layers that nobody has looked into could do that. A few outputs may differ
    much, where a layer takes decisions and a rounding turns one.

    Args:
        model: the float model.
        conversion: of it.
        inputs: some samples, an array per model input.

    Raises:
        UnsupportedLayerError: names the layers that stay in float.
    """
    wanted, found = predict(model, inputs), predict(conversion.clone, inputs)
    for position, (y, z, logits) in enumerate(zip(wanted, found, conversion.logits, strict=True)):
        z = np.asarray(keras.ops.softmax(z)) if logits else z
        if sqnr(y, z) < _ALIKE:
            raise UnsupportedLayerError(
                f"with layers kept in float, output {position} is not that of the float model",
                where=model.name,
                received=", ".join(conversion.kept),
                remedy="replace them, or convert the part of the model before them",
            )


def noisy_rows(conversions: Sequence[Mapping[str, str]], noise: Mapping[str, float]) -> tuple[str, ...]:
    """A note on normalizations and attention behind which little of the signal is left.

    Args:
        conversions: what became of every layer, as the report has it.
        noise: signal-to-noise ratio at the output of quantized layers, in dB, by name.
    """
    found = [
        (entry["layer"], noise[last])
        for entry in conversions
        if entry["kind"] in _ROW_BY_ROW and (last := entry["target"].split(", ")[-1]) in noise
    ]
    found = [(layer, db) for layer, db in found if db < _NOISY]
    if not found:
        return ()
    (layer, db), more = found[0], len(found) - 1
    others = f", and little more behind {more} other(s) of its kind" if more else ""
    return (
        f"behind {layer} the signal is only {db:.1f} dB above the noise of quantization{others}: give what "
        f"feeds it more bits (activation_bits in a rule for it), or fine-tune longer",
    )


def points_lost(quality: Quality) -> float | None:
    """Percentage points lost against the float model: of accuracy with labels, else of agreement.

    Returns:
        None for outputs that name no classes.
    """
    if quality.accuracy is not None and quality.float_accuracy is not None:
        return 100 * (quality.float_accuracy - quality.accuracy)
    return None if quality.agreement is None else 100 * (1 - quality.agreement)
