"""Random inputs that exercise a fixed program: in range, on the edges, far outside."""

from __future__ import annotations

import numpy as np

from hgqify.precision import ops
from hgqify.precision.program import Program


def random_inputs(
    program: Program, samples: int, *, seed: int = 0, reach: float = 4.0
) -> tuple[np.ndarray, ...]:
    """Random model inputs as float32.

    A quarter of the samples each: uniform in the representable range; on codes of the input quantizer
    and exactly between two codes; the smallest and largest codes; uniform in ``reach`` times the range.

    Args:
        program: annotated fixed program.
        samples: how many.
        seed: makes them reproducible.
        reach: how far outside the representable range the last quarter goes.

    Returns:
        One array (samples, *shape) per model input.
    """
    rng = np.random.default_rng(seed)
    result = []
    for name in program.inputs:
        node = program.by_name[name]
        quantizers = [c for c in program.consumers[name] if isinstance(c.op, ops.Quantize)]
        shape = (samples, *node.shape)
        lows, highs, lsbs = [], [], []
        for consumer in quantizers:
            op = consumer.op
            if not isinstance(op, ops.Quantize):
                continue
            top = np.ldexp(1.0, np.asarray(op.i, np.int32))
            lows.append(np.broadcast_to(-top * op.k, node.shape))
            highs.append(np.broadcast_to(top, node.shape))
            lsbs.append(np.broadcast_to(np.ldexp(1.0, -np.asarray(op.f, np.int32)), node.shape))
        low, high = (
            (np.min(lows, axis=0), np.max(highs, axis=0))
            if lows
            else (-np.ones(node.shape), np.ones(node.shape))
        )
        lsb = np.min(lsbs, axis=0) if lsbs else np.full(node.shape, 2.0**-8)
        uniform = low + (high - low) * rng.random(shape)
        half_codes = np.round(uniform / lsb * 2) / 2 * lsb
        edges = np.where(rng.random(shape) < 0.5, low, high - lsb) + lsb * rng.integers(-1, 2, shape)
        centre, radius = (low + high) / 2, (high - low) / 2
        outside = centre + radius * reach * rng.uniform(-1, 1, shape)
        kinds = (np.arange(samples) % 4).reshape((samples,) + (1,) * len(node.shape))
        values = np.select([kinds == 0, kinds == 1, kinds == 2], [uniform, half_codes, edges], outside)
        result.append(values.astype(np.float32))
    return tuple(result)
