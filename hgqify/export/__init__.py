"""The fixed program printed as an hls4ml project, simulated, and compared code for code.

Write
    write_project, refuse_unprintable, Written
Say how
    ProjectOptions, LayerOptions, Strategy, BACKENDS, IO_TYPES
Simulate
    compile_project, CSimulation, compiler
Compare
    compare, compare_weights, Comparison, CheckReport, Place, random_inputs
"""

from hgqify.export.backends import BACKENDS, Strategy
from hgqify.export.check import compare
from hgqify.export.compare import CheckReport, Comparison, Place
from hgqify.export.csim import CSimulation, compile_project, compiler
from hgqify.export.options import IO_TYPES, LayerOptions, ProjectOptions
from hgqify.export.project import Written, refuse_unprintable, write_project
from hgqify.export.stimuli import random_inputs
from hgqify.export.weights import compare_weights

__all__ = [
    "BACKENDS",
    "IO_TYPES",
    "CSimulation",
    "CheckReport",
    "Comparison",
    "LayerOptions",
    "Place",
    "ProjectOptions",
    "Strategy",
    "Written",
    "compare",
    "compare_weights",
    "compile_project",
    "compiler",
    "random_inputs",
    "refuse_unprintable",
    "write_project",
]
