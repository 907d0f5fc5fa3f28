"""The strategy that draws whole networks of quantized layers.

Every choice is a draw, and the first of its values is the plainest, so that a failing network shrinks to a
short chain of plain layers. Widths are kept in mind so that most networks are proved exact in float32.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from description import Format, Network, Shape, Step
from hypothesis import strategies as st
from programs import quantized_once, random_program

from hgqify.fixed import Overflow, Rounding
from hgqify.precision import Program

Draw = Callable[[st.SearchStrategy[Any]], Any]

SHAPES = {1: [(4,), (6,), (3,)], 2: [(6, 2), (4, 3), (5, 4)], 3: [(4, 4, 2), (5, 3, 2), (3, 4, 3)]}
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
    draw: Draw, *, uniform: bool = False, least: int = -3, most: int = 6, sign: bool = True
) -> Format:
    """A quantizer of data: up to 6 bits, any mode; ``uniform``: one that has a type in streams."""
    overflow = draw(st.sampled_from([m for m in OVERFLOWS if not (uniform and m == "WRAP_SM")]))
    f = draw(st.integers(least, most)) if rarely(draw, 2) else 3
    bits = draw(st.sampled_from([4, 5, 6, 3, 2, 1] if uniform else [4, 5, 6, 3, 2, 1, 0]))
    grain = "tensor" if uniform else draw(st.sampled_from(["tensor", "tensor", "channel", "element"]))
    return Format(
        i=bits - f,
        f=f,
        k=1 if overflow == "WRAP_SM" or not sign else draw(st.sampled_from([1, 0])),
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


class NothingFits(Exception):
    """No tensor drawn so far suits the layer."""


class Drawing:
    """The network drawn so far."""

    def __init__(self, draw: Draw, uniform: bool) -> None:
        self.draw, self.uniform = draw, uniform
        self.tensors: list[Tensor] = []
        self.real: list[bool] = []
        self.steps: list[Step] = []

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
        wide = max(self.tensors[n].bits for n in sources) > limit and not rarely(self.draw, 24)
        if needed or wide or rarely(self.draw, 3):
            return tuple(self.data() for _ in sources)
        return ()

    def seen(self, sources: tuple[int, ...], iq: tuple[Format, ...]) -> Tensor:
        """The inputs, as the layer's operation sees them, taken together."""
        if iq:
            pairs = [_format_range(q) for q in iq]
        else:
            pairs = [(self.tensors[n].top, self.tensors[n].frac) for n in sources]
        return Tensor(self.tensors[sources[0]].shape, max(t for t, _ in pairs), max(f for _, f in pairs))

    def add(self, step: Step, shape: Shape, top: int, frac: int) -> None:
        if step.oq is not None:
            top, frac = _format_range(step.oq)
        self.steps.append(step)
        self.tensors.append(Tensor(shape, top, frac))
        self.real.append(False)


def _format_range(q: Format) -> tuple[int, int]:
    return q.i + q.spread, q.f + q.spread


def shape_of(layer: str, options: dict[str, Any], *shapes: Shape) -> Shape:
    """Output shape, by the Keras layer of that name."""
    # Random initialisers would take their seed from `random`, which is not ours to use here.
    seedless = {"QDense": "kernel", "QConv": "kernel", "QDepthwise": "depthwise"}
    given = {f"{what}_initializer": "zeros" for prefix, what in seedless.items() if layer.startswith(prefix)}
    built = getattr(keras.layers, layer.removeprefix("Q"))(**options, **given)
    batched = [(None, *shape) for shape in shapes]
    out = built.compute_output_shape(batched if len(batched) > 1 else batched[0])
    return tuple(out[1:])


# What each family draws. A family that does not fit the tensors at hand draws a quantizer instead.


def quantize(d: Drawing) -> None:
    source = d.pick()
    iq = d.data()
    d.add(Step("Quantize", (source,), iq=(iq,)), d.tensors[source].shape, *_format_range(iq))


