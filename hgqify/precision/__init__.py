"""The fixed program, what it can hold, and what it needs: integers only, proved element by element.

Program
    ops, Program, Node, TensorInfo
What tensors can hold
    infer, annotate
"""

from hgqify.precision import ops
from hgqify.precision.forward import annotate, infer
from hgqify.precision.program import Node, Program, TensorInfo

__all__ = ["Node", "Program", "TensorInfo", "annotate", "infer", "ops"]
