"""What to do about layers that cannot be converted."""

from collections.abc import Mapping
from types import MappingProxyType

_UNROLL = "use Conv2D over the images and an LSTM over their features, or convert the layers before it"
_ATTENTION = "attention is not supported yet; convert the layers before and after it separately"
_NORM = "use BatchNormalization, which becomes a constant scale and shift"
_SOFTMAX = "a softmax in the middle of a model is not supported; end the model at the logits before it"

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "ConvLSTM1D": _UNROLL,
        "ConvLSTM2D": _UNROLL,
        "ConvLSTM3D": _UNROLL,
        "MultiHeadAttention": _ATTENTION,
        "GroupQueryAttention": _ATTENTION,
        "Attention": _ATTENTION,
        "AdditiveAttention": _ATTENTION,
        "LayerNormalization": _NORM,
        "RMSNormalization": _NORM,
        "GroupNormalization": _NORM,
        "UnitNormalization": _NORM,
        "SpectralNormalization": "remove the wrapper and keep the normalized kernel",
        "Softmax": _SOFTMAX,
        "ReversibleEmbedding": "use Embedding and, for the way back, Dense",
        "Lambda": "write it with supported layers; code in a Lambda cannot be read",
        "TimeDistributed": "apply the inner layer to the whole tensor, or once for each time",
        "Dot": "products of two activations over an axis are not supported; use Multiply where possible",
        "Masking": "remove masks: firmware works on full sequences",
        "Resizing": "resize the data before the firmware",
        "CenterCrop": "use a Cropping layer",
        "EinsumDense": "use Dense or a convolution with a window of 1",
        "LocallyConnected1D": "use a convolution",
        "LocallyConnected2D": "use a convolution",
    }
)
