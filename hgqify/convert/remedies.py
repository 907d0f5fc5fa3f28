"""What to do about layers that cannot be converted."""

from collections.abc import Mapping
from types import MappingProxyType

_UNROLL = "use Conv2D over the images and an LSTM over their features, or convert the layers before it"
_ATTENTION = "use masks that are the same for every sample (use_causal_mask, a constant) and the score 'dot'"
_NORM = "normalize over the last axes (groups: of the last axis), with gamma and beta along them"

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "ConvLSTM1D": _UNROLL,
        "ConvLSTM2D": _UNROLL,
        "ConvLSTM3D": _UNROLL,
        "MultiHeadAttention": _ATTENTION,
        "GroupedQueryAttention": _ATTENTION,
        "Attention": _ATTENTION,
        "AdditiveAttention": "use Attention or MultiHeadAttention, whose scores are products",
        "LayerNormalization": _NORM,
        "RMSNormalization": _NORM,
        "GroupNormalization": _NORM,
        "UnitNormalization": _NORM,
        "SpectralNormalization": "remove the wrapper and keep the normalized kernel",
        "ReversibleEmbedding": "use Embedding and, for the way back, Dense",
        "Lambda": "write it with supported layers, or with keras.ops and trust it: safe_mode=False, --unsafe",
        "custom": "write its call() with supported layers and keras.ops only, without numbers drawn or read",
        "TimeDistributed": "apply the inner layer to the whole tensor, or once for each time",
        "Dot": "use normalize=False, and scale the inputs yourself",
        "Masking": "remove masks: firmware works on full sequences",
        "Resizing": "resize the data before the firmware",
        "CenterCrop": "use a Cropping layer",
        "EinsumDense": "keep the batch axis first, and sum over what input and kernel share only",
        "LocallyConnected1D": "use a convolution",
        "LocallyConnected2D": "use a convolution",
    }
)
