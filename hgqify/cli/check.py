"""`hgqify check DIR --data FILE`: for continuous integration."""

import time
from pathlib import Path

import click

from hgqify.cli.options import (
    csim_option,
    data_options,
    given,
    json_option,
    library,
    quiet_option,
    seed_option,
    single,
    unsafe_option,
)
from hgqify.cli.output import STDOUT, show_check
from hgqify.files import atomic_write, check_file_target
from hgqify.progress import no_progress


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
    "--labels",
    metavar="FILE|NAME",
    help="Labels for --min-metric: a file, or an array in the data file. Default: its array y.",
)
@click.option(
    "--max-ebops", type=click.IntRange(min=0), metavar="N", help="Fail if the model takes more EBOPs."
)
@click.option(
    "--min-metric",
    type=float,
    metavar="X",
    help="Fail if accuracy on the labelled data (R2 for labels that name no classes) is below X, at most 1.",
)
@click.option(
    "--junit",
    metavar="FILE",
    help="Write JUnit XML for CI services: a test case for every comparison and every limit.",
)
@click.option("--record", is_flag=True, help="Write the verdict into report.json and report.html of DIR too.")
@json_option
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
    labels: str | None,
    max_ebops: int | None,
    min_metric: float | None,
    junit: str | None,
    record: bool,
    json_target: str | None,
    quiet: bool,
) -> None:
    """Compare Keras, the integer reference and C simulation of the result in DIR, code for code.

    Exit status 0: all codes are equal and limits are kept. 1: some codes differ, and the first layer and
    element are named; or a limit is left. 2: misuse.
    Data and random inputs are streamed: memory does not grow with their number.

    \b
    Examples:
      hgqify check model_hgq --data holdout.npz
      hgqify check model_hgq --random 1000 --seed 1 --json check.json
      hgqify check model_hgq --data holdout.npz --record
      hgqify check model_hgq --data holdout.npz --max-ebops 20000 --min-metric 0.9 --junit check.xml
    """
    if data is None and random == 0:
        raise click.UsageError("There is nothing to compare on: give --data FILE, or --random above 0.", ctx)
    for target in (json_target, junit):
        if target not in (None, STDOUT):
            check_file_target(target)
    started = time.monotonic()
    report = library().check(
        directory,
        data=data,
        random=random,
        **given(
            key=single(key),
            allow_pickle=allow_pickle,
            limit=limit,
            labels=labels,
            max_ebops=max_ebops,
            min_metric=min_metric,
            csim=csim,
            float64=float64,
            seed=seed,
            safe_mode=False if unsafe else None,
            progress=no_progress if quiet else None,
        ),
    )
    if record:
        library().record_check(directory, report.to_dict())
    if junit is not None:
        atomic_write(junit, report.to_junit(seconds=time.monotonic() - started))
    if json_target not in (None, STDOUT):
        atomic_write(json_target, report.to_json() + "\n")
    if json_target == STDOUT:
        click.echo(report.to_json())
    else:
        show_check(report)
    ctx.exit(0 if report.passed else 1)
