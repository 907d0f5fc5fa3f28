"""Quantized layers: Keras layers whose inference is exact fixed-point arithmetic.

Every layer computes ``oq(op(iq(x), kq(weights)) + bq(bias))``; its quantizers are ``iqs`` (one per input),
``oq``, ``kq`` and ``bq``.

Linear: QDense, QConv1D, QConv2D, QConv3D, QDepthwiseConv1D, QDepthwiseConv2D, QBatchNormalization
Tables: QEmbedding
Elementwise: Quantize, QActivation, QAdd, QSubtract, QMultiply, QMaximum, QMinimum, QAverage
Products of two tensors: QEinsum
Pooling: QMaxPooling1D/2D/3D, QGlobalMaxPooling1D/2D/3D, QAveragePooling1D/2D/3D,
    QGlobalAveragePooling1D/2D/3D
Over any axes: QSum, QMean, QBelowMaximum, softmax; constant masks: QMask
Defaults: LayerConfigScope
Counting: total_ebops, ebops_breakdown (LayerEbops), span, EbopsPenalty
Whole models: quantized_layers, refresh, copied
What stays in float: KeptFloat
Shared definitions: Activation, ActivationKind, PiecewiseLinear, get_activation, reciprocal,
    reciprocal_values, window_padding, window_counts
"""

from hgqify.layers.activations import (
    Activation,
    ActivationKind,
    PiecewiseLinear,
    get_activation,
)
from hgqify.layers.average_pooling import (
    QAveragePooling1D,
    QAveragePooling2D,
    QAveragePooling3D,
    QGlobalAveragePooling1D,
    QGlobalAveragePooling2D,
    QGlobalAveragePooling3D,
)
from hgqify.layers.base import EbopsPenalty, QLayer
from hgqify.layers.batchnorm import QBatchNormalization
from hgqify.layers.conv import QConv1D, QConv2D, QConv3D, QDepthwiseConv1D, QDepthwiseConv2D
from hgqify.layers.dense import QDense
from hgqify.layers.ebops import span
from hgqify.layers.einsum import QEinsum
from hgqify.layers.embedding import QEmbedding
from hgqify.layers.functions import exp_of_negative, inverse_sqrt, reciprocal_from_one
from hgqify.layers.kept import KeptFloat, copied
from hgqify.layers.linear import QLinear
from hgqify.layers.masking import QMask
from hgqify.layers.max_pooling import (
    QGlobalMaxPooling1D,
    QGlobalMaxPooling2D,
    QGlobalMaxPooling3D,
    QMaxPooling1D,
    QMaxPooling2D,
    QMaxPooling3D,
)
from hgqify.layers.merge import QAdd, QAverage, QMaximum, QMerge, QMinimum, QMultiply, QSubtract
from hgqify.layers.models import LayerEbops, ebops_breakdown, quantized_layers, refresh, total_ebops
from hgqify.layers.qactivation import QActivation
from hgqify.layers.quantize import Quantize
from hgqify.layers.reciprocal import reciprocal, reciprocal_values
from hgqify.layers.reductions import QBelowMaximum, QMean, QReduction, QSum
from hgqify.layers.scope import LayerConfig, LayerConfigScope
from hgqify.layers.softmax import softmax
from hgqify.layers.windows import window_counts, window_padding

__all__ = [
    "Activation",
    "ActivationKind",
    "EbopsPenalty",
    "KeptFloat",
    "LayerConfig",
    "LayerConfigScope",
    "LayerEbops",
    "PiecewiseLinear",
    "QActivation",
    "QAdd",
    "QAverage",
    "QAveragePooling1D",
    "QAveragePooling2D",
    "QAveragePooling3D",
    "QBatchNormalization",
    "QBelowMaximum",
    "QConv1D",
    "QConv2D",
    "QConv3D",
    "QDense",
    "QDepthwiseConv1D",
    "QDepthwiseConv2D",
    "QEinsum",
    "QEmbedding",
    "QGlobalAveragePooling1D",
    "QGlobalAveragePooling2D",
    "QGlobalAveragePooling3D",
    "QGlobalMaxPooling1D",
    "QGlobalMaxPooling2D",
    "QGlobalMaxPooling3D",
    "QLayer",
    "QLinear",
    "QMask",
    "QMaxPooling1D",
    "QMaxPooling2D",
    "QMaxPooling3D",
    "QMaximum",
    "QMean",
    "QMerge",
    "QMinimum",
    "QMultiply",
    "QReduction",
    "QSubtract",
    "QSum",
    "Quantize",
    "copied",
    "ebops_breakdown",
    "exp_of_negative",
    "get_activation",
    "inverse_sqrt",
    "quantized_layers",
    "reciprocal",
    "reciprocal_from_one",
    "reciprocal_values",
    "refresh",
    "softmax",
    "span",
    "total_ebops",
    "window_counts",
    "window_padding",
]
