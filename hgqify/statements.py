"""What can be said for certain about a quantized model, converted or made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from hgqify import precision, reference
from hgqify.cutting import program_inputs
from hgqify.opening import open_for
from hgqify.precision import FLOAT32_BITS, Certificate, Program, lower
from hgqify.reference import OverflowStatement

_BATCH = 256


def certify(model: keras.Model | Program, *, significand: int = FLOAT32_BITS) -> Certificate:
    """Whether Keras' floats give exactly the integers' results, operation by operation.

    Args:
        model: of quantized layers, or its program.
        significand: 24 for float32, 53 for float64.

    Returns:
        The verdicts; for an open one by how many bits, and what would give the proof.

    Raises:
        UnsupportedLayerError, PrecisionError: the model has no exact integer form.
    """
    return precision.certify(_program(model), significand)


def overflow_statement(
    model: keras.Model,
    data: Any = None,
    *,
    limit: int | None = None,
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
) -> OverflowStatement:
    """For every quantizer of a model: proved never to overflow, observed not to, overflowing, or saturating.

    Args:
        model: of quantized layers.
        data: inputs to look at, as for `convert`; streamed, one batch in memory. None for proofs only.
        limit: look at the first so many samples.
        key, allow_pickle: as for `convert`.

    Raises:
        UnsupportedLayerError, PrecisionError: the model has no exact integer form.
        DataError: the data does not fit the model.
    """
    program = lower(model)
    if data is None:
        return reference.overflow_statement(program)
    source = open_for(model, data, key=key, allow_pickle=allow_pickle)
    batches = program_inputs(model, program, (b.inputs for b in source.batches(_BATCH, limit=limit)))
    return reference.overflow_statement(program, batches)


def _program(model: keras.Model | Program) -> Program:
    return model if isinstance(model, Program) else lower(model)
