"""Which options each hls4ml layer gets, and what hls4ml made of them.

Users know Keras layers; one of them may be printed as several hls4ml layers, which then share its options.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hgqify.errors import ExportError
from hgqify.export.backends import Strategy
from hgqify.export.options import LayerOptions, ProjectOptions
from hgqify.export.spec import LayerSpec

_DENSE = ("Dense", "Conv1D", "Conv2D")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
# The kinds of hls4ml layers whose code an option changes.
_TAKES: Mapping[str, tuple[str, ...]] = {
    "strategy": _DENSE,
    "reuse_factor": (*_DENSE, *_DEPTHWISE, "BatchNormalization"),
    "parallelization_factor": ("Conv1D", "Conv2D"),
}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Options of one hls4ml layer; None where the layer takes no such option.

    Attributes:
        strategy, parallelization_factor: as asked for.
        reuse_factor: the nearest to the one asked for with which hls4ml's kernels compute rightly.
        asked_reuse: the one asked for.
    """

    strategy: Strategy | None
    reuse_factor: int | None
    asked_reuse: int | None
    parallelization_factor: int | None

    def as_config(self) -> dict[str, Any]:
        """In hls4ml's spelling."""
        found = {
            "Strategy": None if self.strategy is None else str(self.strategy),
            "ReuseFactor": self.reuse_factor,
            "ParallelizationFactor": self.parallelization_factor,
        }
        return {name: value for name, value in found.items() if value is not None}


def choose(
    layers: Sequence[LayerSpec], options: ProjectOptions, aliases: Mapping[str, Sequence[str]]
) -> dict[str, Chosen]:
    """The options of every hls4ml layer, by its name.

    Args:
        layers: the program, printed.
        options: of the project.
        aliases: names of layers in the float model -> names of the layers that stand for them.

    Raises:
        ExportError: lists every exception that matches no layer, or only layers that take none of its
            options, or that earlier ones hide.
    """
    exceptions = options.exceptions
    names = {spec.name: _names(spec, aliases) for spec in layers}
    first: dict[str, str | None] = {
        spec.name: next((p for p in exceptions if _matches(p, names[spec.name])), None) for spec in layers
    }
    problems = []
    for pattern, exception in exceptions.items():
        matched = [spec for spec in layers if _matches(pattern, names[spec.name])]
        problem = _unusable(pattern, exception, matched, first)
        if not matched:
            known = sorted({name for found in names.values() for name in found[:-1]})
            near = difflib.get_close_matches(pattern, known, n=1, cutoff=0.0)
            problem = "no such layer" + (f". Did you mean {near[0]}?" if near else "")
        if problem is not None:
            problems.append(f"layers.{pattern}: {problem}")
    if problems:
        count = len(problems)
        head = "1 exception for layers" if count == 1 else f"{count} exceptions for layers"
        raise ExportError(f"{head} cannot be used:\n  " + "\n  ".join(problems))
    return {spec.name: _chosen(spec, options, exceptions.get(first[spec.name] or "")) for spec in layers}


