"""How the group finds the command, and the one place where errors become messages."""

import difflib
import errno
import os
import shlex
from pathlib import Path
from typing import Any

import click

from hgqify.errors import HgqifyError

_COMMAND = "hgqify.command"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class ConvertByDefault(click.Group):
    """A group that runs `default` where the first word is no command."""

    def __init__(self, *args: Any, default: click.Command, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default = default
        self.add_command(default)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in self._own_options(ctx):
            self._check_typo(ctx, args[0])
            args = [str(self.default.name), *args]
        ctx.meta[_COMMAND] = shlex.join([str(ctx.find_root().info_name), *args])
        return super().parse_args(ctx, args)

    def _own_options(self, ctx: click.Context) -> set[str]:
        return {name for parameter in self.get_params(ctx) for name in parameter.opts}

    def _check_typo(self, ctx: click.Context, word: str) -> None:
        """A misspelt command would read as the name of a model that does not exist."""
        if word.startswith("-") or Path(word).suffix or os.path.exists(word):
            return
        near = difflib.get_close_matches(word, self.commands, n=1, cutoff=0.7)
        if near:
            raise click.UsageError(f"There is no command or model {word!r}. Did you mean {near[0]!r}?", ctx)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HgqifyError as error:
            _stop(ctx, f"Error: {error}", 2)
        except KeyboardInterrupt:
            _stop(ctx, "Interrupted: no unfinished result was left behind.", 130)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            _stop(ctx, f"Error: {error.strerror}: {error.filename or 'output'}", 2)


def told_command(ctx: click.Context) -> str | None:
    """The command line as it was given, for a report."""
    return ctx.meta.get(_COMMAND)


def _stop(ctx: click.Context, message: str, status: int) -> None:
    click.echo(message, err=True)
    ctx.exit(status)
