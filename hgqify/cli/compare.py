"""`hgqify compare A B`: two results side by side."""

from pathlib import Path
from typing import Any

import click

from hgqify.cli.options import data_options, given, json_option, library, single, unsafe_option
from hgqify.cli.output import STDOUT, bits, show_fact, table, write_json
from hgqify.files import check_file_target


@click.command()
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@data_options("--data", "data", "Data to run both on", required=False)
@click.option(
    "--labels",
    metavar="FILE|NAME",
    help="Labels: a file, or an array in the data file. Default: its array y.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Run on the first N samples. Default: all."
)
@click.option(
    "--exit-code", is_flag=True, help="Exit with 1 if they compute different integers, as diff does."
)
@unsafe_option
@json_option
@click.pass_context
def compare(
    ctx: click.Context,
    *,
    first: Path,
    second: Path,
    data: str | None,
    key: tuple[str, ...],
    allow_pickle: bool | None,
    labels: str | None,
    limit: int | None,
    exit_code: bool,
    unsafe: bool | None,
    json_target: str | None,
) -> None:
    """Put the results in the folders A and B side by side: EBOPs, quality, settings, widths, integers, codes.

    Exit status 0, unless --exit-code is given: then 1 if they compute different integers. 2: misuse.

    \b
    Examples:
      hgqify compare model_hgq model_6bit
      hgqify compare model_hgq model_6bit --data holdout.npz
      hgqify compare model_hgq model_6bit --json comparison.json
    """
    if json_target not in (None, STDOUT):
        check_file_target(json_target)
    found = library().compare(
        first,
        second,
        **given(
            data=data,
            labels=labels,
            limit=limit,
            key=single(key),
            allow_pickle=allow_pickle,
            safe_mode=False if unsafe else None,
        ),
    )
    if json_target is not None:
        write_json(found.to_dict(), json_target)
    if json_target != STDOUT:
        _show(found)
    ctx.exit(1 if exit_code and found.differs else 0)


def _show(found: Any) -> None:
    show_fact("A", found.names[0])
    show_fact("B", found.names[1])
    a, b = found.ebops
    change = f" ({100 * (b - a) / a:+.1f} %)" if a else ""
    show_fact("EBOPs", f"{a:,} -> {b:,}{change}")
    for name, scale in (("accuracy", 100), ("agreement", 100), ("output_sqnr_db", 1)):
        x, y = (quality.get(name) for quality in found.quality)
        if x is not None and y is not None:
            unit = "dB" if scale == 1 else "%"
            told = name.removesuffix("_db").replace("_", " ").replace("sqnr", "SQNR")
            figures = f"{scale * x:.2f} {unit} -> {scale * y:.2f} {unit}"
            show_fact("quality", f"{told} {figures} (calibration data)")
    for name, (x, y) in found.settings.items():
        show_fact("setting", f"{name}: {_told(x)} -> {_told(y)}")
    changed = [layer for layer in found.layers if layer.differs]
    if changed:
        header = ("layer", "kind", "EBOPs", "", "input bits", "", "weight bits", "")
        rows = [
            (
                layer.layer,
                layer.kind,
                *("" if n is None else f"{n:,}" for n in layer.ebops),
                *(bits(w) for w in layer.input_bits),
                *(bits(w) for w in layer.weight_bits),
            )
            for layer in changed
        ]
        click.echo(table(header, rows, right=range(2, len(header))))
    same = len(found.layers) - len(changed)
    show_fact("layers", f"{len(changed)} with other widths or EBOPs, {same} alike")
    show_fact("integers", str(found.integers), "plain" if found.differs else "good")
    if found.on_data is not None:
        _show_data(found.on_data)


def _show_data(on_data: Any) -> None:
    text = f"{on_data.differing:,} of {on_data.values:,} output values differ on {on_data.data}"
    text += f" ({on_data.samples:,} samples), by {on_data.largest:g} at most"
    show_fact("outputs", text)
    if on_data.same_class is not None:
        show_fact("class", f"the same for {100 * on_data.same_class:.2f} %")
    if on_data.metrics is not None:
        a, b = on_data.metrics
        show_fact(a.name, f"{a.value:.4f} -> {b.value:.4f} ({b.value - a.value:+.4f})")


def _told(value: Any) -> str:
    return "none" if value is None else str(value)
