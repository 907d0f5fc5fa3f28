"""The quantizers of one layer, as configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hgqify.convert.rules import Target
from hgqify.convert.settings import WIDTH_LIMIT, Granularity, Operands
from hgqify.errors import RuleError
from hgqify.fixed import Overflow, Rounding
from hgqify.quantizers import Place, QType, QuantizerConfig

EXPONENT_BITS = 4
"""Of minifloats, at most: sums of products of two numbers with more would outgrow the integers."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Makes the quantizer configs of one layer; a converter asks for those its layer has.

    Configs carry the *width* (k + i + f) that rules and settings ask for; calibration moves the binary
    point and keeps the width.

    Attributes:
        name: Keras name of the layer.
        target: widths, granularities and modes.
        quantize: False makes every quantizer a dummy, so that the layer equals its float origin.
        input_shape: shape of the first input, without the batch axis.
        from_input: for each input of the layer, whether it comes straight from a model input.
        is_output: whether the layer's output is a model output that needs a quantizer.
        share: most bits of the exponentials that a layer gives or multiplies, see `late_division.share`.
    """

    name: str
    target: Target
    quantize: bool
    input_shape: tuple[int, ...]
    from_input: tuple[bool, ...]
    is_output: bool
    share: int | None = None

    @property
    def common(self) -> dict[str, Any]:
        """Constructor arguments every quantized layer takes."""
        # EBOPs cost nothing in training until whoever trains for a budget sets a price.
        return {"name": self.name, "dtype": "float32", "enable_ebops": True, "beta0": 0.0}

    def kernel(self, channel_axes: tuple[int, ...]) -> QuantizerConfig:
        """A weight: symmetric and saturating, so that its width and range stay put in training."""
        return self._constant(
            Place.WEIGHT, self.target.weight_bits, self.target.weight_granularity, channel_axes
        )

    def factor(self, channel_axes: tuple[int, ...]) -> QuantizerConfig:
        """A weight of a sum of products: as `kernel`, or a minifloat.

        Raises:
            RuleError: one minifloat format for each weight.
        """
        if self.target.q_type is Operands.KIF:
            return self.kernel(channel_axes)
        granularity = self.target.weight_granularity
        if granularity is Granularity.ELEMENT:
            raise RuleError(
                "a minifloat has its exponent in itself, so one format for each weight gives nothing",
                where=self.name,
                received="q_type='float' with weight_granularity='element'",
                remedy="use weight_granularity 'channel' or 'tensor'",
            )
        axes = channel_axes if granularity is Granularity.CHANNEL else ()
        return self._minifloat(Place.WEIGHT, self.target.weight_bits, heterogeneous_axis=axes)

    def bias(self) -> QuantizerConfig:
        """A bias: one format per channel, wide until calibration puts it on the products' LSB."""
        return self._constant(Place.BIAS, 16, Granularity.CHANNEL, (-1,))

    def multiplied(self, *, channel_axis: int = -1) -> QuantizerConfig:
        """What a weight of a sum of products multiplies: as `operand`, or a minifloat."""
        if self.target.q_type is Operands.KIF:
            return self.operand(channel_axis=channel_axis)
        bits = self.target.input_bits if self.from_input[0] else self.target.activation_bits
        axes = _data_axes(channel_axis)[self.target.activation_granularity]
        return self._minifloat(Place.DATALANE, bits, **axes)

    def operand(self, index: int = 0, *, channel_axis: int = -1, bits: int | None = None) -> QuantizerConfig:
        """An input that is multiplied or averaged.

        Args:
            index: of the input.
            channel_axis: of its channels.
            bits: its width; None for what rules and settings ask for.
        """
        if bits is None:
            bits = self.target.input_bits if self.from_input[index] else self.target.activation_bits
        return self._data(bits, self.target.overflow.mode, channel_axis)

    def addend(self, index: int, *, bits: int | None = None) -> QuantizerConfig:
        """An input that is added or compared; arguments as for `operand`."""
        if bits is None:
            bits = self.target.input_bits if self.from_input[index] else self.target.merge_bits
        return self._data(bits, self.target.overflow.mode, -1)

    def row_operand(self, bits: int) -> QuantizerConfig:
        """A factor whose rows have been, or are being, brought to one size.

        What lies beyond saturates always: no interval can tell that rows are of one size, and the integer
        bits of a proof would leave nothing of them.
        """
        return self._data(bits, Overflow.SAT, -1)

    def table_index(self, bits: int | None = None) -> QuantizerConfig:
        """The input of a lookup table: one format, and its ends stand for all that lies beyond.

        Args:
            bits: its width; None for what rules and settings ask for.
        """
        bits = self.target.table_in_bits if bits is None else bits
        return self._data(bits, Overflow.SAT, -1, Granularity.TENSOR)

    def table_entry(self, bits: int | None = None) -> QuantizerConfig:
        """The entries of a lookup table.

        Args:
            bits: their width; None for what rules and settings ask for.
        """
        if bits is None:
            bits = self.target.output_bits if self.is_output else self.target.table_out_bits
        return self._config(
            Place.TABLE, k0=1, i0=0, b0=bits - 1, q_type=QType.KBI, overflow_mode=Overflow.SAT
        )

    def table_row(self) -> QuantizerConfig:
        """The rows of an embedding: one format for all."""
        bits = self.target.output_bits if self.is_output else self.target.table_out_bits
        return self._data(bits, Overflow.SAT, -1, Granularity.TENSOR)

    def model_input(self) -> QuantizerConfig:
        """A model input: saturates, whatever the data does."""
        return self._data(self.target.input_bits, Overflow.SAT, -1)

    def model_output(self) -> QuantizerConfig:
        """A model output in a layer of its own: saturates."""
        return self._data(self.target.output_bits, Overflow.SAT, -1, Granularity.TENSOR)

    def output(self) -> QuantizerConfig | None:
        """The output quantizer of a layer: one only where its output leaves the model."""
        return self.model_output() if self.is_output else None

    def _data(
        self, bits: int, overflow: Overflow, channel_axis: int, granularity: Granularity | None = None
    ) -> QuantizerConfig:
        axes = _data_axes(channel_axis)
        return self._config(
            Place.DATALANE,
            q_type=QType.KIF,
            k0=1,
            i0=0,
            f0=bits - 1,
            overflow_mode=overflow,
            **axes[granularity or self.target.activation_granularity],
        )

    def _constant(
        self, place: Place, bits: int, granularity: Granularity, channel_axes: tuple[int, ...]
    ) -> QuantizerConfig:
        axes: Mapping[Granularity, dict[str, Any]] = {
            Granularity.TENSOR: {"heterogeneous_axis": ()},
            Granularity.CHANNEL: {"heterogeneous_axis": channel_axes},
            Granularity.ELEMENT: {"homogeneous_axis": ()},
        }
        return self._config(
            place,
            q_type=QType.KBI,
            k0=1,
            b0=bits - 1,
            i0=0,
            overflow_mode=Overflow.SAT_SYM,
            **axes[granularity],
        )

    def _minifloat(self, place: Place, bits: int, **options: Any) -> QuantizerConfig:
        """Of its bits one is the sign and half, at most `EXPONENT_BITS`, are the exponent.

        Raises:
            RuleError: too few bits, or too many.
        """
        e = min(max(bits // 2, 1), EXPONENT_BITS)
        if not 2 <= bits <= WIDTH_LIMIT:
            raise RuleError(
                f"a minifloat has 2 to {WIDTH_LIMIT} bits: sign, exponent, mantissa",
                where=self.name,
                received=f"{bits} bits",
                remedy="give it more bits, or q_type='kif' by a rule",
            )
        q_type = QType.FLOAT if self.quantize else QType.DUMMY
        return QuantizerConfig(q_type, place, m0=bits - 1 - e, e0=e, e00=0, **options)

    def _config(self, place: Place, *, q_type: QType, **options: Any) -> QuantizerConfig:
        if not self.quantize:
            q_type = QType.DUMMY
        # Weights round to the nearest code: their rounding costs nothing in hardware.
        rounding = self.target.rounding if place is Place.DATALANE else Rounding.RND
        return QuantizerConfig(q_type, place, round_mode=rounding, **options)


def _data_axes(channel_axis: int) -> Mapping[Granularity, dict[str, Any]]:
    """Axis options of a quantizer on data."""
    return {
        Granularity.TENSOR: {"heterogeneous_axis": ()},
        Granularity.CHANNEL: {"heterogeneous_axis": (channel_axis,)},
        Granularity.ELEMENT: {"homogeneous_axis": (0,)},
    }
