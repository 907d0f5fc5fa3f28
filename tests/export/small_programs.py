"""Fixed programs of one operation each, small enough to compile in a second or two.

Where `export_programs` shows that operations meet rightly, these show which of them a backend, a strategy or
a reuse factor can print at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from export_programs import RELU, Builder, quantize, scalar

from hgqify.fixed import Overflow, Rounding
from hgqify.precision.forward import annotate
from hgqify.precision.ops import (
    Add,
    Clip,
    Concatenate,
    Crop,
    EdgeTables,
    Input,
    LeakyRelu,
    Matmul,
    Maximum,
    MaxPool,
    Minimum,
    Multiply,
    Op,
    Pad,
    Repeat,
    Reshape,
    ScaleShift,
    Subtract,
    SumPool,
    Table,
    Transpose,
)
from hgqify.precision.program import Program

Shape = tuple[int, ...]
IMAGE, ROW, VOLUME = (6, 4, 4), (8, 4), (2, 3, 2, 2)


def one(make: Callable[[Builder], Op], shape: Shape, out: Shape, seed: int = 0) -> Program:
    """Quantize, do one thing, quantize."""
    b = Builder(seed)
    b("x", Input(), "", shape)
    b("xq", quantize(1, 2, 4), "x", shape)
    b("only", make(b), "xq", out)
    b("out", quantize(1, 3, 4), "only", out)
    return b.program("out")


def two(op: Op, shape: Shape, out: Shape | None = None) -> Program:
    """One thing done to two inputs."""
    b = Builder()
    out = out or shape
    b("x", Input(), "", shape)
    b("y", Input(), "", shape)
    b("xq", quantize(1, 2, 4), "x", shape)
    b("yq", quantize(1, 1, 3), "y", shape)
    b("only", op, "xq yq", out)
    b("out", quantize(1, 3, 4), "only", out)
    return b.program("out")


def matmul(shape: Shape = (2, 3, 4), columns: int = 5) -> Program:
    """A batch of matrix products."""
    b = Builder()
    other = (shape[0], columns, shape[2])
    b("x", Input(), "", shape)
    b("y", Input(), "", other)
    b("xq", quantize(1, 2, 4), "x", shape)
    b("yq", quantize(1, 1, 3), "y", other)
    out = (*shape[:2], columns)
    b("only", Matmul(), "xq yq", out)
    b("out", quantize(1, 3, 4, Rounding.RND, Overflow.SAT), "only", out)
    return b.program("out")


def mode(rounding: Rounding, overflow: Overflow) -> Program:
    """The same modes on the model's input, and on a product inside."""
    b = Builder()
    b("x", Input(), "", (4,))
    b("xq", quantize(1, 2, 3), "x", (4,))
    b("dense", b.dense(4, 4), "xq", (4,))
    b("signed", quantize(1, 1, 2, rounding, overflow), "dense", (4,))
    b("unsigned", quantize(0, 1, 2, rounding, overflow), "dense", (4,))
    b("coarse", quantize(1, 3, -1, rounding, overflow), "dense", (4,))
    return b.program("signed", "unsigned", "coarse")


def one_bit() -> Program:
    """A quantizer of one bit."""
    b = Builder()
    b("x", Input(), "", (4,))
    b("xq", quantize(1, 2, 3), "x", (4,))
    b("dense", b.dense(4, 4), "xq", (4,))
    b("bit", quantize(0, 1, 0), "dense", (4,))
    return b.program("bit")


def joined(programs: Sequence[Program]) -> Program:
    """All of them side by side in one, so that one compilation simulates all."""
    nodes, inputs, outputs = [], [], []
    for number, program in enumerate(programs):

        def new(name: str, prefix: str = f"part{number}_") -> str:
            return prefix + name

        nodes += [
            replace(n, name=new(n.name), inputs=tuple(new(i) for i in n.inputs), layer=new(n.layer))
            for n in program.nodes
        ]
        inputs += [new(name) for name in program.inputs]
        outputs += [new(name) for name in program.outputs]
    return annotate(Program(nodes=tuple(nodes), inputs=tuple(inputs), outputs=tuple(outputs)))


def flattened() -> Program:
    """An image, flattened for a dense layer."""
    b = Builder()
    b("x", Input(), "", (3, 2, 4))
    b("xq", quantize(1, 2, 4), "x", (3, 2, 4))
    b("flat", Reshape(), "xq", (24,))
    b("dense", b.dense(24, 5), "flat", (5,))
    b("out", quantize(1, 3, 4), "dense", (5,))
    return b.program("out")


def per_element() -> Program:
    """A format per element, behind a dense layer."""
    b = Builder()
    b("x", Input(), "", (4,))
    b("xq", quantize(1, 2, 3), "x", (4,))
    b("dense", b.dense(4, 4), "xq", (4,))
    b("each", quantize(np.ones(4, int), np.asarray([0, 1, 2, 3]), np.asarray([3, 2, 1, 0])), "dense", (4,))
    return b.program("each")


def shared() -> Program:
    """A tensor that is read twice and is an output."""
    b = Builder()
    b("x", Input(), "", (4,))
    b("xq", quantize(1, 2, 3), "x", (4,))
    b("dense", b.dense(4, 4), "xq", (4,))
    b("q", quantize(1, 2, 3), "dense", (4,))
    b("relu", RELU, "q", (4,))
    b("sum", Add(), "q relu", (4,))
    b("out", quantize(1, 3, 3), "sum", (4,))
    return b.program("q", "out")


def _pool(window: Shape, strides: Shape, padding: tuple[Shape, ...]) -> MaxPool:
    return MaxPool(window=window, strides=strides, padding=padding)


