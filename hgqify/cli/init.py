"""`hgqify init MODEL`: a settings file to start from."""

import click

from hgqify.cli.options import given, library, unsafe_option
from hgqify.cli.output import STDOUT, show_fact
from hgqify.files import atomic_write, check_file_target

DEFAULT_FILE = "hgqify.toml"


@click.command()
@click.argument("model")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default=DEFAULT_FILE,
    show_default=True,
    help="The settings file; - for stdout.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@unsafe_option
def init(*, model: str, output: str, force: bool, unsafe: bool | None) -> None:
    """Write a settings file for MODEL, with every option at its default, commented out.

    The layers of the model are there as examples of rules. Change what you like, and convert with --config.

    \b
    Examples:
      hgqify init model.keras
      hgqify init model.keras -o settings.toml
    """
    if output != STDOUT:
        path = check_file_target(output)
        if path.exists() and not force:
            raise click.UsageError(
                f"{output} is there already. Choose another with -o, or replace it with --force."
            )
    hgqify = library()
    report = hgqify.inspect(model, **given(safe_mode=False if unsafe else None))
    text = hgqify.settings_template(model, report)
    if output == STDOUT:
        click.echo(text, nl=False)
        return
    atomic_write(output, text)
    show_fact("written", f"to {output}: change it, then run hgqify {model} --calib FILE --config {output}")
