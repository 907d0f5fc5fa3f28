"""Plain text in columns."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as lines: figures to the right, the last column to the left."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        *figures, last = row
        cells = [cell.rjust(width) for cell, width in zip(figures, widths, strict=False)]
        lines.append("  ".join([*cells, last]).rstrip())
    return "\n".join(lines)
