"""Many fixed programs through hls4ml and g++ in few compilations.

A project compiled alone parses hls4ml's headers twice and instantiates the same templates as every other
project. Here the firmware of many projects, each in a namespace of its own, is one translation unit, so
both are done once. What is compiled is what `write_project` wrote, without the calls that trace layers.

    outputs = simulate_many([(program, ProjectOptions(io_type="io_stream"), inputs), ...], tmp_path)
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from hgqify.errors import ExportError
from hgqify.export import CSimulation, ProjectOptions, write_project
from hgqify.export.csim import read_layout
from hgqify.precision import Program

Job = tuple[Program, ProjectOptions, Sequence[np.ndarray]]
Outputs = tuple[np.ndarray, ...]

# Networks in one translation unit: enough to make the headers cheap, few enough for the compiler's memory.
UNIT = 12

_HEADERS = (
    "iostream",
    "array",
    "tuple",
    "algorithm",
    "map",
    "vector",
    "string",
    "cmath",
    "cstddef",
    "cstdio",
)
_TRACING = re.compile(r"#ifndef __SYNTHESIS__\n\s*nnet::save_layer_output[^\n]*\n#endif\n")
_WEIGHTS = re.compile(r'(load_weights_from_txt<[^>]+>\(\w+, )"')
_GLOBALS = """
namespace nnet {
bool trace_enabled = false;
std::map<std::string, void *> *trace_outputs = NULL;
size_t trace_type_size = sizeof(double);
}
"""


def simulate_many(jobs: Sequence[Job], folder: Path, *, unit: int = UNIT) -> list[Outputs]:
    """Outputs of C simulation for many programs, in the order of ``jobs``.

    Args:
        jobs: program (annotated), options (the project's name is replaced) and inputs of each.
        folder: scratch; one project folder per job is left there, ``net0000`` and so on.
        unit: programs in one compilation.

    Raises:
        ExportError: a program cannot be printed.
        AssertionError: names every job that does not compile, or whose C++ aborts, and why.
    """
    results = simulate_each(jobs, folder, unit=unit)
    broken = [f"job {n}: {text}" for n, text in enumerate(results) if isinstance(text, str)]
    if broken:
        raise AssertionError("\n".join(broken))
    return [result for result in results if not isinstance(result, str)]


def simulate_each(jobs: Sequence[Job], folder: Path, *, unit: int = UNIT) -> list[Outputs | str]:
    """As `simulate_many`, with the compiler's or the program's complaint in place of missing outputs."""
    directories = []
    for number, (program, options, _) in enumerate(jobs):
        directories.append(Path(folder) / f"net{number:04d}")
        write_project(program, directories[-1], replace(options, project_name=directories[-1].name))
    built: dict[str, Path | str] = {}
    # Vitis and Vivado have headers of their own.
    backends = {
        directory: options.backend for directory, (_, options, _) in zip(directories, jobs, strict=True)
    }
    for _, group in groupby(sorted(directories, key=lambda d: (backends[d], d)), key=backends.__getitem__):
        members = list(group)
        for start in range(0, len(members), unit):
            built |= build(members[start : start + unit])
    return [
        _run(built[directory.name], directory, job[2])
        for directory, job in zip(directories, jobs, strict=True)
    ]


def _run(library: Path | str, directory: Path, inputs: Sequence[np.ndarray]) -> Outputs | str:
    if isinstance(library, str):
        return library
    scratch = tempfile.TemporaryDirectory()
    try:
        with CSimulation(library, read_layout(directory), scratch) as simulation:
            return simulation.run(inputs)
    except ExportError as error:
        return str(error)


def build(directories: Sequence[Path]) -> dict[str, Path | str]:
    """Compile written projects of one backend together; those that do not compile are found by halving.

    Returns:
        Library, or the compiler's complaint, by the project's name.
    """
    first = directories[0]
    source = first.parent / f"{first.name}_{len(directories)}.cpp"
    source.write_text(_unit(directories))
    library = source.with_suffix(".so")
    firmware = first / "firmware"
    command = ["g++", "-std=c++23", "-O0", "-w", "-fPIC", "-shared", str(source), "-o", str(library)]
    command += [f"-I{firmware}", f"-I{firmware / 'ap_types'}", f'-DWEIGHTS_DIR="{first.parent}"']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return {directory.name: library for directory in directories}
    if len(directories) == 1:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        return {first.name: "the project does not compile: " + "; ".join(errors[:3])}
    half = len(directories) // 2
    return build(directories[:half]) | build(directories[half:])


def _unit(directories: Sequence[Path]) -> str:
    """The translation unit: all headers once, outside of any namespace, then one namespace a project."""
    headers = {"nnet_utils/nnet_conv1d_latency.h", "nnet_utils/nnet_function_stubs.h"}
    parts = []
    for directory in directories:
        headers |= set(
            re.findall(r'#include "(nnet_utils/[^"]+)"', (directory / "firmware/parameters.h").read_text())
        )
        parts.append(_namespace(directory))
    # Generated per project: it is included inside the namespace.
    headers.discard("nnet_utils/nnet_code_gen.h")
    includes = [f"#include <{name}>" for name in _HEADERS]
    includes += [
        f'#include "{name}"' for name in ("ap_fixed.h", "ap_int.h", "hls_stream.h", *sorted(headers))
    ]
    return "\n".join([*includes, _GLOBALS, *parts])


def _namespace(directory: Path) -> str:
    """One project's firmware and its function on doubles."""
    name, firmware = directory.name, directory / "firmware"
    # hls4ml's guards carry no project's name, so the second project would find its headers included already.
    guards = ["DEFINES_H_", "PARAMETERS_H_", "NNET_INSTR_GEN_H_"]
    for header in sorted((firmware / "weights").glob("*.h")):
        guards += re.findall(r"#ifndef (\w+_H_)\n", header.read_text())
    code = _TRACING.sub("", (firmware / f"{name}.cpp").read_text())
    code = _WEIGHTS.sub(rf'\1"{name}/firmware/weights/', code)
    # Beside the original, where its includes are.
    (firmware / f"{name}_batched.cpp").write_text(code)
    bridge = re.search(
        rf"void {name}_double\(.*?\n\}}\n", (directory / f"{name}_bridge.cpp").read_text(), re.DOTALL
    )
    if bridge is None:
        raise AssertionError(f"no function on doubles in {name}_bridge.cpp")
    return "\n".join(
        [
            *(f"#undef {guard}" for guard in guards),
            f"namespace {name} {{",
            "namespace nnet { using namespace ::nnet; }",
            f'#include "{firmware / f"{name}_batched.cpp"}"',
            f'extern "C" {{\n{bridge.group(0)}}}',
            "}",
        ]
    )
