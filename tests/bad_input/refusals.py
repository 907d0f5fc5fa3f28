"""A line of the command line that must be refused, and what a refusal is."""

import hashlib
import re
import resource
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from hgqify.cli import main

LONGEST = 2000
"""Characters of a message; a list of several mistakes takes the most."""
SECONDS = 20.0
"""Far above what any case takes on a busy machine, and far below what reading a bomb would."""
MEMORY = 300 << 10
"""KiB that the most memory this process ever took may grow by."""


@dataclass(frozen=True)
class Bad:
    """One bad input.

    Attributes:
        what: name of the case.
        make: writes the input to the path it is given.
        told: regular expression that finds in the message what is wrong, what was received, what to do.
        suffix: of the file.
    """

    what: str
    make: Callable[[Path], object]
    told: str
    suffix: str = ".keras"

    def __str__(self) -> str:
        return self.what

    def write(self, folder: Path) -> str:
        """Make the input in a folder; gives its name."""
        name = re.sub(r"\W+", "_", self.what) + self.suffix
        self.make(folder / name)
        return name


def content(folder: Path) -> dict[str, str]:
    """Every path below a folder, and a checksum of what is there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b"link" if path.is_symlink() else b""
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def refused(line: str, folder: Path, temporary: Path) -> str:
    """Run a line in `folder`, which is the working folder; gives back its message.

    Whatever is refused leaves the folder and the folder for temporary files as they were, prints a message
    alone, and takes a bounded time.
    """
    before = content(folder)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    result = CliRunner().invoke(main, shlex.split(line), prog_name="hgqify")
    spent = time.monotonic() - started
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.output
    assert content(folder) == before
    assert content(temporary) == {}
    assert result.stdout == ""
    assert spent < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < most + MEMORY
    message = "\n".join(text for text in result.stderr.splitlines() if not re.match(r"[A-Za-z ]+  \d", text))
    assert not re.search(r"Traceback|Warning|WARNING|<\w[\w.]* object at", message), message
    assert message.startswith(("Error: ", "Usage: "))
    assert len(message) < LONGEST, message
    return message


def assert_told(told: str, message: str) -> None:
    """The message says what it must; otherwise both are shown."""
    assert re.search(told, message, re.DOTALL), f"not found: {told}\nin: {message}"
