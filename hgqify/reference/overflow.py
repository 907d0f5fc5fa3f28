"""The overflow statement: for every quantizer whether it can overflow, and whether it did on data."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hgqify.fixed import Overflow
from hgqify.precision import OverflowProof, Program, prove_overflow
from hgqify.reference.watch import Watch, look

_NAMED = 3  # how many quantizers a line names; the others are counted


class OverflowStatus(enum.StrEnum):
    """What is known about one quantizer.

    ===========  ======================================================================
    proved       nothing that can reach it overflows it, whatever the model is fed
    observed     no proof, but nothing overflowed on the data
    overflowing  values wrapped on the data
    open         no proof, and no data was looked at
    saturates    overflow is clipped, by design
    ===========  ======================================================================
    """

    PROVED = "proved"
    OBSERVED = "observed"
    OVERFLOWING = "overflowing"
    OPEN = "open"
    SATURATES = "saturates"


@dataclass(frozen=True, kw_only=True)
class QuantizerOverflow:
    """The statement on one quantizer.

    Attributes:
        name, layer: node of the program, and path of its Keras layer.
        overflow: WRAP, WRAP_SM, SAT or SAT_SYM.
        status: what is known.
        spare_bits: integer bits that the worst element has more than the bounds need; negative where
            that many are missing for a proof. None on a model input, where any number can come.
        margin: least log2(range / magnitude) over the data, in bits: 1.0 says that one integer bit less
            would have done, negative that the range was exceeded. None without data.
        values, overflowing: how many values were quantized, and how many of them lay beyond the range.
        element: the element that came closest to the end of its range, or went farthest beyond.
    """

    name: str
    layer: str
    overflow: Overflow
    status: OverflowStatus
    spare_bits: int | None
    margin: float | None = None
    values: int = 0
    overflowing: int = 0
    element: tuple[int, ...] | None = None

    @property
    def fraction(self) -> float:
        """Share of the values that lay beyond the range; 0 without data."""
        return self.overflowing / self.values if self.values else 0.0

    def __str__(self) -> str:
        match self.status:
            case OverflowStatus.OBSERVED:
                return f"{self.name} ({self.margin:.1f} bits)"
            case OverflowStatus.OVERFLOWING:
                return (
                    f"{self.name} ({self.overflowing} of {self.values} values, worst element {self.element})"
                )
            case OverflowStatus.OPEN if self.spare_bits is not None:
                return f"{self.name} ({-self.spare_bits} bits)"
            case _:
                return self.name


@dataclass(frozen=True, kw_only=True)
class OverflowStatement:
    """The statement on all quantizers of a program, in its order.

    Attributes:
        quantizers: one entry each.
        samples: how many samples were looked at; 0 where proofs left nothing to look for.
    """

    quantizers: tuple[QuantizerOverflow, ...]
    samples: int

    @property
    def wrapping(self) -> tuple[QuantizerOverflow, ...]:
        """The quantizers that wrap."""
        return tuple(q for q in self.quantizers if not q.overflow.saturates)

    @property
    def proved(self) -> bool:
        """Whether no wrapping quantizer can overflow, for any input."""
        return all(q.status is OverflowStatus.PROVED for q in self.wrapping)

    @property
    def overflowing(self) -> tuple[QuantizerOverflow, ...]:
        """The quantizers that wrapped on the data, the worst first."""
        found = (q for q in self.wrapping if q.status is OverflowStatus.OVERFLOWING)
        return tuple(sorted(found, key=lambda q: -q.fraction))

    def summary(self) -> tuple[str, ...]:
        """Lines for the terminal: counts, the worst by name; none if nothing wraps."""
        wrapping = self.wrapping
        if not wrapping:
            return ()
        parts = []
        for status in (
            OverflowStatus.PROVED, OverflowStatus.OBSERVED, OverflowStatus.OVERFLOWING, OverflowStatus.OPEN
        ):  # fmt: skip
            if count := sum(q.status is status for q in wrapping):
                parts.append(f"{count} {status}")
        line = f"overflow: {len(wrapping)} wrapping quantizers, {', '.join(parts)}"
        if self.samples:
            line += f" ({self.samples} samples)"
        lines = [line]
        least = sorted(
            (q for q in wrapping if q.status is OverflowStatus.OBSERVED), key=lambda q: q.margin or 0.0
        )
        missing = sorted(
            (q for q in wrapping if q.status is OverflowStatus.OPEN), key=lambda q: q.spare_bits or 0
        )
        for label, found in (
            ("overflowing", self.overflowing), ("least margin", least), ("bits missing for a proof", missing)
        ):  # fmt: skip
            if found:
                lines.append(f"  {label}: {_named(found)}")
        return tuple(lines)

    def notes(self) -> tuple[str, ...]:
        """What needs attention, with the remedy; none if nothing overflowed."""
        if not (found := self.overflowing):
            return ()
        return (
            f"values wrap in {len(found)} quantizer(s), as {found[0].name}: use overflow 'sat' or 'proved' "
            "(in a Rule for these layers alone), or a larger margin",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the lines of `summary`."""
        return {
            "summary": list(self.summary()),
            "samples": self.samples,
            "proved": self.proved,
            "quantizers": [asdict(q) | {"fraction": q.fraction} for q in self.quantizers],
        }


def overflow_statement(
    program: Program, batches: Iterable[Sequence[np.ndarray]] | None = None
) -> OverflowStatement:
    """For every quantizer: proved, observed with a margin, overflowing, or saturating.

    Proofs come first; the integer reference runs on the data only for wrapping quantizers without one, in
    bounded memory.

    Args:
        program: annotated.
        batches: real inputs as `run` takes them, batch by batch; None for proofs only.

    Raises:
        PrecisionError: the program is not annotated.
        DataError: inputs that do not fit the program.
    """
    proofs = prove_overflow(program)
    watched = [p for p in proofs if not p.proved and not p.overflow.saturates]
    watches: dict[str, Watch] = {}
    samples = 0
    if batches is not None and watched:
        watches = {p.name: Watch(program, p.name) for p in watched}
        samples = look(program, tuple(watches.values()), batches)
    return OverflowStatement(
        quantizers=tuple(_entry(proof, watches.get(proof.name)) for proof in proofs), samples=samples
    )


def _entry(proof: OverflowProof, watch: Watch | None) -> QuantizerOverflow:
    status = OverflowStatus.OPEN
    if proof.proved:
        status = OverflowStatus.PROVED
    elif proof.overflow.saturates:
        status = OverflowStatus.SATURATES
    elif watch is not None and watch.values:
        status = OverflowStatus.OVERFLOWING if watch.overflowing else OverflowStatus.OBSERVED
    seen: dict[str, Any] = {}
    if watch is not None and watch.values:
        margin = watch.margins()
        worst = int(np.argmin(margin))
        seen = {
            "margin": float(margin.flat[worst]),
            "values": watch.values,
            "overflowing": watch.overflowing,
            "element": tuple(int(n) for n in np.unravel_index(worst, margin.shape)),
        }
    return QuantizerOverflow(
        name=proof.name,
        layer=proof.layer,
        overflow=proof.overflow,
        status=status,
        spare_bits=proof.spare_bits,
        **seen,
    )


def _named(quantizers: Sequence[QuantizerOverflow]) -> str:
    text = ", ".join(map(str, quantizers[:_NAMED]))
    return text + (f" and {len(quantizers) - _NAMED} more" if len(quantizers) > _NAMED else "")
