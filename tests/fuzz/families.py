"""The families of layers: what each draws, and about how wide its result gets.

A family adds one step, or raises `NothingFits`. Those with a kernel are in `linear_families`.
"""

import math
from typing import Any

from description import Format, Shape, Step
from drawing import (
    EXACT,
    FACTOR_BITS,
    LARGE,
    MERGES,
    TABLES,
    TERM_BITS,
    Drawing,
    NothingFits,
    Tensor,
    constant_formats,
    format_range,
    formats,
    rarely,
    shape_of,
)  # fmt: skip
from hypothesis import strategies as st
from linear_families import window


def quantize(d: Drawing) -> None:
    source = d.pick()
    iq = d.data()
    d.add(Step("Quantize", (source,), iq=(iq,)), d.tensors[source].shape, *format_range(iq))


def activation(d: Drawing) -> None:
    source = d.pick()
    tensor, draw = d.tensors[source], d.draw
    name = draw(st.sampled_from(["relu", *TABLES, *EXACT]))
    affine = rarely(draw, 4)
    if affine or name in TABLES:
        iq = d.data(least=3 if name == "exp" else 0, most=5)
        iq = Format(i=iq.i, f=iq.f, k=iq.k, rounding=iq.rounding, overflow=iq.overflow, kind=iq.kind)
        out = draw(constant_formats())
        oq = Format(i=out.i, f=out.f, rounding=out.rounding, overflow=out.overflow, kind=out.kind)
        options = {"activation": name, "max_table_bits": 7}
        layer = "QAffineActivation" if affine else "QActivation"
        d.add(Step(layer, (source,), options, iq=(iq,), oq=oq), tensor.shape, 0, 0)
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
    choose = d.factors if product else d.quantizers
    iq = choose(sources, 7 if product else TERM_BITS, needed=name == "Average" and rarely(draw, 2))
    layer = f"Q{name}" if iq or name == "Average" else draw(st.sampled_from([f"Q{name}", name]))
    if name == "Average" and rarely(draw, 3):
        layer = "QAveragePow2"
    seen = d.seen(sources, iq)
    oq = d.data() if layer.startswith("Q") and rarely(draw, 4) else None
    top, frac = seen.top + 2, seen.frac + (14 if name == "Average" else 0)
    if product:
        top, frac = seen.top * count, seen.frac * count
    d.add(Step(layer, sources, iq=iq, oq=oq), shape, top, frac)


def product(d: Drawing) -> None:
    """A product of two tensors of one rank over some axes, the result's axes in any order."""
    draw = d.draw
    first = d.pick(lambda t: len(t.shape) <= 3)
    shape = d.tensors[first].shape
    a = "abc"[: len(shape)]
    # An axis of the second operand is the first one's of that place, or one of its own.
    apart = [draw(st.booleans()) for _ in a]
    second = d.pick(
        lambda t: (
            len(t.shape) == len(shape)
            and all(own or x == y for own, x, y in zip(apart, t.shape, shape, strict=True))
        ),
        like=first,
    )
    b = "".join(label.upper() if own else label for label, own in zip(a, apart, strict=True))
    summed = {label for label, own in zip(a, apart, strict=True) if not own and draw(st.booleans())}
    labels = [label for label in dict.fromkeys(a + b) if label not in summed]
    sizes = dict(zip(a + b, shape + d.tensors[second].shape, strict=True))
    if not 1 <= len(labels) <= 3 or math.prod(sizes[label] for label in labels) > LARGE:
        raise NothingFits
    result = "".join(draw(st.permutations(labels)))
    iq = d.factors((first, second), 7)
    seen = d.seen((first, second), iq)
    oq = d.data() if rarely(draw, 4) else None
    out = tuple(sizes[label] for label in result)
    growth = math.ceil(math.log2(max(1, math.prod(sizes[label] for label in summed))))
    step = Step("QEinsum", (first, second), {"equation": f"{a},{b}->{result}"}, iq=iq, oq=oq)
    d.add(step, out, 2 * seen.top + growth, 2 * seen.frac)


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
        options = window(d, shape)
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


