"""The conversion report: what became of every layer of the original model."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from hgqify.errors import UnsupportedLayerError


class Status(enum.StrEnum):
    """What became of a layer."""

    CONVERTED = "converted"
    KEPT = "kept"
    REMOVED = "removed"
    FOLDED = "folded"
    FLOAT = "kept float"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class LayerEntry:
    """One layer of the original model.

    Attributes:
        layer: its path in the original model (nested models are joined by '/').
        kind: its class.
        status: what became of it.
        reason: why.
        remedy: what to do about a refusal; empty otherwise.
        target: layer of the converted model that stands for it; empty where none does.
    """

    layer: str
    kind: str
    status: Status
    reason: str = ""
    remedy: str = ""
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """Every layer of the original model exactly once, in its order.

    Attributes:
        entries: one a layer.
        notes: what the float model does that the converted one cannot, and that the entries tell one by one.
    """

    entries: tuple[LayerEntry, ...]
    notes: tuple[str, ...] = ()

    def with_status(self, status: Status) -> tuple[LayerEntry, ...]:
        """The entries of one status."""
        return tuple(entry for entry in self.entries if entry.status is status)

    @property
    def refused(self) -> tuple[LayerEntry, ...]:
        """The entries that stop a conversion."""
        return self.with_status(Status.REFUSED)

    def raise_refused(self) -> None:
        """Raise one error that lists every refused layer with its remedy, if there are any.

        Raises:
            UnsupportedLayerError: names all of them.
        """
        refused = self.refused
        if not refused:
            return
        lines = [f"  {e.layer} ({e.kind}): {e.reason}. {_sentence(e.remedy)}".rstrip() for e in refused]
        count = "1 layer" if len(refused) == 1 else f"{len(refused)} layers"
        them = "it" if len(refused) == 1 else "them"
        lines.append(f"Or keep {them} in float: unsupported='keep' (--unsupported keep)")
        raise UnsupportedLayerError(f"{count} cannot be converted:\n" + "\n".join(lines))

    def to_dict(self) -> list[dict[str, str]]:
        """Plain data, for JSON."""
        return [
            {
                "layer": e.layer,
                "kind": e.kind,
                "status": str(e.status),
                "reason": e.reason,
                "remedy": e.remedy,
                "target": e.target,
            }
            for e in self.entries
        ]

    def table(self) -> str:
        """The report as aligned text, one line per layer."""
        rows = [("layer", "kind", "status", "becomes / why")]
        for e in self.entries:
            note = "; ".join(part for part in (e.target, e.reason, e.remedy) if part)
            rows.append((e.layer, e.kind, str(e.status), note))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join((*(row[c].ljust(widths[c]) for c in range(3)), row[3])).rstrip() for row in rows
        )


def merge(entries: Iterable[LayerEntry]) -> ConversionReport:
    """A report in which each layer stands once: a refusal wins over anything else said about it, then
    the last entry (a layer first split and then folded was folded)."""
    merged: dict[str, LayerEntry] = {}
    for entry in entries:
        before = merged.get(entry.layer)
        if before is None or before.status is not Status.REFUSED:
            merged[entry.layer] = entry
    return ConversionReport(entries=tuple(merged.values()))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
