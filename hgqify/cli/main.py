"""The command group; without the name of a command it converts."""

import click

from hgqify.cli.check import check
from hgqify.cli.convert import convert
from hgqify.cli.group import ConvertByDefault
from hgqify.cli.inspect import inspect
from hgqify.cli.report import report
from hgqify.cli.sweep import sweep
from hgqify.version import hgqify_version


@click.group(
    cls=ConvertByDefault,
    default=convert,
    commands=[check, inspect, report, sweep],
    subcommand_metavar="MODEL | COMMAND ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version=hgqify_version(), prog_name="hgqify")
def main() -> None:
    """Turn a trained float Keras model into bit-exact fixed-point firmware for FPGAs.

    \b
    hgqify MODEL --calib FILE [OPTIONS]     convert a model
    hgqify check DIR --data FILE            compare Keras, integers and C simulation
    hgqify inspect MODEL                    say what would be converted, and what not
    hgqify report DIR                       write the page of a result, report.html, again
    hgqify sweep MODEL --calib FILE -o DIR  accuracy under many budgets, from one calibration

    `hgqify convert --help` lists the options of a conversion.

    \b
    Examples:
      hgqify fixtures/kws/model.keras --calib fixtures/kws/calib.npy -o kws_hgq
      hgqify check kws_hgq --data fixtures/kws/holdout.npz
      hgqify inspect fixtures/kws/model.keras
      hgqify sweep fixtures/kws/model.keras --calib fixtures/kws/calib.npy -o kws_sweep

    \b
    Exit status:
      0  done, and every code is equal
      1  computations differ (convert, check), or layers cannot be converted (inspect)
      2  misuse: a wrong option, file, model or shape; the message says what to do
      130  interrupted
    """
