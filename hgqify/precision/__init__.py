"""The fixed program, what it can hold, and what it needs: integers only, proved element by element.

Program
    ops, Program, Node, TensorInfo; to_npz, from_npz
From Keras
    lower, default_registry, Registry, LayerLowering
What tensors can hold, and what consumers see of them
    infer, annotate; requests, formats, Request, NodeFormats
Statements about the program
    certify, Certificate, Entry; count_ebops, total_ebops
"""

from hgqify.precision import ops
from hgqify.precision.backward import requests
from hgqify.precision.certificate import Certificate, Entry, certify
from hgqify.precision.ebops import count as count_ebops
from hgqify.precision.ebops import total as total_ebops
from hgqify.precision.forward import annotate, infer
from hgqify.precision.lower import default_registry, lower
from hgqify.precision.lowering import LayerLowering, Registry
from hgqify.precision.minimal import NodeFormats, formats
from hgqify.precision.program import Node, Program, TensorInfo
from hgqify.precision.request import Request
from hgqify.precision.serialize import from_npz, to_npz

__all__ = [
    "Certificate",
    "Entry",
    "LayerLowering",
    "Node",
    "NodeFormats",
    "Program",
    "Registry",
    "Request",
    "TensorInfo",
    "annotate",
    "certify",
    "count_ebops",
    "default_registry",
    "formats",
    "from_npz",
    "infer",
    "lower",
    "ops",
    "requests",
    "to_npz",
    "total_ebops",
]