def _window(d: Drawing, shape: Shape, *, largest: int = 3) -> dict[str, Any]:
    """Kernel or pool size, strides and padding that fit the spatial axes."""
    draw, space = d.draw, shape[:-1]
    padding = draw(st.sampled_from(["valid", "same"]))
    size = tuple(draw(st.integers(1, min(largest, s) if padding == "valid" else largest)) for s in space)
    stride = draw(st.integers(1, 2))
    return {"size": size, "strides": (stride,) * len(space), "padding": padding}


def _linear(d: Drawing, layer: str, source: int, options: dict[str, Any], terms: int) -> None:
    """A layer with kernel and bias."""
    draw = d.draw
    iq, kq = d.quantizers((source,), FACTOR_BITS), draw(constant_formats())
    if layer == "QBatchNormalization":
        bq = draw(constant_formats())
    else:
        options = options | {"use_bias": not rarely(draw, 3)}
        bq = draw(constant_formats()) if options["use_bias"] else None
        activation = draw(st.sampled_from([None, None, *EXACT]))
        if activation:
            options["activation"] = activation
        if activation == "leaky_relu":
            options["activation_params"] = {"negative_slope": draw(st.sampled_from([0.25, 0.125, -0.5]))}
    seen = d.seen((source,), iq)
    top, frac = seen.top + kq.i + kq.spread + math.ceil(math.log2(terms)) + 1, seen.frac + kq.f + kq.spread
    if bq is not None:
        top, frac = max(top, bq.i + bq.spread) + 1, max(frac, bq.f + bq.spread)
    step = Step(
        layer,
        (source,),
        options,
        iq=iq,
        kq=kq,
        bq=bq,
        oq=d.data() if rarely(draw, 4) else None,
        weights=draw(st.sampled_from(["random", "random", "sparse", "constant", "zero"])),
    )
    plain = {k: v for k, v in options.items() if k not in ("activation", "activation_params")}
    d.add(step, shape_of(layer, plain, d.tensors[source].shape), top, frac)


def dense(d: Drawing) -> None:
    source = d.pick()
    _linear(d, "QDense", source, {"units": d.draw(st.integers(1, 4))}, d.tensors[source].shape[-1])


def batchnorm(d: Drawing) -> None:
    source = d.pick()
    axes = [-1, *range(1, len(d.tensors[source].shape))]
    _linear(d, "QBatchNormalization", source, {"axis": d.draw(st.sampled_from(axes))}, 1)


