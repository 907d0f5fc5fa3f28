"""Random fixed programs, from a seeded generator: every operation, small shapes, odd formats."""

from dataclasses import replace

import numpy as np

from hgqify.fixed import Overflow, Rounding
from hgqify.precision import Node, Program, annotate
from hgqify.precision.ops import (
    Add,
    Clip,
    Concatenate,
    Constant,
    Conv,
    Crop,
    Dense,
    Input,
    LeakyRelu,
    Matmul,
    Maximum,
    MaxPool,
    Minimum,
    Multiply,
    Pad,
    Quantize,
    Repeat,
    Reshape,
    ScaleShift,
    Subtract,
    SumPool,
    Table,
    Transpose,
)

ROUNDINGS = [mode for mode in Rounding if not mode.is_stochastic]
OVERFLOWS = [Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM]


def constant(codes, frac=0):
    """A constant from anything array-like."""
    return Constant(codes=np.asarray(codes, dtype=np.int64), frac=int(frac))


def quantizer(k=1, i=2, f=3, rounding=Rounding.RND, overflow=Overflow.SAT):
    """A quantizer from ints or arrays."""
    k, i, f = (np.asarray(a, dtype=np.int64) for a in (k, i, f))
    return Quantize(k=k, i=i, f=f, rounding=rounding, overflow=overflow)


class Builder:
    """Collects nodes; `add` returns the new node's name."""

    def __init__(self, uniform=False):
        self.uniform = uniform
        self.nodes = []
        self.inputs = []
        self.shapes = {}

    def add(self, op, inputs, shape, name=None):
        name = name or f"n{len(self.nodes)}_{type(op).__name__.lower()}"
        shape = tuple(int(s) for s in shape)
        self.nodes.append(Node(name=name, op=op, inputs=tuple(inputs), shape=shape, layer=f"layer/{name}"))
        self.shapes[name] = shape
        if isinstance(op, Input):
            self.inputs.append(name)
        return name

    def program(self, *outputs):
        return Program(nodes=tuple(self.nodes), inputs=tuple(self.inputs), outputs=outputs)


def random_quantizer(rng, shape, width=7, uniform=False):
    """Per tensor, channel or element; now and then zero-width elements, i or f below 0."""
    size = [(), shape[-1:], shape][0 if uniform else rng.integers(3)]
    k = rng.integers(0, 2, size)
    f = rng.integers(-2, 6, size)
    i = rng.integers(0, width, size) - f + rng.integers(-1, 1)
    if uniform:  # a type in streams has at least one bit
        i = np.maximum(i, 1 - k - f)
    return quantizer(k, i, f, ROUNDINGS[rng.integers(len(ROUNDINGS))], OVERFLOWS[rng.integers(3)])


def random_constant(rng, shape, bits=5):
    codes = rng.integers(-(1 << bits), 1 << bits, shape) * (rng.random(shape) < 0.8)
    return constant(codes << rng.integers(0, 3), rng.integers(-2, 6))


def random_program(rng, steps=8, uniform=False):
    """A DAG on (height, width, channels) tensors, with all outputs that nobody reads.

    ``uniform``: every quantizer has one format for its tensor, as streams need.
    """
    b = Builder(uniform)
    shape = (int(rng.integers(2, 6)), int(rng.integers(2, 6)), int(rng.integers(1, 4)))
    real = b.add(Input(), (), shape, name="x")
    pool = [b.add(random_quantizer(rng, shape, uniform=uniform), (real,), shape) for _ in range(2)]
    for _ in range(steps):
        source = pool[rng.integers(len(pool))]
        pool.append(_step(rng, b, source, pool))
        if rng.random() < 0.4 or b.shapes[pool[-1]] == ():
            narrow = random_quantizer(rng, b.shapes[pool[-1]], uniform=uniform)
            pool[-1] = b.add(narrow, (pool[-1],), b.shapes[pool[-1]])
    read = {name for node in b.nodes for name in node.inputs}
    return b.program(*(name for name in b.shapes if name not in read))


