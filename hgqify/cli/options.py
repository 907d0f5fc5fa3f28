"""Options that several commands share, and how they reach the API."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import click

from hgqify.cli.output import STDOUT

_F = TypeVar("_F", bound=Callable[..., Any])


def library() -> ModuleType:
    """hgqify itself, whose import has chosen a backend and registered the layers with Keras."""
    import hgqify

    return hgqify


def given(**options: Any) -> dict[str, Any]:
    """The options the user gave: all others keep the defaults of the API, which are told once, there."""
    return {name: value for name, value in options.items() if value is not None}


def _together(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def apply(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def data_options(flag: str, name: str, text: str, *, required: bool) -> Callable[[_F], _F]:
    """The data file, the name of its array, and whether pickles may be opened."""
    return _together(
        click.option(flag, name, metavar="FILE", required=required, help=f"{text}: .npy, .npz or HDF5."),
        click.option(
            "--key",
            metavar="NAME",
            multiple=True,
            help="Name of the input array in the file, one per model input. Default: the model's input "
            "names, x, x_train, or the only array.",
        ),
        click.option(
            "--allow-pickle",
            is_flag=True,
            default=None,
            help="Open pickled arrays. They can run code: only for files you trust.",
        ),
    )


def _use_code(ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]) -> None:
    """Run what --import names; Keras finds the classes while the command runs."""
    if not value:
        return
    hgqify = library()
    import keras

    for source in value:
        ctx.with_resource(keras.saving.custom_object_scope(hgqify.load_code(source)))


def unsafe_option(command: _F) -> _F:
    """What lets a model bring code of its own, of which only trusted code may run."""
    return _together(
        click.option(
            "--import",
            metavar="FILE.py|MODULE",
            multiple=True,
            expose_value=False,
            callback=_use_code,
            help="Run this Python code first: it defines the model's own layers. Only code you trust.",
        ),
        click.option(
            "--unsafe",
            is_flag=True,
            default=None,
            help="Load models with Lambda layers. They can run code: only for files you trust.",
        ),
    )(command)


seed_option = click.option("--seed", type=click.IntRange(min=0), help="Seed of all randomness.")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")

verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Print widths, EBOPs and noise of every layer, and all times too."
)

json_option = click.option(
    "--json",
    "json_target",
    is_flag=False,
    flag_value=STDOUT,
    metavar="[FILE]",
    help="Write everything as JSON to FILE, or as the only output to stdout (no FILE, or -).",
)

csim_option = click.option(
    "--csim/--no-csim",
    default=None,
    help="Run the C simulation of the project. Default: if there is a C++ compiler.",
)


labels_option = click.option(
    "--labels",
    metavar="FILE|NAME",
    help="Labels: a file, or an array in the data file. Without any, the float model is the teacher.",
)

config_option = click.option(
    "--config",
    metavar="FILE",
    help="Settings in TOML: tables [data], [convert], [project], [[rule]]; `hgqify init` writes one. What is "
    "given here as an option wins.",
)


def asked(config: str | None, *, calib: str | None, **options: Any) -> dict[str, Any]:
    """What a settings file and the command line ask for; the command line wins.

    Args:
        config: the settings file, if there is one.
        calib: calibration data, which labels and keys in the file do not belong to.
        options: keywords of the API; None for what was not given.

    Raises:
        click.UsageError: there is no calibration data.
    """
    found = {} if config is None else library().load_settings(config, data=calib is None)
    settings = {**found, **given(calib=calib, **options)}
    if "calib" not in settings:
        raise click.UsageError(
            "There is no calibration data. Give it with --calib FILE, or as calib in the table [data] of a "
            "settings file (--config FILE)."
        )
    return settings


def refuse_both(*, quiet: bool, verbose: bool) -> None:
    """More and less at once.

    Raises:
        click.UsageError: both were asked for.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose contradict each other. Leave one of them out.")


softmax_option = click.option(
    "--softmax",
    type=click.Choice(["logits", "convert", "refuse"]),
    help="A softmax at the end: give logits instead (the order of classes is the same), convert, or refuse.",
)

unsupported_option = click.option(
    "--unsupported",
    type=click.Choice(["error", "keep"]),
    help="Layers without a fixed-point form: refuse the model (the default), or keep them in float between "
    "quantizers; the rest stays exact.",
)

compensate_option = click.option(
    "--compensate/--no-compensate",
    default=None,
    help="Under a budget, let the weights make good for rounding. Default: on.",
)

max_drop_option = click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="The fewest EBOPs that lose at most so many percentage points on the calibration data.",
)


class EbopsList(click.ParamType):
    """Whole numbers between commas; 2e6 is one of them."""

    name = "list of EBOPs"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers.

        Raises:
            click.BadParameter: something else, or less than 1.
        """
        if not isinstance(value, str):
            return value
        wrong, found = [], []
        for text in value.split(","):
            try:
                number = float(text)
            except ValueError:
                number = 0.0
            if number >= 1 and number.is_integer():
                found.append(int(number))
            else:
                wrong.append(repr(text))
        if wrong:
            self.fail(f"whole numbers above 0 are needed; received: {', '.join(wrong)}", param, ctx)
        return tuple(found)


def budgets_option(text: str) -> Callable[[_F], _F]:
    """Several budgets, in one option or in several."""

    def joined(
        _ctx: click.Context, _param: click.Parameter, value: tuple[tuple[int, ...], ...]
    ) -> list[int] | None:
        return [number for numbers in value for number in numbers] or None

    return click.option(
        "--budgets", type=EbopsList(), metavar="N,N,...", multiple=True, callback=joined, help=text
    )


def single(key: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """One name, several, or None, of an option that may be repeated."""
    if not key:
        return None
    return key[0] if len(key) == 1 else key