def conv(d: Drawing) -> None:
    source = d.pick(lambda t: len(t.shape) > 1)
    shape = d.tensors[source].shape
    options = _window(d, shape)
    rank, channels, size = len(shape) - 1, shape[-1], options.pop("size")
    if options["strides"] == (1,) * rank and rarely(d.draw, 3):
        fits = options["padding"] == "same" or all((k - 1) * 2 < s for k, s in zip(size, shape, strict=False))
        options["dilation_rate"] = 2 if fits else 1
    if rank == 1 and rarely(d.draw, 4):
        options["padding"] = "causal"
    groups = d.draw(st.sampled_from([g for g in (1, 2, 3, 4) if channels % g == 0]))
    options |= {"filters": groups * d.draw(st.integers(1, 2)), "kernel_size": size}
    if groups > 1:
        options["groups"] = groups
    _linear(d, f"QConv{rank}D", source, options, math.prod(size) * channels // groups)


def depthwise(d: Drawing) -> None:
    source = d.pick(lambda t: len(t.shape) > 1 and t.shape[-1] <= 4)
    shape = d.tensors[source].shape
    options = _window(d, shape)
    rank, size = len(shape) - 1, options.pop("size")
    if rank == 1:
        options["strides"] = options["strides"][0]
    options |= {"kernel_size": size, "depth_multiplier": d.draw(st.integers(1, 2))}
    if options["depth_multiplier"] * shape[-1] > 6:
        options["depth_multiplier"] = 1
    _linear(d, f"QDepthwiseConv{rank}D", source, options, math.prod(size))


def separable(d: Drawing) -> None:
    depthwise(d)
    source = len(d.tensors) - 1
    rank = len(d.tensors[source].shape) - 1
    options = {"filters": d.draw(st.integers(1, 3)), "kernel_size": (1,) * rank}
    _linear(d, f"QConv{rank}D", source, options, d.tensors[source].shape[-1])


def activation(d: Drawing) -> None:
    source = d.pick()
    tensor, draw = d.tensors[source], d.draw
    name = draw(st.sampled_from(["relu", *TABLES, *EXACT]))
    if name in TABLES:
        iq = d.data(least=3 if name == "exp" else 0, most=5)
        iq = Format(i=iq.i, f=iq.f, k=iq.k, rounding=iq.rounding, overflow=iq.overflow, kind=iq.kind)
        out = draw(constant_formats())
        oq = Format(i=out.i, f=out.f, rounding=out.rounding, overflow=out.overflow, kind=out.kind)
        options = {"activation": name, "max_table_bits": 7}
        d.add(Step("QActivation", (source,), options, iq=(iq,), oq=oq), tensor.shape, 0, 0)
        return
    if rarely(draw, 3):
        slope = draw(st.sampled_from([0.25, 0.5]))
        layer, options = draw(
            st.sampled_from(
                [("ReLU", {}), ("ReLU", {"max_value": 2.0}), ("LeakyReLU", {"negative_slope": slope})]
            )
        )
        d.add(Step(layer, (source,), options), tensor.shape, tensor.top, tensor.frac + 2)
        return
    options: dict[str, Any] = {"activation": name}
    if name == "leaky_relu":
        options["activation_params"] = {"negative_slope": draw(st.sampled_from([0.25, 0.125, -0.5]))}
    elif name == "relu" and rarely(draw, 2):
        options["activation_params"] = {"max_value": draw(st.sampled_from([3.0, 0.75]))}
    iq = d.quantizers((source,), TERM_BITS)
    seen = d.seen((source,), iq)
    oq = d.data() if rarely(draw, 3) else None
    d.add(Step("QActivation", (source,), options, iq=iq, oq=oq), tensor.shape, seen.top, seen.frac + 3)


def merge(d: Drawing) -> None:
    draw = d.draw
    name = draw(st.sampled_from(MERGES))
    first = d.pick()
    shape = d.tensors[first].shape

    def broadcasts(t: Tensor) -> bool:
        return len(t.shape) == len(shape) and all(
            a == b or a == 1 for a, b in zip(t.shape, shape, strict=True)
        )

    count = 2 if name in ("Subtract",) else draw(st.integers(2, 4 if name != "Multiply" else 3))
    sources = (first, *(d.pick(broadcasts, like=first) for _ in range(count - 1)))
    sources = tuple(draw(st.permutations(sources)))
    product = name == "Multiply"
    iq = d.quantizers(sources, 7 if product else TERM_BITS, needed=name == "Average" and rarely(draw, 2))
    layer = f"Q{name}" if iq or name == "Average" else draw(st.sampled_from([f"Q{name}", name]))
    seen = d.seen(sources, iq)
    oq = d.data() if layer.startswith("Q") and rarely(draw, 4) else None
    top, frac = seen.top + 2, seen.frac + (14 if name == "Average" else 0)
    if product:
        top, frac = seen.top * count, seen.frac * count
    d.add(Step(layer, sources, iq=iq, oq=oq), shape, top, frac)


def concatenate(d: Drawing) -> None:
    first = d.pick(lambda t: t.size <= LARGE)
    shape = d.tensors[first].shape
    axis = d.draw(st.integers(0, len(shape) - 1).map(lambda n: len(shape) - 1 - n))

    def fits(t: Tensor) -> bool:
        return (
            len(t.shape) == len(shape)
            and t.size <= LARGE
            and all(a == b for n, (a, b) in enumerate(zip(t.shape, shape, strict=True)) if n != axis)
        )

    sources = (first, *(d.pick(fits, like=first) for _ in range(d.draw(st.integers(1, 2)))))
    seen = d.seen(sources, ())
    options = {"axis": axis + 1}
    out = shape_of("Concatenate", options, *(d.tensors[n].shape for n in sources))
    d.add(Step("Concatenate", sources, options), out, seen.top, seen.frac)


def pooling(d: Drawing) -> None:
    draw = d.draw
    source = d.pick(lambda t: len(t.shape) > 1)
    shape = d.tensors[source].shape
    rank, kind = len(shape) - 1, draw(st.sampled_from(["Max", "Average"]))
    if rarely(draw, 3):
        layer, options = f"QGlobal{kind}Pooling{rank}D", {"keepdims": draw(st.booleans())}
        count = math.prod(shape[:-1])
    else:
        options = _window(d, shape)
        options["pool_size"] = options.pop("size")
        if rarely(draw, 2):
            options.pop("strides")
        if rank == 1:
            options = {k: v[0] if isinstance(v, tuple) else v for k, v in options.items()}
        layer = f"Q{kind}Pooling{rank}D"
        count = math.prod(options["pool_size"]) if rank > 1 else options["pool_size"]
    iq = d.quantizers((source,), FACTOR_BITS if kind == "Average" else TERM_BITS)
    if kind == "Max" and not iq and rarely(draw, 2):
        layer = layer.removeprefix("Q")
    seen = d.seen((source,), iq)
    oq = d.data() if layer.startswith("Q") and rarely(draw, 4) else None
    average = kind == "Average" and count > 1
    top, frac = seen.top + average, seen.frac + (0 if not average else int(math.log2(count)) + 12)
    d.add(Step(layer, (source,), options, iq=iq, oq=oq), shape_of(layer, options, shape), top, frac)


def structure(d: Drawing) -> None:
    """Layers that move values."""
    draw = d.draw
    source = d.pick(lambda t: t.size <= LARGE)
    tensor = d.tensors[source]
    shape, rank = tensor.shape, len(tensor.shape)
    pairs = st.tuples(st.integers(0, 1), st.integers(0, 1))
    names = ["Reshape", "RepeatVector"] if rank == 1 else ["Flatten", "Reshape", "Permute"]
    if rank > 1:
        names += ["ZeroPadding", "Cropping", "UpSampling"]
    name = draw(st.sampled_from(names))
    options: dict[str, Any] = {}
    if name == "Reshape":
        options["target_shape"] = draw(st.sampled_from(_reshapes(shape)))
    elif name == "RepeatVector":
        options["n"] = draw(st.integers(1, 3))
    elif name == "Permute":
        options["dims"] = tuple(draw(st.permutations(range(1, rank + 1))))
    elif name == "ZeroPadding":
        amounts = tuple(draw(pairs) for _ in shape[:-1])
        options["padding"] = amounts[0] if rank == 2 else amounts
    elif name == "Cropping":
        amounts = tuple(draw(pairs) for _ in shape[:-1])
        amounts = tuple(a if sum(a) < s else (0, 0) for a, s in zip(amounts, shape, strict=False))
        options["cropping"] = amounts[0] if rank == 2 else amounts
    elif name == "UpSampling":
        amounts = tuple(draw(st.integers(1, 2)) for _ in shape[:-1])
        options["size"] = amounts[0] if rank == 2 else amounts
    if name in ("ZeroPadding", "Cropping", "UpSampling"):
        name = f"{name}{rank - 1}D"
    out = tuple(options["target_shape"]) if name == "Reshape" else shape_of(name, options, shape)
    d.add(Step(name, (source,), options), out, tensor.top, tensor.frac)


def _reshapes(shape: Shape) -> list[Shape]:
    """Shapes of as many elements."""
    size, found = math.prod(shape), [(math.prod(shape),), (*shape[1:], shape[0])]
    found += [(n, size // n) for n in (1, 2, 3) if size % n == 0]
    found += [(2, size // 4, 2)] if size % 4 == 0 else []
    return [s for s in found if s != shape] or [shape]


def again(d: Drawing) -> None:
    """A layer called a second time, on a tensor of the same shape."""
    shared = [n for n, step in enumerate(d.steps) if step.kq is not None or step.layer == "QActivation"]
    if not shared:
        return quantize(d)
    n = d.draw(st.sampled_from(shared[::-1]))
    first = d.steps[n]
    base = len(d.tensors) - len(d.steps)
    shape, out = d.tensors[first.inputs[0]].shape, d.tensors[base + n]
    source = d.pick(lambda t: t.shape == shape, like=first.inputs[0])
    while d.steps[n].again is not None:
        n = d.steps[n].again
    wider = max(0, d.tensors[source].top - d.tensors[first.inputs[0]].top) if not first.iq else 0
    finer = max(0, d.tensors[source].frac - d.tensors[first.inputs[0]].frac) if not first.iq else 0
    return d.add(Step(inputs=(source,), again=n), out.shape, out.top + wider, out.frac + finer)


def on_input(d: Drawing) -> None:
    """A quantized layer straight on a model input."""
    source = d.draw(st.sampled_from([n for n, real in enumerate(d.real) if real]))
    shape, iq = d.tensors[source].shape, d.data()
    if rarely(d.draw, 2):
        d.add(Step("QActivation", (source,), {"activation": "relu"}, iq=(iq,)), shape, *_format_range(iq))
    else:
        kq = d.draw(constant_formats())
        options = {"units": 2, "use_bias": False}
        top, frac = _format_range(iq)
        step = Step("QDense", (source,), options, iq=(iq,), kq=kq)
        d.add(step, (*shape[:-1], 2), top + kq.i + kq.spread + 3, frac + kq.f + kq.spread)


FAMILIES = [
    (dense, 3), (quantize, 1), (conv, 3), (merge, 4), (activation, 3), (pooling, 3), (structure, 3),
    (depthwise, 2), (separable, 1), (batchnorm, 1), (concatenate, 2), (again, 1), (on_input, 1),
]  # fmt: skip


@st.composite
def networks(draw: Draw, *, uniform: bool = False, most: int = 7) -> Network:
    """Networks of 1 to ``most`` layers behind the quantizers of 1 to 3 inputs.

    Args:
        uniform: all data formats can be types in streams: one per tensor, not WRAP_SM, at least a bit.
        most: layers, not counting the first quantizers.
    """
    d = Drawing(draw, uniform)
    rank = draw(st.integers(1, 3))
    first = draw(st.sampled_from(SHAPES[rank]))
    inputs = [first]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        inputs.append(
            first if not rarely(draw, 3) else draw(st.sampled_from(SHAPES[draw(st.integers(1, 3))]))
        )
    for shape in inputs:
        d.tensors.append(Tensor(shape, 0, 0))
        d.real.append(True)
    for n, shape in enumerate(inputs):
        iq = draw(formats(uniform=uniform or not rarely(draw, 4)))
        d.add(Step("Quantize", (n,), iq=(iq,)), shape, *_format_range(iq))
    weighted = [family for family, weight in FAMILIES for _ in range(weight)]
    for _ in range(draw(st.integers(1, most))):
        family = draw(st.sampled_from(weighted))
        try:
            family(d)
        except NothingFits:
            quantize(d)
    return Network(tuple(inputs), tuple(d.steps), _outputs(d, len(inputs)), draw(st.integers(0, 2**16)))


def _outputs(d: Drawing, count: int) -> tuple[int, ...]:
    """What nobody reads, less some of it, with some that is read, and now and then one twice."""
    read = {n for step in d.steps for n in step.inputs}
    made = range(count, len(d.tensors))
    chosen = [n for n in made if n not in read]
    if len(chosen) > 1 and rarely(d.draw, 4):
        chosen.pop(0)
    consumed = [n for n in made if n in read]
    if consumed and rarely(d.draw, 3):
        chosen.append(d.draw(st.sampled_from(consumed[::-1])))
    if rarely(d.draw, 12):
        chosen.append(chosen[0])
    return tuple(chosen)


@st.composite
def programs(draw: Draw, *, uniform: bool = False) -> Program:
    """Fixed programs beyond what Keras layers give, from a seeded generator: they shrink in length only."""
    steps, seed = draw(st.integers(1, 10)), draw(st.integers(0, 2**32 - 1))
    return quantized_once(random_program(np.random.default_rng(seed), steps, uniform))
