"""`hgqify export DIR -o FOLDER`: the project of a result again, for another backend or interface."""

from pathlib import Path
from typing import Any

import click

from hgqify.cli.convert_options import build_options, export_part_option
from hgqify.cli.options import given, library
from hgqify.cli.output import show_fact


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Folder of the new project.",
)
@click.option("--force", is_flag=True, help="Replace a project that is there.")
@click.option("--backend", metavar="NAME", help="Tool the project is written for.")
@click.option(
    "--io-type", type=click.Choice(["io_parallel", "io_stream"]), help="Pass tensors at once, or as a stream."
)
@build_options
@export_part_option
def export(*, directory: Path, output: Path, force: bool, export_part: str | None, **options: Any) -> None:
    """Write the hls4ml project of the result in DIR again, in another way.

    What is not given stays as the result was written. The integers stay the same; nothing is calibrated or
    trained. The result itself is not changed.

    \b
    Examples:
      hgqify export model_hgq -o model_stream --io-type io_stream
      hgqify export model_hgq -o model_quartus --backend Quartus --strategy Resource --reuse-factor 4
    """
    written = library().export_saved(directory, output, force=force, **given(extent=export_part, **options))
    for note in written.notes:
        show_fact("note", note, "attention")
    show_fact("written", f"to {output}/: an hls4ml project")
