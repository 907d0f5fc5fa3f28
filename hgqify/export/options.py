"""How a project is written: backend, interface, clock, and what layers are built from."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from hgqify.errors import ExportError, HgqifyError
from hgqify.export.backends import BACKENDS, Backend, Strategy, find_backend
from hgqify.export.cpp_names import is_function_name

IO_TYPES = ("io_parallel", "io_stream")


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Exceptions for some layers; None leaves the project's option.

    Attributes:
        strategy: how a dot product is built.
        reuse_factor: how often one multiplier is used for one inference (one position of a convolution).
        parallelization_factor: how many positions of a convolution are computed at once, io_parallel only.

    Raises:
        ExportError: an impossible value.
    """

    strategy: Strategy | None = None
    reuse_factor: int | None = None
    parallelization_factor: int | None = None

    def __post_init__(self) -> None:
        problems = _checked(self)
        if problems:
            raise ExportError("; ".join(problems))


@dataclass(frozen=True, kw_only=True)
class ProjectOptions:
    """How the project is written.

    Attributes:
        backend: one of `BACKENDS`.
        io_type: 'io_parallel' or 'io_stream'.
        part: FPGA part, hls4ml's default if None.
        clock_period: in ns.
        clock_uncertainty: in percent of the clock period, the backend's default if None.
        strategy: of every dot product; None: the first the backend has.
        reuse_factor: of every layer.
        parallelization_factor: of every convolution.
        project_name: name of the top function.
        layers: exceptions, by Keras layer name or by a regular expression that matches whole names, e.g.
            ``{"conv2d_1": {"ReuseFactor": 4}, "dense.*": {"Strategy": "Resource"}}``: `LayerOptions`, or
            a mapping of its fields, which may be spelt as hls4ml spells them. The first match wins.

    Raises:
        ExportError: lists every impossible value at once.
    """

    backend: str = "Vitis"
    io_type: str = "io_parallel"
    part: str | None = None
    clock_period: float = 5.0
    clock_uncertainty: float | None = None
    strategy: Strategy | None = None
    reuse_factor: int = 1
    parallelization_factor: int = 1
    project_name: str = "myproject"
    layers: Mapping[str, LayerOptions | Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = _checked(self)
        exceptions: dict[str, LayerOptions] = {}
        if not isinstance(self.layers, Mapping):
            problems.append(_text("layers is a mapping from layer names to options", self.layers))
        else:
            for name, given in self.layers.items():
                try:
                    exceptions[name] = _layer_options(name, given)
                except ExportError as error:
                    problems.append(str(error))
        object.__setattr__(self, "layers", exceptions)
        if not problems:
            problems = _conflicts(self, find_backend(self.backend), exceptions)
        if len(problems) == 1:
            raise ExportError(problems[0])
        if problems:
            raise ExportError(f"{len(problems)} project options are wrong:\n  " + "\n  ".join(problems))

    @property
    def exceptions(self) -> Mapping[str, LayerOptions]:
        """``layers``, every one as `LayerOptions`."""
        return {name: o for name, o in self.layers.items() if isinstance(o, LayerOptions)}

    @property
    def default_strategy(self) -> Strategy:
        """The strategy where no layer's own says otherwise."""
        return self.strategy or find_backend(self.backend).strategies[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: ``ProjectOptions(**options.to_dict())`` is equal to ``options``."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["strategy"] = None if self.strategy is None else str(self.strategy)
        plain["layers"] = {
            name: {
                key: str(value) if isinstance(value, Strategy) else value
                for key, value in dataclasses.asdict(options).items()
                if value is not None
            }
            for name, options in self.exceptions.items()
        }
        return plain


def _text(what: str, received: object, remedy: str | None = None) -> str:
    return str(ExportError(what, received=repr(received), remedy=remedy))


def _whole(name: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return None
        return _text(f"{name} is a whole number from 1 on", value)

    return check


def _number(name: str, unit: str, *, below: float = math.inf) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if real and math.isfinite(value) and 0 < value < below:
            return None
        limit = "" if below == math.inf else f" below {below:g}"
        return _text(f"{name} is a positive number{limit}, {unit}", value)

    return check


def _io_type(value: Any) -> str | None:
    return None if value in IO_TYPES else _text("unknown io_type", value, f"use one of {', '.join(IO_TYPES)}")


def _part(value: Any) -> str | None:
    # It is written into Tcl scripts.
    if isinstance(value, str) and re.fullmatch(r"[\w.\-]+", value, re.ASCII):
        return None
    return _text("part is the name of an FPGA", value, "use letters, digits, '-', '_' and '.'")


def _project_name(value: Any) -> str | None:
    if isinstance(value, str) and is_function_name(value):
        return None
    return _text(
        "the project's name is not the name of a C++ function",
        value,
        "use letters, digits and underscores, and no keyword",
    )


def _backend(value: Any) -> str | None:
    try:
        find_backend(value)
    except HgqifyError as error:
        return str(error)
    return None


_CHECKS: Mapping[str, Callable[[Any], str | None]] = MappingProxyType(
    {
        "backend": _backend,
        "io_type": _io_type,
        "part": _part,
        "clock_period": _number("clock_period", "in nanoseconds"),
        "clock_uncertainty": _number("clock_uncertainty", "in percent of the clock period", below=100),
        "reuse_factor": _whole("reuse_factor"),
        "parallelization_factor": _whole("parallelization_factor"),
        "project_name": _project_name,
    }
)


def _checked(options: ProjectOptions | LayerOptions) -> list[str]:
    """Problems of single fields; a strategy's text becomes the member it names."""
    problems = []
    optional = {f.name for f in fields(options) if f.default is None}
    for name in (f.name for f in fields(options)):
        value = getattr(options, name)
        if value is None and name in optional:
            continue
        if name == "strategy":
            try:
                object.__setattr__(options, name, as_strategy(value))
            except ExportError as error:
                problems.append(str(error))
        elif name in _CHECKS and (problem := _CHECKS[name](value)) is not None:
            problems.append(problem)
    return problems


def as_strategy(value: object) -> Strategy:
    """A strategy from its text, in any case.

    Raises:
        ExportError: there is none of this name.
    """
    wanted = str(value).casefold()
    for strategy in Strategy:
        if wanted == strategy.casefold():
            return strategy
    if wanted in ("distributed_arithmetic", "da"):
        raise ExportError(
            "the strategy distributed_arithmetic is not supported: da4ml chooses types of its own",
            received=value,
            remedy=f"use one of {', '.join(Strategy)}",
        )
    near = difflib.get_close_matches(wanted, [s.casefold() for s in Strategy], n=1)
    hint = f"; did you mean {as_strategy(near[0])}?" if near else ""
    raise ExportError("unknown strategy", received=value, remedy=f"use one of {', '.join(Strategy)}{hint}")


_LAYER_FIELDS = {f.name.replace("_", ""): f.name for f in fields(LayerOptions)}


def _layer_options(name: Any, given: Any) -> LayerOptions:
    """The exceptions for one name or pattern, from a mapping; hls4ml's spelling (ReuseFactor) will do."""
    if not isinstance(name, str) or not name:
        raise ExportError("layers are named by text", where="layers", received=repr(name))
    where = f"layers.{name}"
    try:
        re.compile(name)
    except re.error as error:
        raise ExportError(f"not a regular expression: {error}", where=where) from None
    if isinstance(given, LayerOptions):
        return given
    if not isinstance(given, Mapping):
        raise ExportError("options of a layer are a mapping", where=where, received=repr(given))
    problems, values = [], {}
    for key, value in given.items():
        known = _LAYER_FIELDS.get(str(key).replace("_", "").casefold())
        if known is not None:
            values[known] = value
        elif str(key).casefold() == "precision":
            problems.append(f"{where}: types cannot be overridden. Remove {key!r}")
        else:
            near = difflib.get_close_matches(str(key), list(_LAYER_FIELDS.values()), n=1, cutoff=0.0)[0]
            problems.append(f"{where}.{key}: unknown option. Did you mean {near}?")
    for key, value in values.items():
        try:
            LayerOptions(**{key: value})
        except ExportError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise ExportError("; ".join(problems))
    if not values:
        raise ExportError("no option is set", where=where, remedy=f"set {', '.join(_LAYER_FIELDS.values())}")
    return LayerOptions(**values)


def _conflicts(
    options: ProjectOptions, backend: Backend, exceptions: Mapping[str, LayerOptions]
) -> list[str]:
    """What is possible by itself, but not together."""
    problems = []
    known = ", ".join(backend.strategies)
    asked = [
        ("project", options.strategy),
        *((f"layers.{n}", o.strategy) for n, o in exceptions.items()),
    ]
    problems += [
        f"{where}: {backend.name} has no strategy {strategy}. Use one of {known}"
        for where, strategy in asked
        if strategy is not None and strategy not in backend.strategies
    ]
    if options.clock_uncertainty is not None and not backend.clock_uncertainty:
        takers = ", ".join(b.name for b in BACKENDS.values() if b.clock_uncertainty)
        problems.append(f"{backend.name} takes no clock_uncertainty. Only these do: {takers}")
    factors = [
        *(["parallelization_factor"] if options.parallelization_factor > 1 else []),
        *(f"layers.{n}.parallelization_factor" for n, o in exceptions.items() if o.parallelization_factor),
    ]
    if factors and options.io_type == "io_stream":
        problems.append(
            f"{', '.join(factors)}: streams come one position at a time. Remove it, or use io_parallel"
        )
    elif factors and not backend.parallel_convolutions:
        problems.append(f"{', '.join(factors)}: {backend.name} has no such factor. Remove it")
    return problems
