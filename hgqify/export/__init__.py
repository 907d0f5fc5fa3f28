"""The fixed program printed as an hls4ml project, simulated, and compared code for code.

Write
    write_project, refuse_unprintable, Written; Extent, largest_part, write_part
Say how
    ProjectOptions, LayerOptions, Strategy, BACKENDS, IO_TYPES
Through hls4ml's own converter
    convert_from_keras_model, register (called by `import hgqify`)
Simulate
    compile_project, CSimulation, compiler, compiler_version
Compare
    compare, Computation, locate_keras, compare_programs, compare_weights, random_batches, random_inputs
    Comparison, CheckReport, Limit, Place, Mismatch
"""

from hgqify.export.backends import BACKENDS, Strategy
from hgqify.export.check import Computation, compare, locate_keras
from hgqify.export.compare import CheckReport, Comparison, Limit, Mismatch, Place
from hgqify.export.csim import CSimulation, compile_project, compiler, compiler_version
from hgqify.export.hls4ml_converter import convert_from_keras_model, register
from hgqify.export.options import IO_TYPES, LayerOptions, ProjectOptions
from hgqify.export.parts import Extent, largest_part, write_part
from hgqify.export.programs import compare_programs
from hgqify.export.project import LAYOUT_FILE, Written, refuse_unprintable, write_project
from hgqify.export.stimuli import random_batches, random_inputs
from hgqify.export.weights import compare_weights

__all__ = [
    "BACKENDS",
    "IO_TYPES",
    "LAYOUT_FILE",
    "CSimulation",
    "CheckReport",
    "Comparison",
    "Computation",
    "Extent",
    "LayerOptions",
    "Limit",
    "Mismatch",
    "Place",
    "ProjectOptions",
    "Strategy",
    "Written",
    "compare",
    "compare_programs",
    "compare_weights",
    "compile_project",
    "compiler",
    "compiler_version",
    "convert_from_keras_model",
    "largest_part",
    "locate_keras",
    "random_batches",
    "random_inputs",
    "refuse_unprintable",
    "register",
    "write_part",
    "write_project",
]
