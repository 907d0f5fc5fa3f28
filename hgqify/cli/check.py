"""`hgqify check DIR --data FILE`: for continuous integration."""

from pathlib import Path

import click

from hgqify.cli.options import (
    csim_option,
    data_options,
    given,
    library,
    quiet_option,
    seed_option,
    single,
    unsafe_option,
)
from hgqify.files import atomic_write, check_file_target
from hgqify.progress import no_progress

_STDOUT = "-"


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@data_options("--data", "data", "Data to compare on", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Compare the first N samples. Default: all."
)
@click.option(
    "--random",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    metavar="N",
    help="Compare on N random inputs too: in range, on ties, at the ends, far outside.",
)
@csim_option
@click.option(
    "--float64",
    is_flag=True,
    default=None,
    help="Run Keras in float64: exact where sums are too wide for float32.",
)
@seed_option
@unsafe_option
@click.option(
    "--json",
    "json_target",
    is_flag=False,
    flag_value=_STDOUT,
    metavar="[FILE]",
    help="Write everything as JSON to FILE, or as the only output to stdout (no FILE, or -).",
)
@quiet_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    directory: Path,
    data: str | None,
    key: tuple[str, ...],
    allow_pickle: bool | None,
    limit: int | None,
    random: int,
    csim: bool | None,
    float64: bool | None,
    seed: int | None,
    unsafe: bool | None,
    json_target: str | None,
    quiet: bool,
) -> None:
    """Compare Keras, the integer reference and C simulation of the result in DIR, code for code.

    Exit status 0: all codes are equal. 1: some differ; the first layer and element are named. 2: misuse.
    Data and random inputs are streamed: memory does not grow with their number.

    \b
    Examples:
      hgqify check model_hgq --data fixtures/kws/holdout.npz
      hgqify check model_hgq --random 1000 --seed 1
      hgqify check model_hgq --data fixtures/kws/holdout.npz --quiet --json check.json
    """
    if data is None and random == 0:
        raise click.UsageError("There is nothing to compare on: give --data FILE, or --random above 0.", ctx)
    if json_target not in (None, _STDOUT):
        check_file_target(json_target)
    report = library().check(
        directory,
        data=data,
        random=random,
        **given(
            key=single(key),
            allow_pickle=allow_pickle,
            limit=limit,
            csim=csim,
            float64=float64,
            seed=seed,
            safe_mode=False if unsafe else None,
            progress=no_progress if quiet else None,
        ),
    )
    if json_target == _STDOUT:
        click.echo(report.to_json())
    else:
        if json_target is not None:
            atomic_write(json_target, report.to_json() + "\n")
        click.echo(report.summary())
    ctx.exit(0 if report.exact else 1)
