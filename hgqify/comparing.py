"""Two results side by side: widths, EBOPs, quality, settings, and their codes on data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hgqify.checking import load_saved, name_of
from hgqify.errors import DataError
from hgqify.export import Comparison, compare_programs
from hgqify.exporting import saved_report
from hgqify.metric import Meter, Metric
from hgqify.opening import open_for
from hgqify.precision import Program, total_ebops
from hgqify.report import plain
from hgqify.whole_model import WholeModel

SCHEMA = 1
_BATCH = 128


@dataclass(frozen=True, kw_only=True)
class LayerPair:
    """One layer in both results; None where a result lacks it.

    Attributes:
        layer, kind: its name and class.
        ebops: in the first and in the second result.
        input_bits, weight_bits: smallest and largest width there.
    """

    layer: str
    kind: str
    ebops: tuple[int | None, int | None]
    input_bits: tuple[Sequence[int] | None, Sequence[int] | None]
    weight_bits: tuple[Sequence[int] | None, Sequence[int] | None]

    @property
    def differs(self) -> bool:
        """Whether anything that is told of it is different."""
        return any(a != b for a, b in (self.ebops, self.input_bits, self.weight_bits))


@dataclass(frozen=True, kw_only=True)
class OnData:
    """Both results on the same inputs.

    Attributes:
        data: what they are.
        samples: how many.
        values, differing: output values in all, and how many of them differ between the results.
        largest: the largest difference of two output values.
        same_class: share of samples whose largest output is the same; None where an output is no vector.
        metrics: accuracy (or R2) of each on the labels; None without labels.
    """

    data: str
    samples: int
    values: int
    differing: int
    largest: float
    same_class: float | None
    metrics: tuple[Metric, Metric] | None


@dataclass(frozen=True, kw_only=True)
class ResultComparison:
    """Two results side by side.

    Attributes:
        names: their folders.
        ebops: of each.
        quality: of each, on its own calibration data, as its report tells.
        settings: those that differ, by name.
        layers: every layer of either.
        integers: whether both programs are the same, each number of them, and the first that differs.
        on_data: both on the same inputs; None without data.
    """

    names: tuple[str, str]
    ebops: tuple[int, int]
    quality: tuple[Mapping[str, Any], Mapping[str, Any]]
    settings: Mapping[str, tuple[Any, Any]]
    layers: tuple[LayerPair, ...]
    integers: Comparison
    on_data: OnData | None

    @property
    def differs(self) -> bool:
        """Whether the two compute different integers."""
        return self.integers.differing > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; numbers that it lacks (infinity) become None."""
        return plain({"schema": SCHEMA, "differs": self.differs, **asdict(self)})

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False, default=str)


def compare(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    data: Any = None,
    labels: Any = None,
    limit: int | None = None,
    key: str | Sequence[str] | None = None,
    allow_pickle: bool = False,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
) -> ResultComparison:
    """Put two saved results side by side.

    Of layers that stay in float only what they give on data is compared: they have no integers.

    Args:
        first, second: folders that `Result.save` wrote.
        data: inputs on which to compare their outputs; streamed. None: only what is stored is compared.
        labels, limit, key, allow_pickle, safe_mode, custom_objects: as for `check`.

    Raises:
        ExportError: a folder is no result.
        DataError: the data does not fit, or the models take or give other shapes.
    """
    pair = (Path(first), Path(second))
    if data is None and labels is not None:
        raise DataError("labels come with data", remedy="give --data FILE (data=...)")
    (model, a), (other, b) = (
        load_saved(folder, safe_mode=safe_mode, custom_objects=custom_objects) for folder in pair
    )
    reports = [saved_report(folder) for folder in pair]
    on_data = None
    if data is not None:
        _check_shapes(pair, a, b)
        source = open_for(model, data, labels=labels, key=key, allow_pickle=allow_pickle)
        on_data = _on_data((WholeModel(model, a), WholeModel(other, b)), source, name_of(data), limit)
    return ResultComparison(
        names=(str(first), str(second)),
        ebops=(total_ebops(a), total_ebops(b)),
        quality=(reports[0].get("quality", {}), reports[1].get("quality", {})),
        settings=_different(reports[0]["settings"], reports[1]["settings"]),
        layers=_layers(reports[0].get("layers", []), reports[1].get("layers", [])),
        integers=compare_programs(a, b, what=f"integers of {second}", against=str(first)),
        on_data=on_data,
    )


def _check_shapes(pair: tuple[Path, Path], a: Program, b: Program) -> None:
    """Both models must take and give the same tensors.

    Raises:
        DataError: they do not.
    """
    shapes = [
        [[tuple(p.by_name[name].shape) for name in names] for names in (p.model_inputs, p.model_outputs)]
        for p in (a, b)
    ]
    if shapes[0] != shapes[1]:
        told = [f"{s[0]} -> {s[1]}" for s in shapes]
        raise DataError(
            "the two results are of models of different shapes: they cannot be run on the same data",
            where=str(pair[1]),
            received=f"{told[1]}, beside {told[0]}",
            remedy="leave --data out, or compare results of one model",
        )


def _on_data(models: tuple[WholeModel, WholeModel], source: Any, name: str, limit: int | None) -> OnData:
    batch = min(_BATCH, *(m.batch_size for m in models))
    samples = values = differing = agree = 0
    largest, vectors = 0.0, True
    meters = [Meter(source.where) for _ in models] if source.has_labels else []
    for part in source.batches(batch, limit=limit):
        outputs = [model(part.inputs) for model in models]
        samples += len(outputs[0][0])
        for meter, found in zip(meters, outputs, strict=False):
            meter.add(found, part.labels)
        for x, y in zip(*outputs, strict=True):
            values += x.size
            differing += int(np.count_nonzero(x != y))
            largest = max(largest, float(np.max(np.abs(x - y), initial=0.0)))
        x, y = outputs[0][0], outputs[1][0]
        vectors = vectors and x.ndim == 2 and x.shape[1] > 1
        if vectors:
            agree += int(np.count_nonzero(x.argmax(axis=1) == y.argmax(axis=1)))
    metrics = (meters[0].metric(), meters[1].metric()) if meters else None
    return OnData(
        data=name,
        samples=samples,
        values=values,
        differing=differing,
        largest=largest,
        same_class=agree / samples if vectors and samples else None,
        metrics=metrics,
    )


def _different(a: Mapping[str, Any], b: Mapping[str, Any], where: str = "") -> dict[str, tuple[Any, Any]]:
    """Settings that differ; those of tables by their path."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*a, *b]):
        x, y = a.get(name), b.get(name)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            found |= _different(x, y, f"{where}{name}.")
        elif x != y:
            found[f"{where}{name}"] = (x, y)
    return found


def _layers(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> tuple[LayerPair, ...]:
    first, second = ({entry["layer"]: entry for entry in entries} for entries in (a, b))

    def both(name: str, part: str) -> tuple[Any, Any]:
        return first.get(name, {}).get(part), second.get(name, {}).get(part)

    return tuple(
        LayerPair(
            layer=name,
            kind=(first.get(name) or second[name])["kind"],
            ebops=both(name, "ebops"),
            input_bits=both(name, "input_bits"),
            weight_bits=both(name, "weight_bits"),
        )
        for name in dict.fromkeys([*first, *second])
    )