def reduction(d: Drawing) -> None:
    """A sum, a mean or a distance over some axes, or a constant mask."""
    draw = d.draw
    source = d.pick()
    shape = d.tensors[source].shape
    layer = draw(st.sampled_from(["QBelowMaximum", "QSum", "QMean", "QMask", "QLargest", "QMeanPow2"]))
    axes = draw(st.lists(st.sampled_from(range(-1, -len(shape) - 1, -1)), min_size=1, unique=True))
    options: dict[str, Any] = {} if layer == "QMask" else {"axis": axes if len(axes) > 1 else axes[0]}
    masked = layer == "QMask" or (layer == "QBelowMaximum" and draw(st.booleans()))
    if masked:
        keep = st.sampled_from([True, True, False])
        options["mask"] = _nested(
            shape, draw(st.lists(keep, min_size=math.prod(shape), max_size=math.prod(shape)))
        )
    count = math.prod(shape[a] for a in axes)
    needed = layer == "QBelowMaximum" and masked
    iq = d.quantizers((source,), FACTOR_BITS if layer.startswith("QMean") else TERM_BITS, needed=needed)
    seen = d.seen((source,), iq)
    oq = d.data() if rarely(draw, 4) else None
    reduced = tuple(1 if n - len(shape) in axes else size for n, size in enumerate(shape))
    out = shape if layer in ("QMask", "QBelowMaximum") else reduced
    growth = {"QSum": (count - 1).bit_length(), "QBelowMaximum": 1, "QMeanPow2": 1}.get(layer, 0)
    frac = seen.frac + (12 + int(math.log2(count)) if layer == "QMean" and count > 1 else 0)
    frac += math.ceil(math.log2(count)) if layer == "QMeanPow2" else 0
    d.add(Step(layer, (source,), options, iq=iq, oq=oq), out, seen.top + growth, frac)


def _nested(shape: Shape, values: list[Any]) -> list[Any]:
    """Values in row-major order as nested lists."""
    if len(shape) == 1:
        return values
    step = len(values) // shape[0]
    return [_nested(shape[1:], values[n * step : (n + 1) * step]) for n in range(shape[0])]


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
    shared = [n for n, step in enumerate(d.steps) if step.kq is not None or step.layer.endswith("Activation")]
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


def embedding(d: Drawing) -> None:
    """Rows looked up by numbers that need be neither whole nor within the table."""
    fitting = [n for n, t in enumerate(d.tensors) if len(t.shape) < 3 and t.size <= LARGE // 4]
    if not fitting:
        raise NothingFits
    source = d.draw(st.sampled_from(fitting[::-1]))
    shape = d.tensors[source].shape
    options = {"input_dim": d.draw(st.integers(1, 9)), "output_dim": d.draw(st.integers(1, 3))}
    oq = d.draw(formats(uniform=True))
    weights = d.draw(st.sampled_from(["random", "sparse", "constant", "zero"]))
    step = Step("QEmbedding", (source,), options, oq=oq, weights=weights)
    d.add(step, (*shape, options["output_dim"]), *format_range(oq))


def edge_tables(d: Drawing) -> None:
    """A dense layer of tables, behind others or straight on a model input."""
    if rarely(d.draw, 8):
        source = d.draw(st.sampled_from([n for n, real in enumerate(d.real) if real]))
    else:
        source = d.pick(lambda t: t.size <= LARGE)
    draw, shape = d.draw, d.tensors[source].shape
    options: dict[str, Any] = {
        "n_out": draw(st.integers(1, 3)),
        "n_hl": draw(st.sampled_from([1, 0, 2])),
        "d_hl": 2,
        "subnn_activation": draw(st.sampled_from(["tanh", "relu"])),
        "use_bias": draw(st.booleans()),
        "max_table_bits": 6,
    }
    if rarely(draw, 3):
        options["activation"] = draw(st.sampled_from(["relu", "hard_tanh"]))
    iq, entries = d.data(), draw(constant_formats())
    oq = d.data() if rarely(draw, 4) else None
    weights = draw(st.sampled_from(["random", "random", "sparse", "zero"]))
    step = Step("QDenseT", (source,), options, iq=(iq,), kq=entries, oq=oq, weights=weights)
    top, frac = format_range(entries)
    d.add(step, (*shape[:-1], options["n_out"]), top + math.ceil(math.log2(shape[-1])), frac)


def on_input(d: Drawing) -> None:
    """A quantized layer straight on a model input."""
    source = d.draw(st.sampled_from([n for n, real in enumerate(d.real) if real]))
    shape, iq = d.tensors[source].shape, d.data()
    if rarely(d.draw, 2):
        d.add(Step("QActivation", (source,), {"activation": "relu"}, iq=(iq,)), shape, *format_range(iq))
    else:
        kq = d.draw(constant_formats())
        options = {"units": 2, "use_bias": False}
        top, frac = format_range(iq)
        step = Step("QDense", (source,), options, iq=(iq,), kq=kq)
        d.add(step, (*shape[:-1], 2), top + kq.i + kq.spread + 3, frac + kq.f + kq.spread)