def _names(spec: LayerSpec, aliases: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All names a user may call a layer by, hls4ml's own last."""
    return (spec.layer, *(old for old, new in aliases.items() if spec.layer in new), spec.name)


def _matches(pattern: str, names: Sequence[str]) -> bool:
    return any(name == pattern or re.fullmatch(pattern, name) for name in names)


def _given(exception: LayerOptions) -> list[str]:
    return [f.name for f in fields(exception) if getattr(exception, f.name) is not None]


def _unusable(
    pattern: str, exception: LayerOptions, matched: Sequence[LayerSpec], first: Mapping[str, str | None]
) -> str | None:
    """Why an exception changes nothing, None if it does change something."""
    if matched and not any(first[spec.name] == pattern for spec in matched):
        return "earlier exceptions take every layer it matches. Put it before them: the first match wins"
    kinds = sorted({spec.kind for spec in matched})
    unused = [name for name in _given(exception) if not any(spec.kind in _TAKES[name] for spec in matched)]
    if not unused:
        return None
    return f"{', '.join(unused)} changes nothing for {', '.join(kinds)}. Remove it"


def _chosen(spec: LayerSpec, options: ProjectOptions, exception: LayerOptions | None) -> Chosen:
    def pick(name: str, default: Any) -> Any:
        if spec.kind not in _TAKES[name]:
            return None
        own = None if exception is None else getattr(exception, name)
        return default if own is None else own

    # hls4ml has no other for depthwise convolutions; it would fall back in places of its own choice.
    strategy = Strategy.LATENCY if spec.kind in _DEPTHWISE else pick("strategy", options.default_strategy)
    reuse = pick("reuse_factor", options.reuse_factor)
    return Chosen(
        strategy=strategy,
        reuse_factor=reuse if reuse is None else _possible_reuse(spec, strategy, reuse),
        asked_reuse=reuse,
        parallelization_factor=pick("parallelization_factor", options.parallelization_factor),
    )


def _possible_reuse(spec: LayerSpec, strategy: Strategy | None, wanted: int) -> int:
    """The nearest reuse factor that the kernels of a strategy allow, the smaller of two.

    hls4ml finds it too, but forgets it where it replaces a convolution by its pointwise kernel, which then
    aborts or computes wrongly.
    """
    if strategy in (None, Strategy.LATENCY):
        return wanted
    a = spec.attributes
    if spec.kind == "Dense":
        n_in, n_out = a["n_in"], a["n_out"]
    else:
        n_in, n_out = a["n_chan"] * a.get("filt_height", 1) * a["filt_width"], a["n_filt"]
    whole = n_in * n_out
    possible = [
        n
        for n in range(1, whole + 1)
        if whole % n == 0 and (n % n_in == 0 if n >= n_in else math.ceil(whole / n) % n_out == 0)
    ]
    if strategy is Strategy.UNROLLED and len(possible) > 1:
        possible.pop()
    return min(possible, key=lambda n: (abs(n - wanted), n))


def changes(graph: Any, layers: Sequence[LayerSpec], chosen: Mapping[str, Chosen]) -> tuple[str, ...]:
    """What hls4ml made of the options where it could not follow them.

    Args:
        graph: hls4ml's model, all its passes done.
        layers: the program, printed.
        chosen: what was asked for.
    """
    nodes = {node.name: node for node in graph.get_layers()}
    notes = []
    for spec in layers:
        node, asked = nodes.get(spec.name), chosen[spec.name]
        if node is None:
            continue
        strategy = node.get_attr("strategy", None)
        if asked.strategy is not None and strategy not in (None, asked.strategy.lower()):
            notes.append(f"{spec.layer}: strategy {asked.strategy} became {str(strategy).capitalize()}")
        reuse = node.get_attr("reuse_factor", None)
        if asked.asked_reuse is not None and reuse not in (None, asked.asked_reuse):
            notes.append(
                f"{spec.layer}: reuse_factor {asked.asked_reuse} became {reuse}, the nearest that divides "
                "its multiplications evenly"
            )
        factor = node.get_attr("parallelization_factor", None)
        if asked.parallelization_factor is not None and factor not in (None, asked.parallelization_factor):
            notes.append(
                f"{spec.layer}: parallelization_factor {asked.parallelization_factor} became {factor}, the "
                "nearest that divides its positions evenly"
            )
    return tuple(dict.fromkeys(notes))


def depthwise_notes(layers: Sequence[LayerSpec], options: ProjectOptions) -> tuple[str, ...]:
    """The layers that stay with the strategy Latency although the project's is another."""
    if options.default_strategy is Strategy.LATENCY:
        return ()
    kept = dict.fromkeys(spec.layer for spec in layers if spec.kind in _DEPTHWISE)
    if not kept:
        return ()
    return (f"{', '.join(kept)}: strategy Latency, the only one hls4ml has for depthwise sums",)
