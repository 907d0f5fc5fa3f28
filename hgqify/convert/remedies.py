"""What to do about layers that cannot be converted."""

from collections.abc import Mapping
from types import MappingProxyType

_UNROLL = "recurrent layers are not supported yet; convert the layers before and after it separately"
_ATTENTION = "attention is not supported yet; convert the layers before and after it separately"
_NORM = "normalize over the last axes (groups: of the last axis), with gamma and beta along them"
_TRANSPOSED = "use UpSampling (nearest) followed by a convolution"

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "LSTM": _UNROLL,
        "GRU": _UNROLL,
        "SimpleRNN": _UNROLL,
        "RNN": _UNROLL,
        "Bidirectional": _UNROLL,
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
        "Conv1DTranspose": _TRANSPOSED,
        "Conv2DTranspose": _TRANSPOSED,
        "Conv3DTranspose": _TRANSPOSED,
        "PReLU": "use LeakyReLU with one slope for all channels",
        "Embedding": "look the vectors up before the firmware and feed them as input",
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
