"""Options of a conversion: widths, budget, fine-tuning, project."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hgqify.cli.options import budgets_option, compensate_option, max_drop_option

MARKER = "report.json"
"""The file that tells a result from other folders."""

_F = TypeVar("_F", bound=Callable[..., Any])

_WIDTH = click.IntRange(min=1)
_GRANULARITY = click.Choice(["tensor", "channel", "element"])


def width_options(function: _F) -> _F:
    for option in (
        click.option("--output-bits", type=_WIDTH, metavar="N", help="Width of the model outputs."),
        click.option(
            "--percentile",
            type=click.FloatRange(min=0, max=100, min_open=True),
            metavar="P",
            help="Per cent of the values seen, zeros not counted, that must not saturate. Default: 99.9, "
            "with --ranges percentile.",
        ),
        click.option(
            "--ranges",
            type=click.Choice(["minmax", "percentile", "mse"], case_sensitive=False),
            help="Range of activations that saturate: all values seen (the default), a percentile of them, "
            "or what loses least at their width (mse).",
        ),
        click.option("--input-bits", type=_WIDTH, metavar="N", help="Width of the model inputs."),
        click.option(
            "--margin",
            type=click.IntRange(min=0),
            metavar="N",
            help="Integer bits above the observed ranges, where activations wrap.",
        ),
        click.option(
            "--overflow",
            type=click.Choice(["WRAP", "SAT", "SAT_SYM", "PROVED", "AUTO"], case_sensitive=False),
            help="What activations do beyond their range: wrap around, go to its end (the default), or wrap "
            "with so many bits that no input at all can overflow (PROVED); AUTO saturates, or adds these "
            "bits where they are cheaper.",
        ),
        click.option(
            "--activation-granularity",
            type=_GRANULARITY,
            help="Along which axes the widths of activations differ.",
        ),
        click.option(
            "--weight-granularity", type=_GRANULARITY, help="Along which axes the widths of weights differ."
        ),
        click.option(
            "--activation-bits",
            type=_WIDTH,
            metavar="N",
            help="Width of activations at multipliers, sign included.",
        ),
        click.option("--weight-bits", type=_WIDTH, metavar="N", help="Width of weights, sign included."),
        click.option(
            "--q-type",
            type=click.Choice(["kif", "float"], case_sensitive=False),
            help="What weights and the data they multiply become: fixed point (kif, the default), or "
            "minifloats (float; 8 bits are e4m3), of which there is no hls4ml project.",
        ),
        click.option(
            "--bits",
            type=click.IntRange(min=2),
            metavar="N",
            help="One width for all that is multiplied: weights, activations, inputs, entries of tables.",
        ),
        click.option(
            "--equalize/--no-equalize",
            default=None,
            help="Scale channels by powers of two, so that one format suits all of a tensor. Default: off.",
        ),
    ):
        function = option(function)
    return function


correct_bias_option = click.option(
    "--correct-bias/--no-correct-bias",
    default=None,
    help="Let biases take back what rounding shifts on average. Default: off.",
)


export_part_option = click.option(
    "--export-part",
    type=click.Choice(["largest"]),
    help="Of a model with layers kept in float, write the largest part that is firmware by itself. Default: "
    "no project of such a model.",
)


def budget_options(function: _F) -> _F:
    for option in (
        compensate_option,
        budgets_option("Several --target-ebops, as 8000,4000: the point that `hgqify sweep` would choose."),
        max_drop_option,
        click.option(
            "--target-ebops",
            type=click.IntRange(min=1),
            metavar="N",
            help="Most EBOPs (effective bit operations) of the model: bits go where they matter.",
        ),
    ):
        function = option(function)
    return function


def training_options(function: _F) -> _F:
    for option in (
        click.option(
            "--training-folder",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Keeps the state of the fine-tuning and the best models it passes through. Default: "
            "<output>.training, removed once the result is written.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            default=None,
            help="Go on with a fine-tuning that was stopped or killed.",
        ),
        click.option(
            "--devices",
            type=click.Choice(["one", "all"]),
            help="Split every batch of the fine-tuning over all devices. Default: one.",
        ),
        click.option(
            "--label-weight",
            type=click.FloatRange(0, 1),
            metavar="SHARE",
            help="Share of the labels in the loss, where there are some.",
        ),
        click.option(
            "--width-rate",
            type=click.FloatRange(min=0, min_open=True),
            metavar="RATE",
            help="Of trained widths, in bits per step.",
        ),
        click.option(
            "--stochastic-rounding/--no-stochastic-rounding",
            default=None,
            help="While widths are trained, round up with the probability of what is dropped.",
        ),
        click.option(
            "--width-gradient-part",
            type=click.IntRange(min=1),
            metavar="N",
            help="Take the gradient of activation widths from 1/N of every batch: faster steps.",
        ),
        click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Samples per step."),
        click.option(
            "--learning-rate",
            type=click.FloatRange(min=0, min_open=True),
            metavar="RATE",
            help="Of the fine-tuning.",
        ),
        click.option(
            "--finetune-steps", type=click.IntRange(min=0), metavar="N", help="Steps of fine-tuning; 0: none."
        ),
    ):
        function = option(function)
    return function


def build_options(function: _F) -> _F:
    positive = click.FloatRange(min=0, min_open=True)
    for option in (
        click.option("--project-name", metavar="NAME", help="Name of the top function."),
        click.option(
            "--parallelization-factor",
            type=click.IntRange(min=1),
            metavar="N",
            help="Positions of a convolution computed at once; io_parallel only.",
        ),
        click.option(
            "--reuse-factor",
            type=click.IntRange(min=1),
            metavar="N",
            help="How often one multiplier is used. Default: 1, fully parallel.",
        ),
        click.option(
            "--strategy",
            type=click.Choice(["Latency", "Resource", "Resource_unrolled"], case_sensitive=False),
            help="How hls4ml builds dot products.",
        ),
        click.option(
            "--clock-uncertainty", type=positive, metavar="PERCENT", help="In percent of the clock period."
        ),
        click.option("--clock-period", type=positive, metavar="NS", help="In nanoseconds."),
        click.option("--part", metavar="NAME", help="FPGA part number."),
    ):
        function = option(function)
    return function


def project_options(function: _F) -> _F:
    for option in (
        build_options,
        click.option(
            "--io-type",
            type=click.Choice(["auto", "io_parallel", "io_stream"]),
            help="Pass tensors at once, or as a stream. Default: auto, streams for large tensors.",
        ),
        click.option("--backend", metavar="NAME", help="Tool the project is written for. Default: Vitis."),
    ):
        function = option(function)
    return function