def with_minifloats(rng, program):
    """Half of the quantizers become minifloats, here and there the constant 0; not those that tables read."""
    tables = {name for node in program.nodes if isinstance(node.op, Table) for name in node.inputs}
    nodes = []
    for node in program.nodes:
        if isinstance(node.op, Quantize) and node.name not in tables and rng.random() < 0.5:
            m, e = (rng.integers(*ends, node.op.f.shape) for ends in ((0, 4), (1, 4)))
            half, zero = 1 << (e - 1), rng.random(node.op.f.shape) < 0.1
            f = m - 1 + half - rng.integers(-1, 3, node.op.f.shape)
            i = np.where(zero, -f, m + 2 * half - 1 - f)
            parts = {"k": np.where(zero, 0, node.op.k), "i": i, "f": f, "digits": np.where(zero, 0, m + 1)}
            node = replace(node, op=replace(node.op, overflow=Overflow.SAT_SYM, **parts))
        nodes.append(node)
    return replace(program, nodes=tuple(nodes))


def quantized_once(program):
    """One quantizer on each input, which all that read the input read instead: hardware has one input."""
    first = quantizer(1, 5, 6)
    nodes = []
    for node in program.nodes:
        if isinstance(node.op, Input):
            once = Node(name=f"{node.name}_q", op=first, inputs=(node.name,), shape=node.shape, layer="q")
            nodes += [node, once]
            continue
        renamed = tuple(f"{name}_q" if name in program.inputs else name for name in node.inputs)
        nodes.append(replace(node, inputs=renamed))
    return annotate(replace(program, nodes=tuple(nodes)))


def wrapping_ends(rng, program):
    """A wrapping quantizer behind every output: then requests bite."""
    b = Builder()
    b.nodes, b.inputs = list(program.nodes), list(program.inputs)
    b.shapes = {node.name: node.shape for node in program.nodes}
    roundings = [Rounding.TRN, Rounding.RND, Rounding.RND_CONV]
    ends = [
        b.add(
            quantizer(
                rng.integers(0, 2),
                rng.integers(-1, 4),
                rng.integers(-1, 4),
                roundings[rng.integers(3)],
                Overflow.WRAP,
            ),
            (name,),
            b.shapes[name],
        )
        for name in program.outputs
    ]
    return b.program(*ends)


