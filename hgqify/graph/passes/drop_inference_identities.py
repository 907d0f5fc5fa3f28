"""Drop layers that pass their input through at inference."""

from typing import Any

import keras

from hgqify.graph.model import Graph, Node
from hgqify.graph.passes.base import Pass, PassResult

_REGULARIZERS = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "ops.Identity",
        "ops.StopGradient",
    }
)

_CASTS = frozenset({"ops.Cast", "ops.ConvertToTensor"})

# RandomCrop is not among them: at inference it crops the centre.
_AUGMENTATIONS = frozenset(
    {
        "AugMix",
        "CutMix",
        "MixUp",
        "RandAugment",
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomContrast",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
    }
)


# Casts to these keep the values that layers compute in.
_WIDE = frozenset({"float32", "float64"})


class DropInferenceIdentities(Pass):
    """Remove dropout, noise, regularization, random augmentation, linear activations and casts to float."""

    name = "drop-inference-identities"

    def run(self, graph: Graph) -> PassResult:
        """Remove every such layer, unless it is called with extra arguments (`training=True`)."""
        dropped = [node for node in graph if _is_identity(node)]
        return self.result(
            graph,
            {node.name: () for node in dropped},
            {node.name: node.inputs[0] for node in dropped},
            [self.event(node, "removed", f"{node.kind} is an identity at inference") for node in dropped],
        )


def _is_identity(node: Node) -> bool:
    if len(node.inputs) != 1:
        return False
    if node.kind in _CASTS:
        # Everything is computed in one float type; a cast to integers rounds.
        dtype = node.config.get("dtype")
        return dtype is None or keras.backend.is_float_dtype(dtype)
    if node.call is not None:
        return False
    if node.kind == "ops.Cast":
        return node.config.get("dtype") in _WIDE
    if node.kind == "Activation":
        return is_linear(node.config["activation"])
    return node.kind in _REGULARIZERS or node.kind in _AUGMENTATIONS


def is_linear(activation: Any) -> bool:
    """Whether a serialized activation is the identity."""
    return activation in (None, "linear")
