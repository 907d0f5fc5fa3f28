"""`hgqify sweep MODEL --calib FILE -o DIR`: many budgets, one calibration."""

from pathlib import Path
from typing import Any

import click

from hgqify.cli.convert_options import MARKER, project_options, width_options
from hgqify.cli.group import told_command
from hgqify.cli.options import (
    asked,
    budgets_option,
    compensate_option,
    config_option,
    data_options,
    given,
    labels_option,
    library,
    max_drop_option,
    quiet_option,
    seed_option,
    single,
    softmax_option,
    unsafe_option,
    unsupported_option,
)
from hgqify.cli.output import files_in
from hgqify.files import check_target
from hgqify.progress import TextProgress, no_progress


@click.command()
@click.argument("model")
@data_options("--calib", "calib", "Calibration data, as the model takes it", required=False)
@labels_option
@click.option(
    "--validation", metavar="FILE", help="Data to judge the points on. Default: the calibration data."
)
@click.option(
    "--validation-labels", metavar="FILE|NAME", help="Labels of the validation data: a file, or its array."
)
@budgets_option(
    "Most EBOPs of each point, as 2e6,1e6. Default: what the widest formats take, 1/2, 1/4, ... 1/128 of it."
)
@max_drop_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Output folder. Default: <model>_sweep in the working folder. The same command goes on there.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Replace points of another model, data or setting, and what --save-chosen wrote before.",
)
@click.option(
    "--save-chosen",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the chosen point as a result: model.keras, report.json, config.toml, hls/.",
)
@click.option(
    "--jobs", type=int, metavar="N", help="Processes that share the points; -1: one per core. Default: 1."
)
@config_option
@compensate_option
@width_options
@project_options
@softmax_option
@unsupported_option
@seed_option
@unsafe_option
@quiet_option
@click.pass_context
def sweep(
    ctx: click.Context,
    *,
    model: str,
    calib: str | None,
    key: tuple[str, ...],
    allow_pickle: bool | None,
    output: Path | None,
    force: bool,
    save_chosen: Path | None,
    config: str | None,
    unsafe: bool | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Bring MODEL under several budgets of EBOPs, from one calibration.

    Prints a table of EBOPs and accuracy with the chosen point marked, and writes it to sweep.json and
    sweep.png, sweep.svg. The point chosen has the fewest EBOPs that lose at most --max-drop (0.5) points;
    where all lose more, without --max-drop, it is the best. Each point is kept as soon as it is done: after
    an interruption the same command goes on.

    \b
    Examples:
      hgqify sweep model.keras --calib calib.npz
      hgqify sweep model.keras --calib calib.npz --validation holdout.npz --budgets 9000,6000,4000 \\
          --max-drop 2 --save-chosen model_chosen -o model_budgets
    """
    folder = output or Path(f"{Path(model).stem}_sweep")
    if save_chosen is not None:
        check_target(save_chosen, force=force, marker=MARKER)
    settings = asked(config, calib=calib, key=single(key), allow_pickle=allow_pickle, **settings)
    data = settings.pop("calib")
    found = library().sweep(
        model,
        data,
        output=folder,
        force=force,
        exportable=save_chosen is not None,
        progress=no_progress if quiet else TextProgress(),
        **given(safe_mode=False if unsafe else None),
        **settings,
    )
    click.echo(found.table())
    click.echo(f"written to {folder}/: {', '.join(found.files)}, points/")
    if save_chosen is not None:
        written = found.result().save(save_chosen, force=force, command=told_command(ctx))
        for note in written.notes:
            click.echo(f"note: {note}")
        click.echo(f"chosen point written to {save_chosen}/: {files_in(save_chosen)}")