def _window(rng, shape, dilated=False):
    """Window, strides, dilation, padding and the output's spatial shape."""
    space = shape[:-1]
    dilation = tuple(int(rng.integers(1, 3)) if dilated else 1 for _ in space)
    padding = tuple(tuple(int(p) for p in rng.integers(0, 2, 2)) for _ in space)
    window = tuple(
        int(rng.integers(2, max(3, min(4, (s + sum(p) - 1) // d + 2))))
        for s, d, p in zip(space, dilation, padding, strict=True)
    )
    # A window must hold at least one real element, and fit.
    window = tuple(
        min(w, (s + sum(p) - 1) // d + 1) for w, s, d, p in zip(window, space, dilation, padding, strict=True)
    )
    padding = tuple((min(a, w - 1), min(z, w - 1)) for (a, z), w in zip(padding, window, strict=True))
    window = tuple(
        min(w, (s + sum(p) - 1) // d + 1) for w, s, d, p in zip(window, space, dilation, padding, strict=True)
    )
    strides = tuple(int(rng.integers(1, 3)) for _ in space)
    out = tuple(
        (s + sum(p) - (w - 1) * d - 1) // t + 1
        for s, p, w, d, t in zip(space, padding, window, dilation, strides, strict=True)
    )
    return window, strides, dilation, padding, out


def _step(rng, b, source, pool):
    shape = b.shapes[source]
    kind = rng.integers(18)
    if kind == 0:
        filters = int(rng.integers(1, 4))
        bias = random_constant(rng, (filters,)) if rng.random() < 0.5 else None
        return b.add(
            Dense(kernel=random_constant(rng, (shape[-1], filters)), bias=bias),
            (source,),
            (*shape[:-1], filters),
        )
    if kind in (1, 2):
        window, strides, dilation, padding, out = _window(rng, shape, dilated=True)
        groups = int(rng.choice([g for g in range(1, shape[-1] + 1) if shape[-1] % g == 0]))
        filters = groups * int(rng.integers(1, 3))
        bias = random_constant(rng, (filters,)) if rng.random() < 0.5 else None
        kernel = random_constant(rng, (*window, shape[-1] // groups, filters))
        op = Conv(
            kernel=kernel, bias=bias, strides=strides, dilation=dilation, padding=padding, groups=groups
        )
        return b.add(op, (source,), (*out, filters))
    if kind in (3, 4):
        window, strides, _, _, _ = _window(rng, shape)
        window = tuple(min(w, s) for w, s in zip(window, shape[:-1], strict=True))
        padding = tuple((int(rng.integers(0, w)), int(rng.integers(0, w))) for w in window)
        # Drop padding that would make a window of nothing but padding.
        padding = tuple(
            (a if a < w else 0, z if w + a <= s else 0)
            for (a, z), w, s in zip(padding, window, shape[:-1], strict=True)
        )
        out = tuple(
            (s + a + z - w) // t + 1
            for s, (a, z), w, t in zip(shape[:-1], padding, window, strides, strict=True)
        )
        op = (MaxPool if kind == 3 else SumPool)(window=window, strides=strides, padding=padding)
        return b.add(op, (source,), (*out, shape[-1]))
    if kind == 5:
        shift = random_constant(rng, shape[-1:]) if rng.random() < 0.5 else None
        return b.add(ScaleShift(scale=random_constant(rng, shape[-1:]), shift=shift), (source,), shape)
    if kind in (6, 7):
        same = [name for name in pool if b.shapes[name] == shape]
        other = same[rng.integers(len(same))]
        op = [Add, Subtract, Multiply, Maximum, Minimum][rng.integers(5)]()
        if isinstance(op, Multiply):  # keep widths small
            source = b.add(random_quantizer(rng, shape, 4, b.uniform), (source,), shape)
            other = b.add(random_quantizer(rng, shape, 4, b.uniform), (other,), shape)
        return b.add(op, (source, other), shape)
    if kind == 8:
        low = constant(rng.integers(-9, 3), rng.integers(0, 3)) if rng.random() < 0.7 else None
        high = constant(rng.integers(3, 30), rng.integers(0, 3)) if rng.random() < 0.7 else None
        return b.add(Clip(low=low, high=high), (source,), shape)
    if kind == 9:
        return b.add(LeakyRelu(slope=constant(rng.integers(-7, 8), rng.integers(-1, 5))), (source,), shape)
    if kind == 10:
        frac = int(rng.integers(-1, 4))
        index = quantizer(1, 4 - frac, frac, Rounding.RND, OVERFLOWS[rng.integers(3)])
        source = b.add(index, (source,), shape)
        return b.add(Table(in_frac=frac, first=-16, entries=random_constant(rng, (32,))), (source,), shape)
    if kind == 11:
        return b.add(Transpose(perm=(1, 0, 2)), (source,), (shape[1], shape[0], shape[2]))
    if kind == 12:
        flat = b.add(Reshape(), (source,), (int(np.prod(shape)),))
        return b.add(Reshape(), (flat,), (shape[2], shape[0], shape[1]))
    if kind == 13:
        same = [name for name in pool if b.shapes[name] == shape]
        chosen = [source, *(same[n] for n in rng.integers(len(same), size=int(rng.integers(1, 3))))]
        axis = int(rng.integers(3))
        out = tuple(s * len(chosen) if n == axis else s for n, s in enumerate(shape))
        return b.add(Concatenate(axis=axis), chosen, out)
    if kind == 14:
        padding = tuple(tuple(int(p) for p in rng.integers(0, 2, 2)) for _ in shape)
        return b.add(
            Pad(padding=padding), (source,), tuple(s + sum(p) for s, p in zip(shape, padding, strict=True))
        )
    if kind == 15:
        cropping = tuple((int(rng.integers(0, 2)), 0) if s > 1 else (0, 0) for s in shape)
        return b.add(
            Crop(cropping=cropping),
            (source,),
            tuple(s - sum(p) for s, p in zip(shape, cropping, strict=True)),
        )
    if kind == 16:
        fits = [n for n in pool if b.shapes[n][::2] == shape[::2]]
        other = fits[rng.integers(len(fits))]
        out = (*shape[:2], b.shapes[other][1])
        source = b.add(random_quantizer(rng, shape, 4, b.uniform), (source,), shape)
        other = b.add(random_quantizer(rng, b.shapes[other], 4, b.uniform), (other,), b.shapes[other])
        return b.add(Matmul(), (source, other), out)
    repeats = tuple(int(r) for r in rng.integers(1, 3, len(shape)))
    return b.add(
        Repeat(repeats=repeats), (source,), tuple(s * r for s, r in zip(shape, repeats, strict=True))
    )
