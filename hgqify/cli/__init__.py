"""The command line: `hgqify MODEL --calib FILE`, `hgqify check`, `hgqify inspect`, `hgqify sweep`."""

from hgqify.cli.main import main

__all__ = ["main"]
