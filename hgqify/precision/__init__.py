"""The fixed program, what it can hold, and what it needs: integers only, proved element by element.

Program
    ops, Program, Node, TensorInfo; to_npz, from_npz
Where layers stay in float
    Kept, exact_parts, self_contained, Part
From Keras, and back
    lower, trace, default_registry, Registry, LayerLowering; widen
What tensors can hold, and what consumers see of them
    infer, annotate; requests, formats, Request, NodeFormats
Statements about the program
    certify, Certificate, Entry, FLOAT32_BITS, FLOAT64_BITS; prove_overflow, OverflowProof, needed_bits
    count_ebops, total_ebops, operand_bits
"""

from hgqify.precision import ops
from hgqify.precision.backward import requests
from hgqify.precision.certificate import FLOAT32_BITS, FLOAT64_BITS, Certificate, Entry, certify
from hgqify.precision.ebops import count as count_ebops
from hgqify.precision.ebops import operand_bits
from hgqify.precision.ebops import total as total_ebops
from hgqify.precision.forward import annotate, infer
from hgqify.precision.lower import default_registry, lower, trace
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.minimal import NodeFormats, formats
from hgqify.precision.overflow import OverflowProof, needed_bits, prove_overflow
from hgqify.precision.parts import Part, exact_parts, self_contained
from hgqify.precision.program import Kept, Node, Program, TensorInfo
from hgqify.precision.request import Request
from hgqify.precision.serialize import from_npz, to_npz
from hgqify.precision.widen import widen

__all__ = [
    "FLOAT32_BITS",
    "FLOAT64_BITS",
    "Certificate",
    "Entry",
    "Kept",
    "LayerLowering",
    "Node",
    "NodeFormats",
    "OverflowProof",
    "Part",
    "Program",
    "Registry",
    "Request",
    "TensorInfo",
    "annotate",
    "certify",
    "count_ebops",
    "default_registry",
    "exact_parts",
    "formats",
    "from_npz",
    "infer",
    "lower",
    "needed_bits",
    "operand_bits",
    "ops",
    "prove_overflow",
    "requests",
    "self_contained",
    "to_npz",
    "total_ebops",
    "trace",
    "widen",
]
