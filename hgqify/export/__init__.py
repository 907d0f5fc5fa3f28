"""The fixed program printed as an hls4ml project, simulated, and compared code for code.

Write
    write_project, refuse_unprintable, ProjectOptions, BACKENDS, IO_TYPES
Simulate
    compile_project, CSimulation, compiler
Compare
    compare, compare_weights, Comparison, CheckReport, Place, random_batches, random_inputs
"""

from hgqify.export.check import compare
from hgqify.export.compare import CheckReport, Comparison, Place
from hgqify.export.csim import CSimulation, compile_project, compiler
from hgqify.export.project import BACKENDS, IO_TYPES, ProjectOptions, refuse_unprintable, write_project
from hgqify.export.stimuli import random_batches, random_inputs
from hgqify.export.weights import compare_weights

__all__ = [
    "BACKENDS",
    "IO_TYPES",
    "CSimulation",
    "CheckReport",
    "Comparison",
    "Place",
    "ProjectOptions",
    "compare",
    "compare_weights",
    "compile_project",
    "compiler",
    "random_batches",
    "random_inputs",
    "refuse_unprintable",
    "write_project",
]
