"""hgqify: trained float Keras models to bit-exact fixed-point firmware.

Do
    convert(model, calib) -> Result     check(directory, data=...) -> CheckReport
    inspect(model) -> ConversionReport  sweep(model, calib, budgets) -> Sweep
    compare(first, second, data=...) -> ResultComparison    export_saved(directory, output) -> Written
    import_hgq2(model, output) -> Imported: a trained HGQ2 model
Know
    certify(model) -> Certificate       overflow_statement(model, data) -> OverflowStatement
    render_report(directory) -> Path    record_check(directory, report): the page of a saved result
Say how
    Rule, ConvertSettings, CalibrateSettings, FinetuneSettings, OwnTraining, ProjectOptions
    load_code(path) -> custom_objects: the classes that a Python file of the user's defines
    load_settings(path) -> keyword arguments of convert, from a TOML file
    settings_template(model, report) -> such a file, every option at its default and commented out
By hand
    hgqify.layers, hgqify.quantizers, hgqify.config (scopes), hgqify.utils (ranges, EBOPs, callbacks)
    hgqify.hgq2 (models from HGQ2, and back)

Importing hgqify registers its layers with Keras, so that `keras.saving.load_model` finds them, and with
hls4ml, so that `hls4ml.converters.convert_from_keras_model` does.
"""

import hgqify.backend

hgqify.backend.choose_backend()

import hgqify.export  # noqa: E402
import hgqify.version  # noqa: E402
from hgqify import config, hgq2, layers, quantizers, utils  # noqa: E402
from hgqify.api import convert, inspect  # noqa: E402
from hgqify.calibrate import CalibrateSettings  # noqa: E402
from hgqify.checking import check, load_program  # noqa: E402
from hgqify.comparing import ResultComparison, compare  # noqa: E402
from hgqify.convert import ConversionReport, ConvertSettings, Rule  # noqa: E402
from hgqify.custom_code import load_code  # noqa: E402
from hgqify.errors import HgqifyError  # noqa: E402
from hgqify.export import CheckReport, Extent, ProjectOptions  # noqa: E402
from hgqify.exporting import export_saved  # noqa: E402
from hgqify.finetune import FinetuneSettings, OwnTraining  # noqa: E402
from hgqify.importing import Imported, import_hgq2  # noqa: E402
from hgqify.pareto import Sweep, SweepPoint  # noqa: E402
from hgqify.precision import Certificate  # noqa: E402
from hgqify.reference import OverflowStatement  # noqa: E402
from hgqify.report import record_check, render_report  # noqa: E402
from hgqify.result import Result  # noqa: E402
from hgqify.settings_file import load_settings  # noqa: E402
from hgqify.settings_template import settings_template  # noqa: E402
from hgqify.statements import certify, overflow_statement  # noqa: E402
from hgqify.sweep import sweep  # noqa: E402

hgqify.export.register()

__version__ = hgqify.version.hgqify_version()

__all__ = [
    "CalibrateSettings",
    "Certificate",
    "CheckReport",
    "ConversionReport",
    "ConvertSettings",
    "Extent",
    "FinetuneSettings",
    "HgqifyError",
    "Imported",
    "OverflowStatement",
    "OwnTraining",
    "ProjectOptions",
    "Result",
    "ResultComparison",
    "Rule",
    "Sweep",
    "SweepPoint",
    "certify",
    "check",
    "compare",
    "config",
    "convert",
    "export_saved",
    "hgq2",
    "import_hgq2",
    "inspect",
    "layers",
    "load_code",
    "load_program",
    "load_settings",
    "overflow_statement",
    "quantizers",
    "record_check",
    "render_report",
    "settings_template",
    "sweep",
    "utils",
]
