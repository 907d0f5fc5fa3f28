"""Which interface suits a model."""

from __future__ import annotations

import math

from hgqify.convert.settings import Granularity, IOType
from hgqify.graph import Graph

# hls4ml partitions every array of an io_parallel design into registers; HLS refuses to beyond this.
MAX_PARALLEL = 4096


def choose_io_type(graph: Graph, granularity: Granularity | str = Granularity.TENSOR) -> IOType:
    """Streams for models with a tensor of more than 4096 elements, else everything in parallel.

    Args:
        graph: the float model.
        granularity: of the activations; anything finer than one format per tensor cannot be streamed.
    """
    if granularity != Granularity.TENSOR:
        return IOType.PARALLEL
    largest = max((math.prod(node.shape) for node in graph), default=0)
    return IOType.STREAM if largest > MAX_PARALLEL else IOType.PARALLEL
