"""Families of layers that no Keras layer stands for: rows scaled by powers of two, kernels over any axes."""

import math
from typing import Any

from description import Format, Step
from drawing import FACTOR_BITS, LARGE, Drawing, NothingFits, format_range, rarely
from hypothesis import strategies as st
from linear_families import linear


def scaled_rows(d: Drawing) -> None:
    """The largest of each row, the power of two that a table gives for it, and the product with that."""
    draw = d.draw
    source = d.pick()
    tensor = d.tensors[source]
    lowest = draw(st.integers(-3, 1))
    highest = lowest + draw(st.integers(0, 3))
    iq = d.quantizers((source,), FACTOR_BITS)
    seen = d.seen((source,), iq)
    row = (*tensor.shape[:-1], 1)
    d.add(Step("QLargest", (source,), {"axis": -1}), row, tensor.top, tensor.frac)
    octaves = {"lowest": lowest, "highest": highest}
    index = Format(i=highest + 1, f=-lowest, k=0, rounding="TRN")
    powers = Format(i=1 - lowest, f=highest, k=0, rounding="TRN")
    options: dict[str, Any] = {"activation": "hgqify>power_scale", "activation_params": octaves}
    options["max_table_bits"] = max(highest - lowest + 2, 2)
    d.add(Step("QActivation", (len(d.tensors) - 1,), options, iq=(index,), oq=powers), row, 0, 0)
    # Where the data has no quantizer of its own, one that holds all of it.
    data = iq or (Format(i=seen.top, f=seen.frac),)
    oq = d.data() if rarely(draw, 4) else None
    step = Step(
        "QMultiplyPow2",
        (source, len(d.tensors) - 1),
        {"lowest": -highest, "highest": -lowest},
        iq=(*data, powers),
        oq=oq,
    )
    top, frac = format_range(data[0])
    d.add(step, tensor.shape, top - lowest, frac + highest)


def einsum_dense(d: Drawing) -> None:
    """A kernel over any axes, with a batch normalization inside or not."""
    draw = d.draw
    source = d.pick(lambda t: len(t.shape) < 4 and t.size <= LARGE)
    shape = d.tensors[source].shape
    letters = "bcd"[: len(shape)]
    summed = [letter for letter in letters if draw(st.booleans())] or [letters[-1]]
    grouped = [letter for letter in letters if letter not in summed and draw(st.booleans())]
    size = dict(zip(letters, shape, strict=True)) | {"z": draw(st.integers(1, 3))}
    normalized = draw(st.booleans())
    # A batch normalization runs along the last axis.
    kept = [letter for letter in letters if letter not in summed]
    result = "".join(draw(st.permutations(kept))) + "z"
    out = tuple(size[letter] for letter in result)
    if math.prod(out) > LARGE:
        raise NothingFits
    kernel = "".join(draw(st.permutations([*summed, *grouped, "z"])))
    options: dict[str, Any] = {"equation": f"a{letters},{kernel}->a{result}", "output_shape": out}
    if not normalized:
        options["bias_axes"] = draw(st.sampled_from(sorted({"z", result})))
    layer = "QEinsumDenseBatchnorm" if normalized else "QEinsumDense"
    linear(d, layer, source, options, math.prod(size[letter] for letter in summed), out)


def batchnorm_dense(d: Drawing) -> None:
    source = d.pick()
    shape, units = d.tensors[source].shape, d.draw(st.integers(1, 4))
    linear(d, "QBatchNormDense", source, {"units": units}, shape[-1], (*shape[:-1], units))
