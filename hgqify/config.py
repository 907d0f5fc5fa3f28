"""Scopes that set defaults for layers and quantizers made within them.

QuantizerConfigScope, LayerConfigScope
"""

from hgqify.layers import LayerConfigScope
from hgqify.quantizers import QuantizerConfigScope

__all__ = ["LayerConfigScope", "QuantizerConfigScope"]
