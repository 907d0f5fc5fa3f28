"""`hgqify import-hgq2 MODEL -o OUTPUT`: a trained HGQ2 model, with the same codes."""

from pathlib import Path

import click

from hgqify.cli.options import given, library, unsafe_option
from hgqify.cli.output import show_fact


@click.command("import-hgq2")
@click.argument("model", metavar="MODEL")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR|FILE",
    help="A folder for model, integers and firmware project; or a file *.keras for the model alone.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@unsafe_option
def import_hgq2(*, model: str, output: Path, force: bool, unsafe: bool | None) -> None:
    """Read MODEL, which HGQ2 trained and saved, into layers of hgqify with the same codes.

    Formats, weights and tables are HGQ2's; every constant is compared, code for code. Layers without an exact
    counterpart are refused, all at once. Needs HGQ2: pip install 'hgqify[hgq2]'.

    \b
    Examples:
      hgqify import-hgq2 hgq2_model.keras -o imported
      hgqify import-hgq2 hgq2_model.keras -o imported.keras
    """
    options = given(safe_mode=False if unsafe else None)
    imported = library().import_hgq2(model, output, force=force, **options)
    show_fact("EBOPs", f"{imported.ebops:,}")
    proof = imported.certificate
    text = (
        "Keras is proved equal to the integers for every input"
        if proof.proved
        else f"not proved for {len(proof.open)} operations, where HGQ2 may not be exact either"
    )
    show_fact("float32", text)
    for note in imported.notes:
        show_fact("note", note, "attention")
    show_fact("written", _contents(imported.path))


def _contents(path: Path) -> str:
    if path.suffix == ".keras":
        return f"to {path}: a model of hgqify's layers"
    return f"to {path}/: model.keras, program.npz, hls/; compare them with hgqify check {path}"
