"""Small fixed programs that together use every operation and every way tensors can meet."""

import numpy as np

from hgqify.fixed import Overflow, Rounding
from hgqify.precision.forward import annotate
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
    Maximum,
    MaxPool,
    Minimum,
    Multiply,
    Op,
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
from hgqify.precision.program import Node, Program


class Builder:
    """Collects nodes; constants come from one seeded generator."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []

    def __call__(self, name: str, op: Op, inputs: str, shape: tuple[int, ...]) -> None:
        self.nodes.append(
            Node(name=name, op=op, inputs=tuple(inputs.split()), shape=shape, layer=f"net/{name}")
        )

    def constant(self, shape: tuple[int, ...], frac: int, limit: int = 30) -> Constant:
        return Constant(codes=self.rng.integers(-limit, limit + 1, shape).astype(np.int64), frac=frac)

    def window(self, kernel: tuple[int, ...], bias: bool = True, **changes) -> Conv:
        rank = len(kernel) - 2
        options = {"strides": (1,) * rank, "dilation": (1,) * rank, "padding": ((0, 0),) * rank} | changes
        return Conv(
            kernel=self.constant(kernel, 6), bias=self.constant(kernel[-1:], 8) if bias else None, **options
        )

    def dense(self, n_in: int, n_out: int) -> Dense:
        return Dense(kernel=self.constant((n_in, n_out), 6), bias=self.constant((n_out,), 8))

    def program(self, *outputs: str) -> Program:
        inputs = tuple(n.name for n in self.nodes if isinstance(n.op, Input))
        return annotate(Program(nodes=tuple(self.nodes), inputs=inputs, outputs=outputs))


def quantize(k, i, f, rounding="RND", overflow="SAT") -> Quantize:
    k, i, f = (np.asarray(a) for a in (k, i, f))
    return Quantize(k=k, i=i, f=f, rounding=Rounding(rounding), overflow=Overflow(overflow))


def scalar(code: int, frac: int = 0) -> Constant:
    return Constant(codes=np.asarray(code, np.int64), frac=frac)


RELU = Clip(low=scalar(0), high=None)


def separable() -> Program:
    """Strided, depthwise and pointwise convolutions, clip, average over 30, dense."""
    b = Builder()
    b("x", Input(), "", (13, 10, 3))
    b("xq", quantize(1, 2, 5), "x", (13, 10, 3))
    b("conv", b.window((3, 4, 3, 8), strides=(2, 2), padding=((1, 1), (1, 1))), "xq", (7, 5, 8))
    b("relu", RELU, "conv", (7, 5, 8))
    b("q2", quantize(0, 2, 6), "relu", (7, 5, 8))
    b("depthwise", b.window((3, 3, 1, 8), padding=((1, 1), (1, 1)), groups=8), "q2", (7, 5, 8))
    b("q3", quantize(1, 3, 5, "RND_CONV", "SAT_SYM"), "depthwise", (7, 5, 8))
    b("pointwise", b.window((1, 1, 8, 4), bias=False), "q3", (7, 5, 4))
    b("q4", quantize(1, 3, 5, "TRN", "WRAP"), "pointwise", (7, 5, 4))
    b("clip", Clip(low=scalar(-3, 1), high=scalar(21, 3)), "q4", (7, 5, 4))
    b("total", SumPool(window=(6, 5), strides=(6, 5), padding=((0, 0), (0, 0))), "clip", (1, 1, 4))
    b("mean", ScaleShift(scale=scalar(2185, 16), shift=None), "total", (1, 1, 4))
    b("flat", Reshape(), "mean", (4,))
    b("q5", quantize(1, 2, 7), "flat", (4,))
    b("dense", b.dense(4, 5), "q5", (5,))
    b("out", quantize(1, 3, 6), "dense", (5,))
    return b.program("out")


def merging() -> Program:
    """Residual sum with a shared tensor, leaky relu, table, product, maximum, concatenation."""
    b = Builder()
    s = (4, 4, 4)
    b("x", Input(), "", (8, 8, 4))
    b("xq", quantize(1, 2, 5), "x", (8, 8, 4))
    b("pool", MaxPool(window=(2, 2), strides=(2, 2), padding=((0, 0), (0, 0))), "xq", s)
    b("conv", b.window((1, 1, 4, 4)), "pool", s)
    b("q1", quantize(1, 3, 4), "conv", s)
    b("sum", Add(), "q1 pool", s)
    b("q2", quantize(1, 3, 4), "sum", s)
    b("leaky", LeakyRelu(slope=scalar(1, 3)), "q2", s)
    b("q3", quantize(1, 2, 4), "leaky", s)
    b("table", Table(in_frac=4, first=-64, entries=b.constant((128,), 7, 100)), "q3", s)
    b("product", Multiply(), "table q2", s)
    b("max", Maximum(), "product sum", s)
    b("joined", Concatenate(axis=2), "max q3 table", (4, 4, 12))
    b("q4", quantize(1, 3, 5), "joined", (4, 4, 12))
    b("norm", ScaleShift(scale=b.constant((12,), 4), shift=b.constant((12,), 6)), "q4", (4, 4, 12))
    b("q5", quantize(1, 4, 4, "RND", "WRAP"), "norm", (4, 4, 12))
    b("flat", Reshape(), "q5", (192,))
    b("dense", b.dense(192, 6), "flat", (6,))
    b("out", quantize(1, 5, 6), "dense", (6,))
    return b.program("out")


def shapes() -> Program:
    """Padding, grouped dilated convolution, padded pooling, cropping, transposition, upsampling."""
    b = Builder()
    b("x", Input(), "", (9, 4))
    b("xq", quantize(1, 2, 5), "x", (9, 4))
    b("pad", Pad(padding=((1, 2), (0, 0))), "xq", (12, 4))
    b("conv", b.window((3, 2, 6), bias=False, dilation=(2,), padding=((4, 0),), groups=2), "pad", (12, 6))
    b("q1", quantize(1, 3, 4), "conv", (12, 6))
    b("pool", MaxPool(window=(3,), strides=(2,), padding=((0, 1),)), "q1", (6, 6))
    b("crop", Crop(cropping=((1, 1), (0, 0))), "pool", (4, 6))
    b("turn", Transpose(perm=(1, 0)), "crop", (6, 4))
    b("q2", quantize(1, 2, 3), "turn", (6, 4))
    b("double", Repeat(repeats=(2, 1)), "q2", (12, 4))
    b("half", Crop(cropping=((3, 3), (0, 0))), "double", (6, 4))
    b("dense", b.dense(4, 5), "half", (6, 5))
    b("q3", quantize(1, 3, 4), "dense", (6, 5))
    b("image", Reshape(), "q3", (3, 2, 5))
    b("up", Repeat(repeats=(2, 2, 1)), "image", (6, 4, 5))
    b("relu", RELU, "up", (6, 4, 5))
    b("pool2", MaxPool(window=(3, 3), strides=(2, 2), padding=((0, 1), (0, 1))), "relu", (3, 2, 5))
    b("out", quantize(1, 3, 4), "pool2", (3, 2, 5))
    return b.program("out")


def meetings() -> Program:
    """What goes wrong elsewhere: shared, repeated and consumed outputs, quantizers in a row, per element.

    Several quantizers on one input; a tensor used twice by one node; a finer quantizer behind a coarser
    one; one format for the tensor behind one per element; a signed table behind relu; an output that is
    also consumed, and one that is an output twice.
    """
    b = Builder()
    rng = b.rng
    b("xa", Input(), "", (6,))
    b("xb", Input(), "", (6,))
    b("a1", quantize(1, 2, 3), "xa", (6,))
    b("a2", quantize(1, 1, 5), "xa", (6,))
    own = quantize(rng.integers(0, 2, 6), rng.integers(-2, 3, 6), rng.integers(-1, 6, 6), "RND", "WRAP")
    b("b1", own, "xb", (6,))
    b("b2", quantize(1, 2, 3), "b1", (6,))
    b("twice", Add(), "a1 a1", (6,))
    b("difference", Subtract(), "twice b2", (6,))
    b("q1", quantize(1, 2, 2, "RND_CONV"), "difference", (6,))
    b("q2", quantize(1, 1, 1, "TRN", "SAT_SYM"), "q1", (6,))
    b("relu", RELU, "q1", (6,))
    b("finer", quantize(1, 2, 3), "relu", (6,))
    b("table", Table(in_frac=3, first=-32, entries=b.constant((64,), 7, 100)), "finer", (6,))
    b("product", Multiply(), "table a2", (6,))
    b("each", quantize(np.ones(6, int), rng.integers(-2, 3, 6), rng.integers(-1, 6, 6)), "product", (6,))
    b("dense", b.dense(6, 4), "each", (4,))
    b("o1", quantize(1, 3, 4), "dense", (4,))
    b("dense2", b.dense(4, 3), "o1", (3,))
    b("o2", quantize(1, 3, 4, "RND", "WRAP"), "dense2", (3,))
    b("coarse", quantize(np.ones(6, int), np.full(6, 4), rng.integers(-3, 2, 6)), "table", (6,))
    b("least", Minimum(), "q2 finer", (6,))
    return b.program("o1", "o2", "least", "o2", "q2", "coarse")


def streamed() -> Program:
    """As `merging` in one dimension, with operations that streams allow."""
    b = Builder(3)
    b("x", Input(), "", (12, 3))
    b("xq", quantize(1, 2, 5), "x", (12, 3))
    b("conv", b.window((3, 3, 4), padding=((1, 1),)), "xq", (12, 4))
    b("q1", quantize(1, 3, 4, "RND", "SAT_SYM"), "conv", (12, 4))
    b("table", Table(in_frac=4, first=-128, entries=b.constant((256,), 7, 100)), "q1", (12, 4))
    b("sum", Add(), "table q1", (12, 4))
    b("pool", MaxPool(window=(2,), strides=(2,), padding=((0, 0),)), "sum", (6, 4))
    b("q2", quantize(1, 3, 4), "pool", (6, 4))
    b("depthwise", b.window((3, 1, 4), padding=((1, 1),), groups=4), "q2", (6, 4))
    b("clip", Clip(low=scalar(0), high=scalar(6)), "depthwise", (6, 4))
    b("q3", quantize(0, 2, 5), "clip", (6, 4))
    b("total", SumPool(window=(6,), strides=(6,), padding=((0, 0),)), "q3", (1, 4))
    b("flat", Reshape(), "total", (4,))
    b("dense", b.dense(4, 3), "flat", (3,))
    b("o1", quantize(1, 4, 4), "dense", (3,))
    b("dense2", b.dense(3, 2), "o1", (2,))
    b("o2", quantize(1, 4, 4), "dense2", (2,))
    return b.program("o1", "o2")


def packs() -> Program:
    """What streams stumble over: windows of one row that skip rows, flattened tensors, global maxima."""
    b = Builder(4)
    b("x", Input(), "", (4, 6, 2))
    b("xq", quantize(1, 2, 3), "x", (4, 6, 2))
    b("row", b.window((1, 3, 2, 3), strides=(2, 1)), "xq", (2, 4, 3))
    b("o1", quantize(1, 3, 4), "row", (2, 4, 3))
    b("skip", b.window((1, 1, 1, 2), strides=(3, 2), groups=2, bias=False), "xq", (2, 3, 2))
    b("o2", quantize(1, 3, 4), "skip", (2, 3, 2))
    b("flat", Reshape(), "o1", (24,))
    b("relu", RELU, "flat", (24,))
    b("sum", Add(), "flat relu", (24,))
    b("dense", b.dense(24, 3), "sum", (3,))
    b("o3", quantize(1, 5, 4), "dense", (3,))
    b("only", Reshape(), "o2", (12,))
    b("dense2", b.dense(12, 3), "only", (3,))
    b("o4", quantize(1, 5, 4), "dense2", (3,))
    b("odd", Reshape(), "flat", (3, 8))
    b("top", MaxPool(window=(3,), strides=(1,), padding=((0, 0),)), "odd", (1, 8))
    return b.program("o1", "o2", "flat", "o3", "o4", "top", "odd")


def copied() -> Program:
    """A reshaped stream that two nodes read, of more bits than hls4ml's default type holds."""
    b = Builder(5)
    b("x", Input(), "", (2, 6))
    b("xq", quantize(1, 2, 14), "x", (2, 6))
    b("rows", Reshape(), "xq", (4, 3))
    b("above", Crop(cropping=((0, 2), (0, 0))), "rows", (2, 3))
    b("below", Crop(cropping=((2, 0), (0, 0))), "rows", (2, 3))
    return b.program("above", "below")


