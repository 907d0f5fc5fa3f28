"""Quantized layers: Keras layers whose inference is exact fixed-point arithmetic.

Every layer computes ``oq(op(iq(x), kq(weights)) + bq(bias))``; its quantizers are ``iqs`` (one per input),
``oq``, ``kq`` and ``bq``.

Linear: QDense, QEinsumDense, QConv1D, QConv2D, QConv3D, QDepthwiseConv1D, QDepthwiseConv2D,
    QBatchNormalization; with one folded in while they train: QBatchNormDense, QEinsumDenseBatchnorm
Tables: QEmbedding; a learned table on every edge: QDenseT
Elementwise: Quantize, QActivation, QAffineActivation, QAdd, QSubtract, QMultiply, QMaximum, QMinimum,
    QAverage
Products of two tensors: QEinsum
Pooling: QMaxPooling1D/2D/3D, QGlobalMaxPooling1D/2D/3D, QAveragePooling1D/2D/3D,
    QGlobalAveragePooling1D/2D/3D
Over any axes: QSum, QMean, QBelowMaximum, QLargest; constant masks: QMask
Rows scaled by powers of two: QMultiplyPow2
Means by a shift: QMeanPow2, QAveragePow2
Made of several layers, as functions of tensors: softmax, multi_head_attention, linformer_attention,
    simple_rnn, gru
Other names: QMaxPool1D and the like for QMaxPooling1D, QUnaryFunctionLUT for QActivation,
    QAffinedUnaryFunctionLUT for QAffineActivation
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
from hgqify.layers.affine_activation import QAffineActivation
from hgqify.layers.attention import linformer_attention, multi_head_attention
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
from hgqify.layers.edge_tables import QDenseT
from hgqify.layers.einsum import QEinsum
from hgqify.layers.einsum_dense import QEinsumDense
from hgqify.layers.embedding import QEmbedding
from hgqify.layers.functions import (
    bin_index,
    exp_of_negative,
    inverse_sqrt,
    power_scale,
    reciprocal_from_one,
    scaled_epsilon,
    scaled_exp,
    shifted_reciprocal,
)
from hgqify.layers.fused_batchnorm import QBatchNormDense, QEinsumDenseBatchnorm
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
from hgqify.layers.names import (
    QAffinedUnaryFunctionLUT,
    QAvgPool1D,
    QAvgPool2D,
    QAvgPool3D,
    QGlobalAvgPool1D,
    QGlobalAvgPool2D,
    QGlobalAvgPool3D,
    QGlobalMaxPool1D,
    QGlobalMaxPool2D,
    QGlobalMaxPool3D,
    QMaxPool1D,
    QMaxPool2D,
    QMaxPool3D,
    QUnaryFunctionLUT,
)
from hgqify.layers.pow2 import QAveragePow2, QMeanPow2
from hgqify.layers.qactivation import QActivation
from hgqify.layers.quantize import Quantize
from hgqify.layers.reciprocal import reciprocal, reciprocal_values
from hgqify.layers.recurrent import gru, simple_rnn
from hgqify.layers.reductions import QBelowMaximum, QMean, QReduction, QSum
from hgqify.layers.row_scale import QLargest, QMultiplyPow2
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
    "QAffineActivation",
    "QAffinedUnaryFunctionLUT",
    "QAverage",
    "QAveragePooling1D",
    "QAveragePooling2D",
    "QAveragePooling3D",
    "QAveragePow2",
    "QAvgPool1D",
    "QAvgPool2D",
    "QAvgPool3D",
    "QBatchNormDense",
    "QBatchNormalization",
    "QBelowMaximum",
    "QConv1D",
    "QConv2D",
    "QConv3D",
    "QDense",
    "QDenseT",
    "QDepthwiseConv1D",
    "QDepthwiseConv2D",
    "QEinsum",
    "QEinsumDense",
    "QEinsumDenseBatchnorm",
    "QEmbedding",
    "QGlobalAveragePooling1D",
    "QGlobalAveragePooling2D",
    "QGlobalAveragePooling3D",
    "QGlobalAvgPool1D",
    "QGlobalAvgPool2D",
    "QGlobalAvgPool3D",
    "QGlobalMaxPool1D",
    "QGlobalMaxPool2D",
    "QGlobalMaxPool3D",
    "QGlobalMaxPooling1D",
    "QGlobalMaxPooling2D",
    "QGlobalMaxPooling3D",
    "QLargest",
    "QLayer",
    "QLinear",
    "QMask",
    "QMaxPool1D",
    "QMaxPool2D",
    "QMaxPool3D",
    "QMaxPooling1D",
    "QMaxPooling2D",
    "QMaxPooling3D",
    "QMaximum",
    "QMean",
    "QMeanPow2",
    "QMerge",
    "QMinimum",
    "QMultiply",
    "QMultiplyPow2",
    "QReduction",
    "QSubtract",
    "QSum",
    "QUnaryFunctionLUT",
    "Quantize",
    "bin_index",
    "copied",
    "ebops_breakdown",
    "exp_of_negative",
    "get_activation",
    "gru",
    "inverse_sqrt",
    "linformer_attention",
    "multi_head_attention",
    "power_scale",
    "quantized_layers",
    "reciprocal",
    "reciprocal_from_one",
    "reciprocal_values",
    "refresh",
    "scaled_epsilon",
    "scaled_exp",
    "shifted_reciprocal",
    "simple_rnn",
    "softmax",
    "span",
    "total_ebops",
    "window_counts",
    "window_padding",
]
