"""`hgqify inspect MODEL`: a look before the work."""

import dataclasses
import json
from typing import Any

import click

from hgqify.cli.options import given, library, unsafe_option, unsupported_option
from hgqify.cli.output import table


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@unsupported_option
@unsafe_option
@click.pass_context
def inspect(
    ctx: click.Context, *, model: str, as_json: bool, unsupported: str | None, unsafe: bool | None
) -> None:
    """Say for every layer of MODEL whether it would be converted, and why not.

    Exit status 0: the model can be converted. 1: some layers are refused. 2: misuse.

    \b
    Examples:
      hgqify inspect model.keras
      hgqify inspect model.keras --json
      hgqify inspect model.keras --unsupported keep
    """
    report = library().inspect(model, **given(safe_mode=False if unsafe else None, unsupported=unsupported))
    entries = report.entries
    refused = [entry for entry in entries if entry.status == "refused"]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))
    else:
        rows = [(entry.layer, entry.kind, str(entry.status), _note(entry)) for entry in entries]
        click.echo(table(("layer", "kind", "", "note"), rows))
        counts = {str(entry.status): 0 for entry in entries}
        for entry in entries:
            counts[str(entry.status)] += 1
        click.echo("\n" + ", ".join(f"{count} {status}" for status, count in counts.items()))
    ctx.exit(1 if refused else 0)


def _note(entry: Any) -> str:
    return ". ".join(text for text in (entry.reason, entry.remedy) if text)
