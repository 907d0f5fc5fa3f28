"""The command line, as the tests of kept layers call it."""

from click.testing import CliRunner

from hgqify.cli.main import main


def run_cli(*arguments: object, status: int = 0) -> str:
    """What it prints; it must end with the status given."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == status, done.output
    return done.output
