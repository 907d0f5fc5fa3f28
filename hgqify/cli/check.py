"""`hgqify check DIR --data FILE`: for continuous integration."""

from pathlib import Path

import click

from hgqify.cli.options import csim_option, data_options, given, library, seed_option, single


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
    help="Compare on N random inputs too, drawn four times beyond the calibrated range.",
)
@csim_option
@seed_option
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
    seed: int | None,
) -> None:
    """Compare Keras, the integer reference and C simulation of the result in DIR, code for code.

    Exit status 0: all codes are equal. 1: some differ; the first layer and element are named. 2: misuse.

    \b
    Examples:
      hgqify check model_hgq --data fixtures/kws/holdout.npz
      hgqify check model_hgq --random 1000 --seed 1
    """
    if data is None and random == 0:
        raise click.UsageError("There is nothing to compare on: give --data FILE, or --random above 0.", ctx)
    report = library().check(
        directory,
        data=data,
        random=random,
        **given(key=single(key), allow_pickle=allow_pickle, limit=limit, csim=csim, seed=seed),
    )
    click.echo(report.summary())
    ctx.exit(0 if report.exact else 1)
