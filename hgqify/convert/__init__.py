"""From a float graph to a model of quantized layers.

Stages
    plan (report only), convert -> Conversion (model, clone, probe, sites, report)
Settings
    ConvertSettings, Granularity, IOType, Operands, OverflowPolicy, SoftmaxPolicy, UnsupportedPolicy,
    Rule, with_uniform_bits
Report
    ConversionReport, LayerEntry, Status
Extension
    Registry, default_registry, Slots
"""

from hgqify.convert.converter import Conversion, Site, convert, default_registry, plan
from hgqify.convert.registry import Converter, Registry
from hgqify.convert.report import ConversionReport, LayerEntry, Status
from hgqify.convert.rules import Rule, Target
from hgqify.convert.settings import (
    ConvertSettings,
    Granularity,
    IOType,
    Operands,
    OverflowPolicy,
    SoftmaxPolicy,
    UnsupportedPolicy,
)
from hgqify.convert.slots import Slots
from hgqify.convert.uniform import with_uniform_bits

__all__ = [
    "Conversion",
    "ConversionReport",
    "ConvertSettings",
    "Converter",
    "Granularity",
    "IOType",
    "LayerEntry",
    "Operands",
    "OverflowPolicy",
    "Registry",
    "Rule",
    "Site",
    "Slots",
    "SoftmaxPolicy",
    "Status",
    "Target",
    "UnsupportedPolicy",
    "convert",
    "default_registry",
    "plan",
    "with_uniform_bits",
]
