"""The integer reference: executes a fixed program on the host, code for code as the firmware does.

run(program, inputs)      all samples at once, results in memory
Interpreter(program)      prepared once, called batch by batch, or streamed
Outputs, Codes            what they return

overflow_statement(program, batches)  which quantizers can overflow, and which did
OverflowStatement, QuantizerOverflow, OverflowStatus
"""

from hgqify.reference.overflow import (
    OverflowStatement,
    OverflowStatus,
    QuantizerOverflow,
    overflow_statement,
)
from hgqify.reference.run import Codes, Interpreter, Outputs, run

__all__ = [
    "Codes",
    "Interpreter",
    "Outputs",
    "OverflowStatement",
    "OverflowStatus",
    "QuantizerOverflow",
    "overflow_statement",
    "run",
]
