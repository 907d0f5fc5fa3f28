"""Comparing two computations code for code. There are no tolerances here."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hgqify.errors import BitExactnessError
from hgqify.export.junit import junit_xml

SCHEMA = 1
"""Version of the layout of `CheckReport.to_dict`."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where two computations first differ.

    Attributes:
        layer: path of the Keras layer (empty if it could not be found).
        node: name of the node in the fixed program.
        sample, index: which sample of the batch, which element of its tensor.
        expected: value by the integer reference.
        found: value by the other computation.
        codes: how far apart, in least significant bits.
    """

    layer: str
    node: str
    sample: int
    index: tuple[int, ...]
    expected: float
    found: float
    codes: float

    def __str__(self) -> str:
        where = self.layer or self.node
        return (
            f"first difference in {where} (node {self.node}), sample {self.sample}, element {self.index}: "
            f"reference {self.expected!r}, found {self.found!r}, {self.codes:g} codes apart"
        )


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """What two descriptions of one computation first disagree about.

    Attributes:
        layer: path of the Keras layer (empty if it is no layer's matter).
        node: name of the node in the fixed program.
        what: the setting, or the constant and its element.
        expected: by the reference.
        found: by what is compared with it.
    """

    layer: str
    node: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = self.layer or self.node
        return (
            f"first difference in {where} (node {self.node}), {self.what}: "
            f"reference {self.expected}, found {self.found}"
        )


def first_difference(
    expected: np.ndarray, found: np.ndarray, frac: int, *, layer: str, node: str
) -> Place | None:
    """The first element (in row-major order) in which two value arrays differ, None if equal.

    Args:
        expected: values of the reference, (samples, *shape).
        found: values of the other computation, of the same size.
        frac: fractional bits of the reference's codes.
        layer, node: what is being compared.
    """
    found = np.asarray(found, np.float64).reshape(expected.shape)
    unequal = expected != found
    if not unequal.any():
        return None
    sample, *index = (int(n) for n in np.unravel_index(int(np.argmax(unequal)), unequal.shape))
    a, b = float(expected[(sample, *index)]), float(found[(sample, *index)])
    return Place(
        layer=layer,
        node=node,
        sample=sample,
        index=tuple(index),
        expected=a,
        found=b,
        codes=abs(a - b) * 2.0**frac,
    )


@dataclass(kw_only=True)
class Tally:
    """Running count of a comparison over batches.

    Attributes:
        what: what is compared with the integer reference: 'Keras' or 'C simulation'.
        samples, codes, differing: how many were compared, and differed.
        place: the first difference.
    """

    what: str
    samples: int = 0
    codes: int = 0
    differing: int = 0
    place: Place | None = None

    def add(self, expected: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Count one output tensor of one batch; returns the samples that differ."""
        found = np.asarray(found, np.float64).reshape(expected.shape)
        unequal = (expected != found).reshape(len(expected), -1)
        self.codes += unequal.size
        self.differing += int(np.count_nonzero(unequal))
        return np.flatnonzero(unequal.any(axis=1))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Result of comparing one computation with a reference on one set of inputs.

    Attributes:
        what: what is compared.
        inputs: on which inputs; empty where what is compared takes none.
        samples: how many, counted in ``unit``.
        codes: how many integers were compared.
        differing: how many of them differ.
        place: the first that differs.
        reference: what it is compared with.
        unit: what ``samples`` counts.
    """

    what: str
    inputs: str
    samples: int
    codes: int
    differing: int
    place: Place | Mismatch | None = None
    reference: str = "reference"
    unit: str = "samples"

    def __str__(self) -> str:
        text = f"{self.what} = {self.reference}" + (f" on {self.inputs}" if self.inputs else "")
        text += f": {self.differing} of {self.codes} codes differ ({self.samples} {self.unit})"
        return text + (f"\n  {self.place}" if self.place else "")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A figure and the bound it must keep.

    Attributes:
        name: what is limited.
        value: as found.
        bound: as allowed.
        at_most: whether the bound is the largest value allowed, else the smallest.
        basis: what the value was found on; empty where it follows from the model alone.
    """

    name: str
    value: float
    bound: float
    at_most: bool
    basis: str = ""

    @property
    def kept(self) -> bool:
        """Whether the value is within the bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def told(self, value: float) -> str:
        """A value as text: whole numbers in groups of three digits."""
        return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.6g}"

    def __str__(self) -> str:
        text = f"{self.name} {self.told(self.value)}" + (f" on {self.basis}" if self.basis else "")
        text += f", {'at most' if self.at_most else 'at least'} {self.told(self.bound)} is allowed"
        return text if self.kept else f"{text}: LIMIT LEFT by {self.told(abs(self.value - self.bound))}"


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """All comparisons of one check.

    Attributes:
        comparisons: one per computation and set of inputs.
        notes: what was not compared, and why.
        settings: what was checked and how: the options of the check by name, seed included.
        versions: of hgqify and of what it ran on, by name.
        overflow: for every quantizer whether it can overflow, and whether it did on the data.
        limits: figures that had to keep a bound.
        skipped: comparisons that could not be made, and why.
    """

    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = field(default=())
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    overflow: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it is exact and keeps all limits."""
        return self.exact and all(limit.kept for limit in self.limits)

    @property
    def exact(self) -> bool:
        """Whether everything compared was equal, and something was compared."""
        return bool(self.comparisons) and all(c.differing == 0 for c in self.comparisons)

    @property
    def codes(self) -> int:
        """How many codes were compared."""
        return sum(c.codes for c in self.comparisons)

    def summary(self) -> str:
        """A few lines for the terminal; the last ones are the verdict, and limits if there are any."""
        lines = [str(c) for c in self.comparisons]
        lines += self.overflow.get("summary", ())
        lines += [f"note: {note}" for note in self.notes]
        lines.append("exact: every code is equal" if self.exact else "NOT EXACT")
        lines += [f"limit: {limit}" for limit in self.limits]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; ``schema`` grows when the meaning of a key changes."""
        return {
            "schema": SCHEMA,
            "exact": self.exact,
            "codes": self.codes,
            "comparisons": [_plain(c) for c in self.comparisons],
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "overflow": dict(self.overflow),
            "limits": [dataclasses.asdict(limit) | {"kept": limit.kept} for limit in self.limits],
            "skipped": dict(self.skipped),
            "passed": self.passed,
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text. What no JSON number says (an infinite value) is a string."""
        return json.dumps(_speakable(self.to_dict()), indent=2, allow_nan=False)

    def to_junit(self, *, seconds: float) -> str:
        """As JUnit XML: one test case for every comparison and every limit.

        Args:
            seconds: that the check took.
        """
        return junit_xml(self, seconds=seconds)

    def raise_if_different(self) -> None:
        """Raise if anything differed.

        Raises:
            BitExactnessError: with the first difference of every comparison that failed.
        """
        failed = [str(c) for c in self.comparisons if c.differing]
        if failed:
            raise BitExactnessError("computations that must agree differ:\n" + "\n".join(failed))


def _plain(comparison: Comparison) -> dict[str, Any]:
    values = dataclasses.asdict(comparison)
    if comparison.place is not None:
        values["place"] |= {"text": str(comparison.place)}
    return values


def _speakable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _speakable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_speakable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
