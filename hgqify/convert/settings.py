"""What a conversion aims at where no rule says otherwise."""

from __future__ import annotations

import difflib
import enum
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from hgqify.errors import PrecisionError, RuleError
from hgqify.fixed import Overflow, Rounding, as_rounding

WIDTH_LIMIT = 24  # bits of a float32 significand: wider operands could never be proved exact in Keras


class Granularity(enum.StrEnum):
    """Along which axes of a tensor the widths of a quantizer may differ."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    ELEMENT = "element"


class IOType(enum.StrEnum):
    """How hls4ml passes tensors: all elements at once, or one position after another."""

    PARALLEL = "io_parallel"
    STREAM = "io_stream"


class Operands(enum.StrEnum):
    """What weights and the data that they multiply become.

    =====  ====================================================================================
    kif    fixed point
    float  minifloats: of N bits (sign, exponent, mantissa) the exponent takes half, at most 4:
           8 bits are e4m3, 6 bits e3m2, 4 bits e2m1; its offset follows from the data. They
           saturate. Biases, sums, tables and the model's inputs and outputs stay fixed point.
           The integers are exact as ever, but hls4ml cannot build them.
    =====  ====================================================================================
    """

    KIF = "kif"
    FLOAT = "float"


class SoftmaxPolicy(enum.StrEnum):
    """What to do with a softmax at the end of the model: leave it to the host, convert it, or refuse it."""

    LOGITS = "logits"
    CONVERT = "convert"
    REFUSE = "refuse"


class UnsupportedPolicy(enum.StrEnum):
    """What to do with layers that have no fixed-point form: refuse the model, or keep them in float."""

    ERROR = "error"
    KEEP = "keep"


class OverflowPolicy(enum.StrEnum):
    """What activations inside the model do beyond their range; names in any case.

    =============  ==========================================================================
    WRAP           wrap around: the cheapest hardware, wrong where data exceeds what was seen
    WRAP_SM        wrap as sign and magnitude; signed activations only
    SAT, SAT_SYM   go to the nearest end of the range, which may be symmetric
    PROVED         wrap, with so many integer bits that no input at all can overflow them
    AUTO           SAT; those for which the bits of a proof cost less than saturation logic get them
    =============  ==========================================================================

    Where a range holds all that can come, saturating and wrapping are the same, and so is their hardware.
    """

    WRAP = "WRAP"
    WRAP_SM = "WRAP_SM"
    SAT = "SAT"
    SAT_SYM = "SAT_SYM"
    PROVED = "PROVED"
    AUTO = "AUTO"

    @property
    def mode(self) -> Overflow:
        """What the quantizers do."""
        match self:
            case OverflowPolicy.PROVED:
                return Overflow.WRAP
            case OverflowPolicy.AUTO:
                return Overflow.SAT
            case _:
                return Overflow(self.value)


_Choice = TypeVar("_Choice", bound=enum.StrEnum)


def as_choice(kind: type[_Choice], value: object, name: str) -> _Choice:
    """``value`` as a member of ``kind``; its text is accepted too.

    Raises:
        RuleError: no such member; names the closest.
    """
    try:
        return kind(value)
    except ValueError:
        near = difflib.get_close_matches(str(value), [str(v) for v in kind], n=1, cutoff=0.0)
        raise RuleError(
            f"{name} does not know this value",
            received=repr(value),
            remedy=f"use one of {', '.join(kind)}; the closest is {near[0]}",
        ) from None


def check_bits(name: str, value: Any, low: int = 1) -> None:
    """Refuse a width that is no whole number in [low, WIDTH_LIMIT].

    Raises:
        RuleError: names the setting and its bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= WIDTH_LIMIT:
        raise RuleError(
            f"{name} must be a whole number of bits from {low} to {WIDTH_LIMIT}", received=repr(value)
        )


def check_modes(obj: Any) -> None:
    """Turn texts in the mode fields of a frozen settings object into enum members, in place.

    Raises:
        RuleError: an unknown mode; names the closest.
    """
    if obj.overflow is not None:
        object.__setattr__(obj, "overflow", as_choice(OverflowPolicy, str(obj.overflow).upper(), "overflow"))
    try:
        if obj.rounding is not None:
            object.__setattr__(obj, "rounding", as_rounding(obj.rounding))
    except PrecisionError as error:
        raise RuleError(error.what, received=error.received, remedy=error.remedy) from None


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """Targets of a conversion; every width counts all bits of a number, the sign included.

    Attributes:
        q_type: fixed point ('kif') or minifloats ('float') for kernels and what they multiply, see
            `Operands`.
        weight_bits: width of kernels (symmetric around zero).
        activation_bits: width of what enters a multiplication or an average.
        merge_bits: width of what enters an addition, subtraction, maximum or minimum: adders are
            cheap beside multipliers, so sums of branches keep more bits.
        input_bits: width of the model inputs. Data on a coarser grid (integers) takes fewer.
        output_bits: width of the model outputs.
        table_in_bits: width of what indexes a lookup table; the table has 2**bits entries.
        table_out_bits: width of the entries of a lookup table.
        weight_granularity: along which axes the widths of weights differ.
        activation_granularity: the same for activations. Streams have one format per tensor.
        overflow: of activations inside the model. Inputs and outputs always saturate.
        rounding: of activations.
        io_type: how the firmware passes tensors.
        softmax: what happens to a softmax at the end of the model.
        unsupported: what happens to layers without a fixed-point form. Kept ones read and give numbers on
            the grids of quantizers; what lies between them is exact.

    Raises:
        RuleError: an impossible value or combination.
    """

    q_type: Operands = Operands.KIF
    weight_bits: int = 10
    activation_bits: int = 10
    merge_bits: int = 12
    input_bits: int = 12
    output_bits: int = 16
    table_in_bits: int = 10
    table_out_bits: int = 10
    weight_granularity: Granularity = Granularity.CHANNEL
    activation_granularity: Granularity = Granularity.TENSOR
    overflow: OverflowPolicy = OverflowPolicy.SAT
    rounding: Rounding = Rounding.RND
    io_type: IOType = IOType.PARALLEL
    softmax: SoftmaxPolicy = SoftmaxPolicy.LOGITS
    unsupported: UnsupportedPolicy = UnsupportedPolicy.ERROR

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name.endswith("_bits"):
                # One bit of a signed weight is its sign: nothing would be left.
                check_bits(field.name, getattr(self, field.name), low=2 if field.name == "weight_bits" else 1)
        for name in ("weight_granularity", "activation_granularity"):
            object.__setattr__(self, name, as_choice(Granularity, getattr(self, name), name))
        object.__setattr__(self, "q_type", as_choice(Operands, self.q_type, "q_type"))
        object.__setattr__(self, "io_type", as_choice(IOType, self.io_type, "io_type"))
        object.__setattr__(self, "softmax", as_choice(SoftmaxPolicy, self.softmax, "softmax"))
        object.__setattr__(self, "unsupported", as_choice(UnsupportedPolicy, self.unsupported, "unsupported"))
        check_modes(self)
        check_stream(self.io_type, self.activation_granularity, "activation_granularity")


def check_stream(io_type: IOType, granularity: Granularity | None, name: str) -> None:
    """Streams carry one format per tensor: refuse anything finer for activations.

    Raises:
        RuleError: states the conflict and both ways out.
    """
    if io_type is IOType.STREAM and granularity not in (None, Granularity.TENSOR):
        raise RuleError(
            f"{name}={str(granularity)!r} cannot be built with io_stream, which has one format per tensor",
            remedy="use io_type='io_parallel', or activation_granularity='tensor'",
        )
