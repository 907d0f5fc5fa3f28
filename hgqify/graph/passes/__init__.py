"""Passes: one rewriting step each, one file, one class, one kebab-case name."""

from hgqify.graph.passes.absorb_affine_preprocessing import AbsorbAffinePreprocessing
from hgqify.graph.passes.base import Event, Pass, PassResult
from hgqify.graph.passes.drop_inference_identities import DropInferenceIdentities
from hgqify.graph.passes.drop_masks import DropMasks
from hgqify.graph.passes.float_inputs import FloatInputs
from hgqify.graph.passes.fold_batchnorm import FoldBatchnorm
from hgqify.graph.passes.fold_constants import FoldConstants
from hgqify.graph.passes.lower_adaptive_pooling import LowerAdaptivePooling
from hgqify.graph.passes.lower_dot import LowerDot
from hgqify.graph.passes.lower_einsum_dense import LowerEinsumDense
from hgqify.graph.passes.lower_operations import LowerOperations
from hgqify.graph.passes.lower_prelu import LowerPrelu
from hgqify.graph.passes.lower_resizing import LowerResizing
from hgqify.graph.passes.lower_separable import LowerSeparable
from hgqify.graph.passes.lower_time_distributed import LowerTimeDistributed
from hgqify.graph.passes.lower_transposed import LowerTransposed
from hgqify.graph.passes.mask_softmax import MaskSoftmax
from hgqify.graph.passes.normalize_activations import NormalizeActivations
from hgqify.graph.passes.open_attention import OpenAttention
from hgqify.graph.passes.open_wrappers import OpenWrappers
from hgqify.graph.passes.sink_affine import SinkAffine
from hgqify.graph.passes.split_activations import SplitActivations
from hgqify.graph.passes.strip_output_softmax import StripOutputSoftmax
from hgqify.graph.passes.unroll_recurrent import UnrollRecurrent, why_not_unrolled

__all__ = [
    "AbsorbAffinePreprocessing",
    "DropInferenceIdentities",
    "DropMasks",
    "Event",
    "FloatInputs",
    "FoldBatchnorm",
    "FoldConstants",
    "LowerAdaptivePooling",
    "LowerDot",
    "LowerEinsumDense",
    "LowerOperations",
    "LowerPrelu",
    "LowerResizing",
    "LowerSeparable",
    "LowerTimeDistributed",
    "LowerTransposed",
    "MaskSoftmax",
    "NormalizeActivations",
    "OpenAttention",
    "OpenWrappers",
    "Pass",
    "PassResult",
    "SinkAffine",
    "SplitActivations",
    "StripOutputSoftmax",
    "UnrollRecurrent",
    "why_not_unrolled",
]
