"""The figures of `pareto.py`, in a file that grows."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

PARTS = (1, 2, 4, 8, 16)
UNIFORM = (8, 6, 4)
METHODS = ("float", "uniform", "allocation", "fine-tuned", "HGQ2 from scratch", "HGQ2 from float")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One figure of the table.

    Attributes:
        model, method: names.
        seed: of the method.
        part: the budget is that of uniform 8 bit by this; None: no budget.
        bits: of uniform widths; None for other methods.
        steps: gradient steps taken: of one conversion, or of the one training of a seed for all budgets.
        activations: 'element' where activations have a width each in our methods; None: one per tensor.
        accuracy: on the test set, per cent; None if nothing met the budget.
        ebops: exact; None for float, and if nothing met the budget.
        declared: EBOPs as the method itself counts them; None where it counts as we do.
        seconds: wall time, of the same.
        differing: codes for which Keras and the reference differ; None where not compared.
        rejected: what kept the method from giving a figure; None where nothing did.
    """

    model: str
    method: str
    seed: int = 0
    part: int | None = None
    bits: int | None = None
    steps: int = 0
    activations: str | None = None
    accuracy: float | None = None
    ebops: int | None = None
    declared: int | None = None
    seconds: float = 0.0
    differing: int | None = None
    rejected: str | None = None

    @property
    def key(self) -> tuple:
        return self.model, self.method, self.seed, self.part, self.bits, self.steps, self.activations


class Results:
    """The points of a file, which grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        points = [Point(**json.loads(line)) for line in lines]
        self.points = {point.key: point for point in points}

    def __contains__(self, point: Point) -> bool:
        """Whether it need not be computed. What was refused is tried again: the library may have grown."""
        found = self.points.get(point.key)
        return found is not None and found.rejected is None

    def add(self, point: Point) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(point)) + "\n")
        self.points[point.key] = point
        print(point, file=sys.stderr, flush=True)

    def budget(self, model: str) -> int:
        """EBOPs of uniform 8 bit."""
        found = self.points.get(Point(model=model, method="uniform", bits=UNIFORM[0]).key)
        if found is None or found.ebops is None:
            raise SystemExit(f"{model}: uniform {UNIFORM[0]} bit comes first: it sets the budgets")
        return found.ebops

    def of(self, model: str, method: str) -> list[Point]:
        return [p for p in self.points.values() if (p.model, p.method) == (model, method)]
