"""`hgqify MODEL --calib FILE`: the whole way from a float model to a checked project."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hgqify.cli.group import told_command
from hgqify.cli.options import (
    asked,
    budgets_option,
    compensate_option,
    config_option,
    csim_option,
    data_options,
    given,
    json_option,
    labels_option,
    library,
    max_drop_option,
    quiet_option,
    refuse_both,
    seed_option,
    single,
    softmax_option,
    unsafe_option,
    unsupported_option,
    verbose_option,
)
from hgqify.cli.output import STDOUT, show_result, write_json
from hgqify.files import check_file_target, check_target
from hgqify.progress import TextProgress, no_progress

MARKER = "report.json"

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


_correct_bias_option = click.option(
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


def _budget_options(function: _F) -> _F:
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


def _training_options(function: _F) -> _F:
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


@click.command()
@click.argument("model")
@data_options("--calib", "calib", "Calibration data, as the model takes it", required=False)
@labels_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Output folder. Default: <model>_hgq in the working folder.",
)
@click.option("--force", is_flag=True, help="Replace an existing result, and what is left of a fine-tuning.")
@config_option
@_budget_options
@width_options
@_correct_bias_option
@_training_options
@project_options
@softmax_option
@unsupported_option
@export_part_option
@click.option(
    "--check/--no-check", "run_check", default=True, help="Compare all codes at the end. Default: on."
)
@click.option(
    "--check-samples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    metavar="N",
    help="Samples, and random inputs, to compare.",
)
@csim_option
@seed_option
@unsafe_option
@json_option
@verbose_option
@quiet_option
@click.pass_context
def convert(
    ctx: click.Context,
    *,
    model: str,
    calib: str | None,
    key: tuple[str, ...],
    allow_pickle: bool | None,
    output: Path | None,
    force: bool,
    config: str | None,
    run_check: bool,
    check_samples: int,
    csim: bool | None,
    unsafe: bool | None,
    export_part: str | None,
    quiet: bool,
    verbose: bool,
    json_target: str | None,
    training_folder: Path | None,
    resume: bool | None,
    **settings: Any,
) -> None:
    """Convert the Keras model MODEL (.keras, .h5) to fixed point.

    Writes a folder with the quantized Keras model (model.keras), a report (report.html for people,
    report.json for programs), the settings that make it again (config.toml) and an hls4ml project (hls/),
    then compares Keras, the integer reference and C simulation code for code.

    \b
    Examples:
      hgqify model.keras --calib calib.npz
      hgqify model.keras --calib calib.npz --bits 6 -o model_6bit --verbose
      hgqify model.keras --calib calib.npz --target-ebops 6000 --finetune-steps 400 -o model_small
      hgqify model.keras --calib calib.npz --strategy Resource --reuse-factor 4 -o model_slow
      hgqify model.keras --config model_hgq/config.toml -o model_again
    """
    refuse_both(quiet=quiet, verbose=verbose)
    target = output or Path(f"{Path(model).stem}_hgq")
    # Minutes of work end here: what can be known to fail is refused before.
    check_target(target, force=force, marker=MARKER)
    if json_target not in (None, STDOUT):
        check_file_target(json_target)
    training = training_folder or target.with_name(f"{target.name}.training")
    hgqify = library()
    settings = asked(config, calib=calib, key=single(key), allow_pickle=allow_pickle, **settings)
    data = settings.pop("calib")
    kept = given(training_folder=training, resume=resume, force=force or None)
    if "budgets" in settings and training_folder is None and resume is None:  # a sweep trains nothing
        kept = {}
    result = hgqify.convert(
        model,
        data,
        exportable=hgqify.Extent(export_part) if export_part == "largest" else True,
        **kept,
        progress=no_progress if quiet else TextProgress(),
        **given(safe_mode=False if unsafe else None),
        **settings,
    )
    written = result.save(target, force=force, command=told_command(ctx), **given(extent=export_part))
    interrupted = bool(result.report.finetune.get("interrupted"))
    if kept and training_folder is None and not interrupted:
        shutil.rmtree(training, ignore_errors=True)
    report = None
    if run_check:
        if not quiet:
            click.echo("comparing Keras, integer reference and C simulation", err=True)
        report = hgqify.check(
            target,
            data=data,
            random=check_samples,
            limit=check_samples,
            **given(
                key=settings.get("key"),
                allow_pickle=allow_pickle,
                csim=csim,
                seed=settings.get("seed"),
                safe_mode=False if unsafe else None,
                progress=no_progress if quiet else None,
            ),
        )
        hgqify.record_check(target, report.to_dict())
    if json_target is not None:
        everything = {
            "written": str(target),
            "notes": list(written.notes),
            "report": result.report.to_dict(),
            "check": None if report is None else json.loads(report.to_json()),
        }
        write_json(everything, json_target)
    if json_target != STDOUT:
        show_result(result, target, report, written.notes, verbose=verbose)
    if interrupted:
        click.echo(
            f"the fine-tuning can go on: run again with --resume --force (state in {training}/)",
            err=json_target == STDOUT,
        )
    if report is not None and not report.exact:
        ctx.exit(1)
