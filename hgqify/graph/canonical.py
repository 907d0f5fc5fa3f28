"""The canonical form of a graph, and the pipeline of passes that makes it."""

from collections.abc import Sequence

from hgqify.errors import UnsupportedLayerError
from hgqify.graph.model import Graph
from hgqify.graph.passes import (
    AbsorbAffinePreprocessing,
    DropInferenceIdentities,
    DropMasks,
    Event,
    FloatInputs,
    FoldBatchnorm,
    FoldConstants,
    LowerAdaptivePooling,
    LowerDot,
    LowerEinsumDense,
    LowerOperations,
    LowerPrelu,
    LowerResizing,
    LowerSeparable,
    LowerTimeDistributed,
    LowerTransposed,
    MaskSoftmax,
    NormalizeActivations,
    OpenAttention,
    OpenWrappers,
    Pass,
    SinkAffine,
    SplitActivations,
    StripOutputSoftmax,
    UnrollRecurrent,
)


def default_passes(*, strip_softmax: bool = False) -> tuple[Pass, ...]:
    """The passes of `canonicalize`, in order."""
    return (
        OpenWrappers(),
        DropMasks(),
        FoldConstants(),
        MaskSoftmax(),
        LowerResizing(),
        FloatInputs(),
        LowerTimeDistributed(),
        LowerAdaptivePooling(),
        OpenAttention(),
        UnrollRecurrent(),
        LowerOperations(),
        LowerDot(),
        LowerSeparable(),
        SplitActivations(),
        LowerEinsumDense(),
        LowerPrelu(),
        DropInferenceIdentities(),
        NormalizeActivations(),
        AbsorbAffinePreprocessing(),
        *((StripOutputSoftmax(),) if strip_softmax else ()),
        SinkAffine(),
        FoldBatchnorm(),
        LowerTransposed(),
    )


def canonicalize(
    graph: Graph, passes: Sequence[Pass] | None = None, *, strip_softmax: bool = False
) -> tuple[Graph, tuple[Event, ...]]:
    """Bring a graph into canonical form.

    The result computes what the given graph computes at inference, up to the rounding of re-associated
    float sums, and consists of layers without fused activations; batch normalizations are left only where
    they cannot be folded exactly.

    Args:
        graph: a graph from `read`.
        passes: the passes to run; None for `default_passes`.
        strip_softmax: remove a final softmax (the model then outputs logits); with default passes only.

    Returns:
        The canonical graph, and what happened to which layer.

    Raises:
        UnsupportedLayerError: a pass failed on this model; the message names the pass.
    """
    events: list[Event] = []
    for step in default_passes(strip_softmax=strip_softmax) if passes is None else passes:
        try:
            result = step(graph)
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise UnsupportedLayerError(
                f"the pass {step.name!r} failed on this model",
                where=graph.name,
                received=f"{type(error).__name__}: {error}",
                remedy="report it with the model; until then run the passes you need by themselves",
            ) from error
        graph = result.graph
        events += result.events
    return graph, tuple(events)
