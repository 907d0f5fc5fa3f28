"""The command group; without the name of a command it converts."""

import click

from hgqify.cli.check import check
from hgqify.cli.compare import compare
from hgqify.cli.completion import completion
from hgqify.cli.convert import convert
from hgqify.cli.export import export
from hgqify.cli.group import ConvertByDefault
from hgqify.cli.import_hgq2 import import_hgq2
from hgqify.cli.init import init
from hgqify.cli.inspect import inspect
from hgqify.cli.output import colours
from hgqify.cli.report import report
from hgqify.cli.sweep import sweep
from hgqify.version import hgqify_version


@click.group(
    cls=ConvertByDefault,
    default=convert,
    commands=[check, compare, completion, export, import_hgq2, init, inspect, report, sweep],
    subcommand_metavar="MODEL | COMMAND ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version=hgqify_version(), prog_name="hgqify")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Turn a trained float Keras model into bit-exact fixed-point firmware for FPGAs.

    \b
    hgqify MODEL --calib FILE [OPTIONS]  convert a model
    hgqify check DIR --data FILE         compare Keras, integers and C simulation; keep limits
    hgqify inspect MODEL                 say what would be converted, and what not
    hgqify init MODEL                    write a settings file to start from
    hgqify sweep MODEL --calib FILE      accuracy under many budgets, from one calibration
    hgqify compare A B                   two results side by side
    hgqify export DIR -o FOLDER          the project again, for another backend or interface
    hgqify import-hgq2 MODEL -o DIR      a trained HGQ2 model, with the same codes
    hgqify report DIR                    write the page of a result, report.html, again
    hgqify completion SHELL              complete commands and options with the Tab key

    `hgqify convert --help` lists the options of a conversion.

    \b
    Examples:
      hgqify model.keras --calib calib.npz
      hgqify check model_hgq --data holdout.npz
      hgqify inspect model.keras

    \b
    Exit status:
      0  done, and every code is equal
      1  computations differ (convert, check), a limit is left (check), layers cannot be converted
         (inspect), integers differ (compare --exit-code)
      2  misuse: a wrong option, file, model or shape; the message says what to do
      130  interrupted
    """
    ctx.color = colours()
