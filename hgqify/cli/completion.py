"""`hgqify completion SHELL`: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

VARIABLE = "_HGQIFY_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and file names.

    \b
    For every new shell:
      bash:  hgqify completion bash > ~/.hgqify-completion && echo '. ~/.hgqify-completion' >> ~/.bashrc
      zsh:   hgqify completion zsh > ~/.hgqify-completion && echo '. ~/.hgqify-completion' >> ~/.zshrc
      fish:  hgqify completion fish > ~/.config/fish/completions/hgqify.fish

    \b
    Examples:
      hgqify completion bash
      hgqify completion zsh
      hgqify completion fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.", ctx)
    click.echo(kind(ctx.find_root().command, {}, "hgqify", VARIABLE).source())
