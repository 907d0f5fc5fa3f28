"""Runs the real `ap_fixed` over a grid of formats: compiles ap_fixed_codes.cpp against hls4ml's headers."""

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hgqify.fixed import Format, Overflow, Rounding

SOURCE = Path(__file__).with_name("ap_fixed_codes.cpp")
ROUNDINGS = tuple(mode for mode in Rounding if not mode.is_stochastic)
OVERFLOWS = tuple(Overflow)

WIDE = Format.from_WI(64, 32)
NATURAL = Format.from_WI(20, 7, signed=False)
COARSE = Format.from_WI(9, 11)


@dataclass(frozen=True)
class Target:
    """One type of the grid."""

    format: Format
    rounding: Rounding
    overflow: Overflow

    @property
    def macro(self) -> str:
        signed = "true" if self.format.k else "false"
        return (
            f"FORMAT({signed}, {self.format.W}, {self.format.I}, "
            f"{self.rounding.ap_name}, {self.overflow.ap_name})"
        )

    def __str__(self) -> str:
        return f"{self.format} {self.rounding} {self.overflow}"


@dataclass(frozen=True)
class Values:
    """What is assigned to every type: doubles, and codes of three fixed-point sources."""

    doubles: np.ndarray
    wide: np.ndarray
    natural: np.ndarray
    coarse: np.ndarray

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return (self.doubles, self.wide, self.natural, self.coarse)


def aborts(source: Format, target: Target) -> bool:
    """Whether the headers fail an assertion when they assign ``source`` to ``target``: no codes exist then.

    They read the bit below the target's LSB; if the source ends below it, that bit lies beyond its MSB.
    """
    return target.rounding is not Rounding.TRN and source.f - target.format.f > source.W


def targets(formats: list[Format], *, all_modes: bool) -> list[Target]:
    """Every format with all modes, or with each rounding once and the overflow modes in turn.

    `ap_ufixed` with AP_WRAP_SM is left out: its constructor prints an error and ends the program.
    """
    grid = []
    for number, fmt in enumerate(formats):
        for place, rounding in enumerate(ROUNDINGS):
            modes = [mode for mode in OVERFLOWS if fmt.k or mode is not Overflow.WRAP_SM]
            chosen = modes if all_modes else [modes[(number + place) % len(modes)]]
            grid += [Target(fmt, rounding, overflow) for overflow in chosen]
    return grid


def compiler() -> str | None:
    """Path of g++, if there is one."""
    return shutil.which("g++")


def _headers() -> Path:
    # find_spec does not run the package: importing hls4ml costs seconds.
    spec = importlib.util.find_spec("hls4ml")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("hls4ml is not installed: it ships the ap_types headers")
    return Path(spec.submodule_search_locations[0], "templates", "vivado", "ap_types")


def run(grid: list[Target], values: Values, folder: Path) -> list[tuple[np.ndarray, ...]]:
    """For each type of the grid the codes of each block of values."""
    gxx = compiler()
    if gxx is None:
        raise FileNotFoundError("g++")
    (folder / "grid.inc").write_text("".join(f"{target.macro}\n" for target in grid))
    program, data, codes = folder / "ap_fixed_codes", folder / "values.bin", folder / "codes.bin"
    subprocess.run(
        [
            gxx,
            "-std=c++14",
            "-O0",
            "-w",
            "-DNDEBUG",
            f"-I{_headers()}",
            f"-I{folder}",
            str(SOURCE),
            "-o",
            str(program),
        ],
        check=True,
    )
    with data.open("wb") as file:
        for block in values.blocks:
            file.write(np.int64(block.size).tobytes() + block.tobytes())
    subprocess.run([str(program), str(data), str(codes)], check=True, stdout=subprocess.DEVNULL)
    sizes = [block.size for block in values.blocks]
    table = np.fromfile(codes, np.int64).reshape(len(grid), sum(sizes))
    return [tuple(np.split(row, np.cumsum(sizes)[:-1])) for row in table]


def values_for(formats: list[Format], seed: int) -> Values:
    """Values that probe the formats: ends, ties and their neighbours, all scales, extremes."""
    rng = np.random.default_rng(seed)
    quarters = np.arange(-8, 9) / 4
    probes = [np.array([0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 1e300, -1e300])]
    probes.append(np.array([np.finfo(np.float64).max, -np.finfo(np.float64).max, 2.0**63, -(2.0**63)]))
    for fmt in formats:
        lsb, span = 2.0**-fmt.f, 2.0**fmt.i
        # Around 0, the ends, and the ends of the neighbouring periods, a quarter of an LSB apart.
        centres = np.array([-2 * span, -1.5 * span, -span, 0, span, 1.5 * span, 2 * span])
        probes.append((centres[:, None] + quarters * lsb).ravel())
        probes.append(rng.uniform(-4 * span, 4 * span, 12))
    near = np.nextafter(np.concatenate(probes[2:])[::7], np.inf)
    scales = np.ldexp(rng.uniform(-1, 1, 300), rng.integers(-70, 70, 300))
    doubles = np.concatenate([*probes, near, scales])
    doubles = np.unique(doubles.view(np.int64)).view(np.float64)

    limit = 1 << 61
    exact = doubles[np.abs(doubles) < 2.0**29]
    wide = np.concatenate(
        [np.floor(np.ldexp(exact, WIDE.f)).astype(np.int64), rng.integers(-limit, limit, 200)]
    )
    natural = np.concatenate([rng.integers(0, 1 << 20, 300), np.arange(40), (1 << 20) - 1 - np.arange(40)])
    return Values(doubles, np.unique(wide), np.unique(natural), np.arange(-256, 256))
