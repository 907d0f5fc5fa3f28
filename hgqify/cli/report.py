"""`hgqify report RESULT`: the page of a saved result, again."""

from pathlib import Path

import click

from hgqify.cli.options import library


@click.command()
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to be written. Default: report.html in RESULT.",
)
def report(*, result: Path, output: Path | None) -> None:
    """Write report.html of the folder RESULT, or of a report.json, again.

    The page needs no network and no other file. It is made from report.json alone, whose form
    hgqify/report/report.schema.json describes.

    \b
    Examples:
      hgqify report model_hgq
      hgqify report model_hgq -o model.html
    """
    click.echo(f"written to {library().render_report(result, output)}")