NONE = ((0, 0), (0, 0))
SAME = ((1, 1), (1, 1))

SMALL: dict[str, Callable[[], Program]] = {
    "dense": lambda: one(lambda b: b.dense(6, 4), (6,), (4,)),
    "dense on a sequence": lambda: one(lambda b: b.dense(4, 3), ROW, (8, 3)),
    "conv1d": lambda: one(lambda b: b.window((3, 4, 3), padding=((1, 1),)), ROW, (8, 3)),
    "conv1d strided": lambda: one(lambda b: b.window((3, 4, 3), strides=(2,)), ROW, (3, 3)),
    "conv2d": lambda: one(lambda b: b.window((3, 3, 4, 2), padding=SAME), IMAGE, (6, 4, 2)),
    "conv2d strided": lambda: one(lambda b: b.window((2, 2, 4, 2), strides=(2, 2)), IMAGE, (3, 2, 2)),
    "pointwise": lambda: one(lambda b: b.window((1, 1, 4, 2)), IMAGE, (6, 4, 2)),
    "depthwise1d": lambda: one(lambda b: b.window((3, 1, 4), groups=4), ROW, (6, 4)),
    "depthwise2d": lambda: one(lambda b: b.window((3, 3, 1, 4), groups=4, padding=SAME), IMAGE, IMAGE),
    "batchnorm": lambda: one(
        lambda b: ScaleShift(scale=b.constant((4,), 4), shift=b.constant((4,), 6)), (4,), (4,)
    ),
    "batchnorm on an image": lambda: one(
        lambda b: ScaleShift(scale=b.constant((4,), 4), shift=b.constant((4,), 6)), IMAGE, IMAGE
    ),
    "average": lambda: one(lambda b: SumPool(window=(2, 2), strides=(2, 2), padding=NONE), IMAGE, (3, 2, 4)),
    "maximum": lambda: one(lambda b: _pool((2, 2), (2, 2), NONE), IMAGE, (3, 2, 4)),
    "maximum in a row": lambda: one(lambda b: _pool((2,), (2,), ((0, 0),)), ROW, (4, 4)),
    "maximum, overlapping": lambda: one(lambda b: _pool((3, 3), (1, 1), SAME), IMAGE, IMAGE),
    "relu": lambda: one(lambda b: RELU, (4,), (4,)),
    "clip": lambda: one(lambda b: Clip(low=scalar(-3, 1), high=scalar(21, 3)), (4,), (4,)),
    "clip on an image": lambda: one(lambda b: Clip(low=scalar(0), high=scalar(2)), IMAGE, IMAGE),
    "leaky relu": lambda: one(lambda b: LeakyRelu(slope=scalar(1, 3)), (4,), (4,)),
    "table": lambda: one(
        lambda b: Table(in_frac=4, first=-64, entries=b.constant((128,), 7, 100)), (4,), (4,)
    ),
    "a table per edge": lambda: one(
        lambda b: EdgeTables(
            in_frac=np.full(ROW, 4),
            first=np.full(ROW, -64),
            width=np.full(ROW, 7),
            entries=b.constant((*ROW, 128), 7, 100),
            address_bits=np.full(ROW, 7),
            output_bits=np.full(ROW, 8),
        ),
        ROW,
        ROW,
    ),
    "add": lambda: two(Add(), (4,)),
    "subtract": lambda: two(Subtract(), (4,)),
    "multiply": lambda: two(Multiply(), (4,)),
    "matrix product": matmul,
    "larger": lambda: two(Maximum(), (4,)),
    "smaller": lambda: two(Minimum(), (4,)),
    "add images": lambda: two(Add(), IMAGE),
    "concatenate": lambda: two(Concatenate(axis=0), (4,), (8,)),
    "concatenate images": lambda: two(Concatenate(axis=2), IMAGE, (6, 4, 8)),
    "flatten": flattened,
    "transpose": lambda: one(lambda b: Transpose(perm=(1, 0)), ROW, (4, 8)),
    "pad": lambda: one(lambda b: Pad(padding=((1, 2), (0, 1), (0, 0))), IMAGE, (9, 5, 4)),
    "pad a row": lambda: one(lambda b: Pad(padding=((1, 2), (0, 0))), ROW, (11, 4)),
    "crop": lambda: one(lambda b: Crop(cropping=((1, 2), (0, 1), (0, 0))), IMAGE, (3, 3, 4)),
    "upsample": lambda: one(lambda b: Repeat(repeats=(2, 2, 1)), IMAGE, (12, 8, 4)),
    "pad a volume": lambda: one(
        lambda b: Pad(padding=((1, 0), (0, 1), (1, 1), (0, 0))), VOLUME, (3, 4, 4, 2)
    ),
    "crop a volume": lambda: one(
        lambda b: Crop(cropping=((1, 0), (0, 1), (0, 1), (0, 0))), VOLUME, (1, 2, 1, 2)
    ),
    "upsample a volume": lambda: one(lambda b: Repeat(repeats=(1, 2, 2, 1)), VOLUME, (2, 6, 4, 2)),
    "format per element": per_element,
    "one bit": one_bit,
    "shared tensor": shared,
    **{
        f"{rounding}/{overflow}": (lambda r=rounding, o=overflow: mode(r, o))
        for rounding in (
            Rounding.TRN,
            Rounding.RND,
            Rounding.RND_CONV,
            Rounding.TRN_ZERO,
            Rounding.RND_ZERO,
            Rounding.RND_MIN_INF,
            Rounding.RND_INF,
        )
        for overflow in (Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM)
    },
}