def crowded(readers: int) -> Program:
    """One tensor with many readers."""
    b = Builder()
    b("x", Input(), "", (2,))
    b("q", quantize(1, 2, 3), "x", (2,))
    names = [f"r{n}" for n in range(readers)]
    for name in names:
        b(name, Add(), "q q", (2,))
    return b.program(*names)


def passing() -> Program:
    """Inputs that are outputs, reshaped twice, formats that no hls4ml type has, all rounded off."""
    b = Builder(5)
    b("x", Input(), "", (3, 2))
    b("xq", quantize(1, 2, 3), "x", (3, 2))
    b("flat", Reshape(), "xq", (6,))
    b("turn", Reshape(), "xq", (2, 3))
    b("y", Input(), "", (4, 2))
    b("alone", quantize(0, 1, 2), "y", (4, 2))
    b("z", Input(), "", (4,))
    b("folded", quantize(1, 2, 3, "TRN", "WRAP_SM"), "z", (4,))
    b("dense", b.dense(4, 3), "folded", (3,))
    b("again", quantize(1, 0, 4, "RND_CONV", "WRAP_SM"), "dense", (3,))
    b("wave", Input(), "", (4,))
    widths = b.rng.integers(-1, 3, (2, 4))
    b("each", quantize(np.ones(4, int), *widths, "TRN", "WRAP_SM"), "wave", (4,))
    b("tiny", Input(), "", (4,))
    b("fine", quantize(0, -3, 5), "tiny", (4,))
    b("gone", quantize(1, 2, 1, "RND_CONV", "WRAP"), "fine", (4,))
    b("sum", Add(), "fine gone", (4,))
    return b.program("flat", "turn", "alone", "again", "each", "sum")


def both_depthwise() -> Program:
    """Depthwise convolutions in one and in two dimensions; the input has the name of a weight."""
    b = Builder(6)
    b("w3", Input(), "", (4, 4, 2))
    b("xq", quantize(1, 2, 3), "w3", (4, 4, 2))
    b("two", b.window((2, 2, 1, 2), groups=2), "xq", (3, 3, 2))
    b("q", quantize(1, 3, 4), "two", (3, 3, 2))
    b("row", Reshape(), "q", (9, 2))
    b("one", b.window((3, 1, 2), groups=2), "row", (7, 2))
    b("out", quantize(1, 5, 4), "one", (7, 2))
    return b.program("out")
