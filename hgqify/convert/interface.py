"""Which interface suits a model."""

from __future__ import annotations

import math

from hgqify.convert.settings import Granularity, IOType
from hgqify.graph import Graph, canonicalize
from hgqify.graph.passes.products import EINSUM

# hls4ml partitions every array of an io_parallel design into registers; HLS refuses to beyond this.
MAX_PARALLEL = 4096


def choose_io_type(graph: Graph, granularity: Granularity | str = Granularity.TENSOR) -> IOType:
    """Streams for models with a tensor of more than 4096 elements, else everything in parallel.

    Products of two tensors, attention's among them, have no stream, however large they are.

    Args:
        graph: the float model.
        granularity: of the activations; anything finer than one format per tensor cannot be streamed.
    """
    if granularity != Granularity.TENSOR:
        return IOType.PARALLEL
    largest = max((math.prod(node.shape) for node in graph), default=0)
    if largest <= MAX_PARALLEL or any(node.kind == EINSUM for node in canonicalize(graph)[0]):
        return IOType.PARALLEL
    return IOType.STREAM
