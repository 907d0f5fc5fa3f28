"""What to do about layers that cannot be converted."""

from collections.abc import Mapping
from types import MappingProxyType

_ATTENTION = "use masks that are the same for every sample (use_causal_mask, a constant)"
_NORM = "normalize over the last axes (groups: of the last axis), with gamma and beta along them"
_COMPARED = (
    "compare what does not depend on data (shapes, arange): a mask has to be the same for every sample"
)
_COMPARISONS = (
    *("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"),
    *("LogicalAnd", "LogicalNot", "LogicalOr"),
)

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "MultiHeadAttention": _ATTENTION,
        "GroupedQueryAttention": _ATTENTION,
        "Attention": _ATTENTION,
        "AdditiveAttention": _ATTENTION,
        "LayerNormalization": _NORM,
        "RMSNormalization": _NORM,
        "GroupNormalization": _NORM,
        "UnitNormalization": _NORM,
        "SpectralNormalization": "wrap a layer of keras.layers, or remove the wrapper",
        "ReversibleEmbedding": "use Embedding and, for the way back, Dense, with weights of its own",
        "Lambda": "write it with supported layers, or with keras.ops and trust it: safe_mode=False, --unsafe",
        "custom": "write its call() with supported layers and keras.ops only (x * self.w, not self.w * x), "
        "and without numbers that are drawn or read",
        "TimeDistributed": "apply the inner layer to the whole tensor, or once for each time",
        "Dot": "use normalize=False, and scale the inputs yourself",
        "Masking": "remove masks: firmware works on full sequences",
        "CategoryEncoding": "use Embedding with rows of an identity matrix, or encode before the firmware",
        "Resizing": "give it images of floats and no fill_value, or resize the data before the firmware",
        "EinsumDense": "keep the batch axis first, and sum over what input and kernel share only",
        **{f"ops.{name}": _COMPARED for name in _COMPARISONS},
        "LocallyConnected1D": "use a convolution",
        "LocallyConnected2D": "use a convolution",
    }
)
