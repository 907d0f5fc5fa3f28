"""`hgqify MODEL --calib FILE`: the whole way from a float model to a checked project."""

import json
import shutil
from pathlib import Path
from typing import Any

import click

from hgqify.cli.convert_options import (
    MARKER,
    budget_options,
    correct_bias_option,
    export_part_option,
    project_options,
    training_options,
    width_options,
)
from hgqify.cli.group import told_command
from hgqify.cli.options import (
    asked,
    config_option,
    csim_option,
    data_options,
    given,
    json_option,
    labels_option,
    library,
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


def _exportable(settings: dict[str, Any], export_part: str | None) -> Any:
    """What must be printable, said before the fine-tuning; of minifloats there is no project at all."""
    types = [settings.get("q_type"), *(rule.q_type for rule in settings.get("rules") or ())]
    if "float" in types:
        return False
    return library().Extent(export_part) if export_part == "largest" else True


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
@budget_options
@width_options
@correct_bias_option
@training_options
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
        exportable=_exportable(settings, export_part),
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
