"""Options that several commands share, and how they reach the API."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import click

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


unsafe_option = click.option(
    "--unsafe",
    is_flag=True,
    default=None,
    help="Load models with Lambda layers. They can run code: only for files you trust.",
)

seed_option = click.option("--seed", type=click.IntRange(min=0), help="Seed of all randomness.")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")

csim_option = click.option(
    "--csim/--no-csim",
    default=None,
    help="Run the C simulation of the project. Default: if there is a C++ compiler.",
)


def single(key: tuple[str, ...]) -> str | tuple[str, ...] | None:
    """One name, several, or None, of an option that may be repeated."""
    if not key:
        return None
    return key[0] if len(key) == 1 else key
