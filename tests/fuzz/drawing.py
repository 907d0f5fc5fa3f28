"""What drawing a network needs: formats, tensors that fit, and how wide values get."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from description import Format, Shape, Step
from hypothesis import strategies as st

from hgqify.fixed import Overflow, Rounding

Draw = Callable[[st.SearchStrategy[Any]], Any]

EXACT = ["linear", "relu", "relu6", "hard_tanh", "leaky_relu"]
TABLES = ["tanh", "sigmoid", "hard_sigmoid", "elu", "gelu", "silu", "softplus", "exp"]
ROUNDINGS = ["RND", *(str(mode) for mode in Rounding if str(mode) != "RND")]
OVERFLOWS = ["SAT", *(str(mode) for mode in Overflow if str(mode) != "SAT")]
MERGES = ["Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average"]

# Layers that make tensors larger are drawn for small ones only.
LARGE = 64
# Significant bits beyond which a product, or a sum, gets quantized inputs (most of the time).
FACTOR_BITS, TERM_BITS = 9, 16


@dataclass(frozen=True)
class Tensor:
    """What the strategy knows of a tensor: shape, and about how wide its codes get."""

    shape: Shape
    top: int
    frac: int

    @property
    def bits(self) -> int:
        return max(self.top + self.frac, 0)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def rarely(draw: Draw, odds: int) -> bool:
    """True once in ``odds`` draws."""
    return draw(st.integers(0, odds - 1)) == odds - 1


@st.composite
def formats(
    draw: Draw, *, uniform: bool = False, least: int = -3, most: int = 6, wide: bool = False
) -> Format:
    """A quantizer of data, any mode.

    Args:
        uniform: it can be a type in streams.
        least, most: of the fractional bits.
        wide: 14 to 18 bits in place of at most 6.
    """
    overflow = draw(st.sampled_from([m for m in OVERFLOWS if not (uniform and m == "WRAP_SM")]))
    f = draw(st.integers(least, most)) if rarely(draw, 2) else 3
    bits = draw(st.sampled_from([4, 5, 6, 3, 2, 1] if uniform else [4, 5, 6, 3, 2, 1, 0]))
    if wide:
        bits += 12
    grain = "tensor" if uniform else draw(st.sampled_from(["tensor", "tensor", "channel", "element"]))
    return Format(
        i=bits - f,
        f=f,
        k=1 if overflow == "WRAP_SM" else draw(st.sampled_from([1, 0])),
        grain=grain,
        spread=0 if grain == "tensor" else draw(st.integers(0, 2)),
        rounding=draw(st.sampled_from(ROUNDINGS)),
        overflow=overflow,
        kind=draw(st.sampled_from(["kif", "kbi"])),
    )


@st.composite
def constant_formats(draw: Draw, most: int = 4) -> Format:
    """A quantizer of a constant: its integer bits are derived (kif), or it overflows (kbi)."""
    f = draw(st.integers(-2, 5))
    return Format(
        i=draw(st.integers(1, most)) - f,
        f=f,
        grain=draw(st.sampled_from(["tensor", "channel", "element"])),
        spread=draw(st.integers(0, 1)),
        rounding=draw(st.sampled_from(ROUNDINGS)),
        overflow=draw(st.sampled_from(OVERFLOWS)),
        kind=draw(st.sampled_from(["kif", "kbi"])),
    )


@st.composite
def minifloats(draw: Draw) -> Format:
    """A minifloat of data or of a constant."""
    return Format(
        i=draw(st.integers(1, 3)),
        f=draw(st.integers(0, 3)),
        k=draw(st.integers(-2, 1)),
        grain=draw(st.sampled_from(["tensor", "channel"])),
        spread=draw(st.integers(0, 1)),
        overflow=draw(st.sampled_from(["SAT", "SAT_SYM"])),
        kind="float",
    )


class NothingFits(Exception):
    """No tensor drawn so far suits the layer."""


class Drawing:
    """The network drawn so far."""

    def __init__(self, draw: Draw, uniform: bool) -> None:
        self.draw, self.uniform = draw, uniform
        self.tensors: list[Tensor] = []
        self.real: list[bool] = []
        self.steps: list[Step] = []
        # Wide inputs that nobody narrows: sums of products that float32 is not proved to hold.
        self.wide = rarely(draw, 4)
        # Some factors are minifloats, which nothing prints.
        self.minifloats = not uniform and rarely(draw, 6)

    def pick(self, wanted: Callable[[Tensor], bool] = lambda _: True, like: int | None = None) -> int:
        """A tensor that fits, mostly the latest."""
        fitting = [n for n, t in enumerate(self.tensors) if not self.real[n] and wanted(t)][::-1]
        if not fitting and like is None:
            raise NothingFits
        if like is not None:
            fitting = [like, *(n for n in fitting if n != like)]
        return self.draw(st.sampled_from([*fitting[:1] * 2, *fitting]))

    def data(self, **options: Any) -> Format:
        return self.draw(formats(uniform=self.uniform, **options))

    def quantizers(self, sources: tuple[int, ...], limit: int, *, needed: bool = False) -> tuple[Format, ...]:
        """Input quantizers where the values are too wide, else by chance; one per input or none."""
        wide = max(self.tensors[n].bits for n in sources) > limit and not self.wide
        if needed or wide or rarely(self.draw, 9 if self.wide else 3):
            return tuple(self.data() for _ in sources)
        return ()

    def factors(self, sources: tuple[int, ...], limit: int, *, needed: bool = False) -> tuple[Format, ...]:
        """As `quantizers`, of what is multiplied: fixed point or minifloats."""
        found = self.quantizers(sources, limit, needed=needed)
        return tuple(
            self.draw(minifloats()) if self.minifloats and rarely(self.draw, 2) else q for q in found
        )

    def factor(self) -> Format:
        """A quantizer of a kernel."""
        return self.draw(minifloats() if self.minifloats and rarely(self.draw, 2) else constant_formats())

    def seen(self, sources: tuple[int, ...], iq: tuple[Format, ...]) -> Tensor:
        """The inputs, as the layer's operation sees them, taken together."""
        if iq:
            pairs = [format_range(q) for q in iq]
        else:
            pairs = [(self.tensors[n].top, self.tensors[n].frac) for n in sources]
        return Tensor(self.tensors[sources[0]].shape, max(t for t, _ in pairs), max(f for _, f in pairs))

    def add(self, step: Step, shape: Shape, top: int, frac: int) -> None:
        if step.oq is not None:
            top, frac = format_range(step.oq)
        self.steps.append(step)
        self.tensors.append(Tensor(shape, top, frac))
        self.real.append(False)


def format_range(q: Format) -> tuple[int, int]:
    """Integer bits and fractional bits that hold every number of it."""
    if q.kind == "float":
        half = 2 ** (q.i - 1)
        return half + q.k, q.f + q.spread - 1 + half - q.k
    return q.i + q.spread, q.f + q.spread


def shape_of(layer: str, options: dict[str, Any], *shapes: Shape) -> Shape:
    """Output shape, by the Keras layer of that name."""
    return _shape_of(layer, tuple(options.items()), shapes)


@functools.cache
def _shape_of(layer: str, options: tuple[tuple[str, Any], ...], shapes: tuple[Shape, ...]) -> Shape:
    # Random initialisers would take their seed from `random`, which is not ours to use here.
    seedless = {"QDense": "kernel", "QConv": "kernel", "QDepthwise": "depthwise"}
    given = {f"{what}_initializer": "zeros" for prefix, what in seedless.items() if layer.startswith(prefix)}
    built = getattr(keras.layers, layer.removeprefix("Q"))(**dict(options), **given)
    batched = [(None, *shape) for shape in shapes]
    out = built.compute_output_shape(batched if len(batched) > 1 else batched[0])
    return tuple(out[1:])
