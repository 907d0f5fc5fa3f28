"""The integer interpreter: what the firmware computes, on the host, code for code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hgqify.errors import DataError, PrecisionError
from hgqify.fixed import to_values
from hgqify.precision import ops
from hgqify.precision.program import Program
from hgqify.reference.steps import Step, prepare

# Elements per batch of the largest tensor: some 16 MiB of int64, a few times that at work.
_BATCH_ELEMENTS = 1 << 21


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """A batch of one tensor: ``value = codes * 2**-frac``."""

    codes: np.ndarray
    frac: int

    @property
    def values(self) -> np.ndarray:
        """The values as float64.

        Raises:
            PrecisionError: a value of more than 53 significant bits.
        """
        return to_values(self.codes, self.frac)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """Results of a run.

    Attributes:
        outputs: one per output of the program, in its order.
        kept: the tensors asked for, by node name.
    """

    outputs: tuple[Codes, ...]
    kept: Mapping[str, Codes]

    @property
    def values(self) -> tuple[np.ndarray, ...]:
        """Output values as float64; see `Codes.values`."""
        return tuple(output.values for output in self.outputs)


class Interpreter:
    """A program made ready to run on many batches.

    Args:
        program: annotated (see `precision.annotate`).
        keep: names of nodes whose tensors are returned as well.

    Raises:
        PrecisionError: a program without bounds, an unknown name in ``keep``, or a real input as output.
    """

    def __init__(self, program: Program, keep: Sequence[str] = ()) -> None:
        self.program = program
        self._keep = tuple(keep)
        nodes = program.by_name
        for name in (*self._keep, *program.outputs):
            if name not in nodes:
                raise PrecisionError(
                    "no such node in the program", received=name, remedy="see program.by_name"
                )
            if isinstance(nodes[name].op, ops.Input):
                raise PrecisionError(
                    "a model input holds real numbers and has no codes",
                    where=nodes[name].layer,
                    remedy="quantize it and ask for the result",
                )
        self._steps: list[tuple[str, Step, tuple[str, ...], tuple[str, ...]]] = []
        last: dict[str, str] = {source: node.name for node in program.nodes for source in node.inputs}
        wanted = {*self._keep, *program.outputs}
        for node in program.nodes:
            if isinstance(node.op, ops.Input):
                continue
            infos = tuple(info for name in node.inputs if (info := nodes[name].info) is not None)
            drop = {s for s in node.inputs if last[s] == node.name} - wanted
            if node.name not in last and node.name not in wanted:
                drop.add(node.name)
            self._steps.append((node.name, prepare(node, infos), node.inputs, tuple(drop)))

    @property
    def batch_size(self) -> int:
        """Samples per batch that keep the working memory at some tens of MiB."""
        largest = max((int(np.prod(node.shape, dtype=np.int64)) for node in self.program.nodes), default=1)
        return int(np.clip(_BATCH_ELEMENTS // max(largest, 1), 1, 4096))

    def __call__(self, inputs: Sequence[np.ndarray]) -> Outputs:
        """Runs one batch, all at once; ``inputs`` as in `run`."""
        program = self.program
        tensors: dict[str, np.ndarray] = dict(zip(program.inputs, _checked(program, inputs), strict=True))
        for name, step, sources, drop in self._steps:
            tensors[name] = step(*(tensors[source] for source in sources))
            for dead in drop:
                del tensors[dead]

        def codes(name: str) -> Codes:
            info = program.by_name[name].info
            return Codes(codes=tensors[name], frac=info.frac if info is not None else 0)

        return Outputs(
            outputs=tuple(codes(name) for name in program.outputs),
            kept={name: codes(name) for name in self._keep},
        )

    def stream(self, inputs: Sequence[np.ndarray], batch_size: int | None = None) -> Iterator[Outputs]:
        """Runs ``inputs`` batch by batch, in bounded memory."""
        size = self.batch_size if batch_size is None else batch_size
        if size < 1:
            raise DataError("the batch size must be positive", received=size, remedy="leave it out")
        count = len(inputs[0]) if len(inputs) else 0
        for start in range(0, count, size):
            yield self([x[start : start + size] for x in inputs])


def _checked(program: Program, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    if len(inputs) != len(program.inputs):
        raise DataError(
            "the number of input arrays is not the number of model inputs",
            received=f"{len(inputs)} for {', '.join(program.inputs)}",
            remedy="pass one array per model input, in the model's order",
        )
    result = []
    for name, x in zip(program.inputs, inputs, strict=True):
        array, shape = np.asarray(x), program.by_name[name].shape
        if array.shape[1:] != tuple(shape):
            raise DataError(
                "the array does not fit the model input",
                where=program.by_name[name].layer,
                received=f"shape {array.shape}",
                remedy=f"pass (samples, {', '.join(map(str, shape))})",
            )
        # Keras computes in float32, so that is what the first quantizer sees.
        result.append(array.astype(np.float32, copy=False))
    if len({len(x) for x in result}) > 1:
        raise DataError("the input arrays differ in length", received=[len(x) for x in result])
    return result


def run(
    program: Program,
    inputs: np.ndarray | Sequence[np.ndarray],
    *,
    batch_size: int | None = None,
    keep: Sequence[str] = (),
) -> Outputs:
    """Runs an annotated program on real inputs.

    Args:
        program: what to run.
        inputs: one array (samples, *shape) per program input, in its order, cast to float32 as Keras does;
            a single array for a program of one input.
        batch_size: samples at a time; by default so many that memory stays bounded.
        keep: names of further nodes whose tensors are returned.

    Raises:
        DataError: arrays that do not fit the model, or that hold NaN or infinity.
        PrecisionError: see `Interpreter`.
    """
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    interpreter = Interpreter(program, keep)
    parts = list(interpreter.stream(arrays, batch_size)) or [interpreter(arrays)]

    def joined(pieces: list[Codes]) -> Codes:
        codes = pieces[0].codes if len(pieces) == 1 else np.concatenate([p.codes for p in pieces])
        return Codes(codes=codes, frac=pieces[0].frac)

    return Outputs(
        outputs=tuple(joined([p.outputs[n] for p in parts]) for n in range(len(program.outputs))),
        kept={name: joined([p.kept[name] for p in parts]) for name in interpreter._keep},
    )
