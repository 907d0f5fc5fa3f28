"""What must hold of every conversion of a random float model, and what it reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from check import Tally, ancestors, check_program, stimuli
from float_drawing import FloatNetwork

from hgqify import graph
from hgqify.beginning import calibrated
from hgqify.calling import structured
from hgqify.convert.late_division import LateDivision
from hgqify.convert.lower_discretization import LowerDiscretization
from hgqify.convert.lower_normalization import LowerNormalization
from hgqify.convert.lower_softmax import LowerSoftmax
from hgqify.graph.canonical import default_passes
from hgqify.graph.model import OPERATION_PREFIX
from hgqify.precision import Program, certify, lower

# Of the largest value: float sums run in another order. And so often what one last place of the inputs does.
_TOLERANCE, _CHAOS = 2e-5, 64
_PASSES = (LateDivision, LowerSoftmax, LowerNormalization, LowerDiscretization)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What the conversion of one model went through.

    Attributes:
        program: of the converted model.
        kinds: of the nodes that were converted.
        operations: class names of keras.ops in the float model.
        passes: names of the passes that changed the graph.
    """

    program: Program
    kinds: frozenset[str]
    operations: frozenset[str]
    passes: frozenset[str]


def passes() -> tuple[Any, ...]:
    """All passes of a conversion, in order."""
    return (*default_passes(strip_softmax=True), *(kind() for kind in _PASSES))


def check_conversion(network: FloatNetwork, settings: dict[str, Any], tally: Tally) -> Reached:
    """With quantizers off equal to the float model; Keras = reference, proved in float32; bounds hold.

    Of minifloats what is not proved is compared with exact rationals instead.

    Args:
        network: to convert.
        settings: of the conversion and calibration.
        tally: counts.
    """
    data = network.data()
    state = calibrated(network.model, data, finetune_steps=0, **settings)
    conversion = state.conversion
    check_clone(network, conversion.clone, conversion.logits, tally)
    program = lower(conversion.model)
    certificate = certify(program)
    inputs = [np.concatenate(pair) for pair in zip(data, stimuli(program, network.number), strict=True)]
    expected = check_program(program, inputs, tally, slow=network.number % 8 == 0)
    unproved = {entry.name for entry in certificate.open}
    for name, codes, output in zip(program.outputs, expected, _called(conversion.model, inputs), strict=True):
        if unproved & ancestors(program, name):
            # Sums of minifloats may span more bits than a significand has; fixed point is narrowed.
            assert "q_type" in settings, f"{name} is not proved in float32"
            tally.counts["outputs of minifloats without float32 proof"] += 1
            continue
        wanted = codes.values
        np.testing.assert_array_equal(output.reshape(wanted.shape), wanted, err_msg=name)
        tally.counts["codes compared, converted Keras = reference"] += wanted.size
    tally.counts["float models converted"] += 1
    tally.counts["float layers and operations converted"] += len(network.log)
    return _reached(network, program, conversion.graph)


def check_clone(network: FloatNetwork, clone: keras.Model, logits: Sequence[bool], tally: Tally) -> None:
    """The clone without quantizers equals the float model, up to the rounding of float sums."""
    data = network.data(16, seed=1)
    last_place = [x * np.float32(1 + 2**-22) if x.dtype.kind == "f" else x for x in data]
    wanted, found, near = (
        _called(model, x) for model, x in ((network.model, data), (clone, data), (network.model, last_place))
    )
    for is_logits, a, b, c in zip(logits, wanted, found, near, strict=True):
        b = np.asarray(keras.ops.softmax(b.astype(np.float32))) if is_logits else b
        scale = max(1e-3, float(np.abs(a).max()))
        chaos = float(np.abs(a - c).max())
        np.testing.assert_allclose(b, a, rtol=0, atol=_TOLERANCE * scale + _CHAOS * chaos)
        tally.counts["float values compared, clone = float model"] += a.size


def _called(model: keras.Model, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of a model called eagerly: what is compiled for one layer serves all models."""
    data: Any = structured(model, inputs)
    return [np.asarray(y, np.float64) for y in keras.tree.flatten(model(data, training=False))]


def _reached(network: FloatNetwork, program: Program, converted: graph.Graph) -> Reached:
    read = current = graph.read(network.model)
    changed = set()
    for step in passes():
        result = step(current)
        current = result.graph
        if result.modified:
            changed.add(step.name)
    prefix = OPERATION_PREFIX
    return Reached(
        program=program,
        kinds=frozenset(node.kind for node in converted),
        operations=frozenset(n.kind.removeprefix(prefix) for n in read if n.kind.startswith(prefix)),
        passes=frozenset(changed),
    )
