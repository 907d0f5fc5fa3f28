"""The integer reference: executes a fixed program on the host, code for code as the firmware does.

run(program, inputs)      all samples at once, results in memory
Interpreter(program)      prepared once, called batch by batch, or streamed
Outputs, Codes            what they return
"""

from hgqify.reference.run import Codes, Interpreter, Outputs, run

__all__ = ["Codes", "Interpreter", "Outputs", "run"]
