"""The constants of a written project, which it holds twice: for synthesis and for C simulation.

``firmware/weights/w2.h`` is what the vendor tool compiles into hardware, ``w2.txt`` what C simulation reads.
Only the latter is compared with the reference by running it; so the former must say the same.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hgqify.export.backends import find_backend
from hgqify.export.compare import Comparison, Place
from hgqify.export.csim import Layout, read_layout
from hgqify.precision.program import Program

WHAT = "weights for synthesis"


def compare_weights(directory: Path, program: Program) -> tuple[Comparison, ...]:
    """Compare the weights for synthesis with those for C simulation.

    Args:
        directory: of the project.
        program: what the project was written from; it names the layer.

    Returns:
        A comparison if some weights differ (all of a file that cannot be read), none if all are equal.

    Raises:
        ExportError: the folder is no project.
    """
    directory = Path(directory)
    layout = read_layout(directory)
    if not find_backend(layout.backend).weights_twice:
        return ()
    folder = directory / "firmware" / "weights"
    names = sorted({path.stem for path in (*folder.glob("*.h"), *folder.glob("*.txt"))})
    codes = differing = 0
    place: Place | None = None
    for name in names:
        simulated, synthesised = _simulated(folder / f"{name}.txt"), _synthesised(folder / f"{name}.h")
        size = max(simulated.size, synthesised.size, 1)
        a, b = (np.append(v, np.full(size - v.size, np.nan)) for v in (simulated, synthesised))
        unequal = np.flatnonzero(a != b)
        codes, differing = codes + size, differing + unequal.size
        if unequal.size and place is None:
            n = int(unequal[0])
            layer, node = _reader(name, directory, layout, program)
            lsb = 2.0 ** -_decimals(folder / f"{name}.txt")
            place = Place(
                layer=layer,
                node=f"{node}: {name}.h",
                sample=0,
                index=(n,),
                expected=float(a[n]),
                found=float(b[n]),
                codes=float(abs(a[n] - b[n]) / lsb),
            )
    if not differing:
        return ()
    inputs = "firmware/weights/*.txt"
    return (
        Comparison(
            what=WHAT, inputs=inputs, samples=len(names), codes=codes, differing=differing, place=place
        ),
    )


def _numbers(text: str) -> np.ndarray:
    """Numbers between commas; not a number where there is none, which equals nothing."""
    values = []
    for part in text.split(","):
        try:
            values.append(float(part))
        except ValueError:
            values.append(float("nan"))
    return np.asarray(values)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _simulated(path: Path) -> np.ndarray:
    return _numbers(_read(path))


def _synthesised(path: Path) -> np.ndarray:
    """The array behind ``#else``, which is compiled where ``__SYNTHESIS__`` is defined."""
    found = re.search(r"#else\s[^{}]*=\s*\{([^{}]*)\};", _read(path))
    return _numbers(found[1] if found else "")


def _decimals(path: Path) -> int:
    """hls4ml prints as many decimals as the type has fractional bits."""
    return len(_read(path).partition(",")[0].partition(".")[2])


def _reader(name: str, directory: Path, layout: Layout, program: Program) -> tuple[str, str]:
    """Keras layer and node of the call that reads an array, by the name hls4ml writes behind the call."""
    source = _read(directory / "firmware" / f"{layout.project}.cpp")
    found = re.search(rf"\(.*\b{name}\b.*\); // (\S+)", source)
    printed = found[1] if found else name
    node = layout.nodes.get(printed, printed)
    return (program.by_name[node].layer if node in program.by_name else "", node)
