"""Networks as plain data: what a strategy draws, what is built, and what a regression test holds."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


class _Short:
    """Prints as the call that makes it, without what is at its default: it can be pasted into a test."""

    def __repr__(self) -> str:
        given = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            default = f.default_factory() if callable(f.default_factory) else f.default
            if value != default:
                given.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints it."""
        printer.text(repr(self))


@dataclass(frozen=True, repr=False)
class Format(_Short):
    """One quantizer.

    Attributes:
        i, f, k: integer bits without sign, fractional bits, sign flag.
        grain: 'tensor', 'channel' or 'element'.
        spread: every group's i and f lie up to this far off, drawn from the network's seed; then a signed
            quantizer is unsigned in some groups, and groups without bits are common.
        rounding, overflow, kind: names of `Rounding`, `Overflow` and `QType`. Of a minifloat ('float') i are
            the exponent's bits, f the mantissa's, k is the offset of the exponents, and spread moves f only.
    """

    i: int = 2
    f: int = 3
    k: int = 1
    grain: str = "tensor"
    spread: int = 0
    rounding: str = "RND"
    overflow: str = "SAT"
    kind: str = "kif"


@dataclass(frozen=True, repr=False)
class Step(_Short):
    """One call of one layer.

    Attributes:
        layer: name of the class in `hgqify.layers` or `keras.layers`.
        inputs: numbers of the tensors it takes: the network's inputs come first, then one per step.
        options: arguments of the class.
        iq: formats of the input quantizers; none for a layer that has none, or has them off.
        oq, kq, bq: formats of output, kernel and bias (of a batch normalization: scale and shift; of a layer
            of tables, kq is that of their entries).
        weights: 'random', 'zero', 'constant' or 'sparse'.
        again: step whose layer is called once more; all else but the inputs is that step's.
    """

    layer: str = ""
    inputs: tuple[int, ...] = (0,)
    options: dict[str, Any] = field(default_factory=dict)
    iq: tuple[Format, ...] = ()
    oq: Format | None = None
    kq: Format | None = None
    bq: Format | None = None
    weights: str = "random"
    again: int | None = None


@dataclass(frozen=True, repr=False)
class Network(_Short):
    """A whole network.

    Attributes:
        inputs: shapes of the model inputs, without the batch axis.
        steps: in topological order.
        outputs: numbers of the tensors handed out.
        seed: of weights, and of widths where they are spread.
    """

    inputs: tuple[Shape, ...] = ((4,),)
    steps: tuple[Step, ...] = ()
    outputs: tuple[int, ...] = (1,)
    seed: int = 0
