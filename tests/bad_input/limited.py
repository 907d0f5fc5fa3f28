"""Run lines of the command line under limits of the system: `python limited.py LIMIT BYTES LINE ...`.

LIMIT is the name of a limit of `resource`; for memory, BYTES are counted from what is taken when the good
model has been looked at once. Prints a JSON object for every line: its exit status, output, and error.
"""

import json
import resource
import shlex
import sys
from pathlib import Path

from click.testing import CliRunner

from hgqify.cli import main


def taken() -> int:
    """Bytes of memory that are this process's own."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    return pages * resource.getpagesize()


def invoked(line: str) -> dict[str, object]:
    result = CliRunner().invoke(main, shlex.split(line), prog_name="hgqify")
    raised = None if isinstance(result.exception, SystemExit | None) else repr(result.exception)
    return {"status": result.exit_code, "stdout": result.stdout, "stderr": result.stderr, "raised": raised}


name, size, *lines = sys.argv[1:]
assert invoked("inspect good.keras")["status"] == 0
limit = int(size) + (taken() if name == "RLIMIT_DATA" else 0)
resource.setrlimit(getattr(resource, name), (limit, limit))
for one in lines:
    print(json.dumps(invoked(one)))
