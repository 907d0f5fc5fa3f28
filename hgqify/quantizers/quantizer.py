"""The trainable quantizer."""

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hgqify.errors import PrecisionError
from hgqify.fixed import Overflow, Rounding, deployed
from hgqify.quantizers import minifloats
from hgqify.quantizers.axes import shared_axes, width_shape
from hgqify.quantizers.config import EXPONENT_LIMIT, MAX_BITS, QuantizerConfig
from hgqify.quantizers.kernel import active_kernel
from hgqify.quantizers.kinds import Place, QType
from hgqify.quantizers.ranges import int_bits, rounds_negative
from hgqify.quantizers.state import QuantizerState
from hgqify.quantizers.tracing import is_tracing
from hgqify.quantizers.width_rules import rule_object
from hgqify.quantizers.widths import (
    Widths,
    as_integers,
    bits_in_use,
    checked,
    clipped,
    derived_bits,
    fraction_in_use,
    fraction_of_constant,
    known,
    known_widths,
    track,
)

ops: Any = keras.ops  # typed as if every operation could return None


_SEEDS = 2**31
"""Seeds that the generators of every backend take: PyTorch's state is an int32."""


@keras.saving.register_keras_serializable("hgqify")
class Quantizer(keras.layers.Layer):
    """Rounds to 2^-f, then handles overflow of [-k 2^i, 2^i - 2^-f]; k, i, f per tensor, channel or element.

    Or rounds to the nearest minifloat (q_type 'float'; see :class:`hgqify.fixed.Minifloat`).

    The result equals :func:`hgqify.fixed.quantize` bit for bit on every finite float32 input. Gradients are
    those of :func:`hgqify.quantizers.arithmetic.width_gradients` (HGQ, arXiv 2405.00645). The variables are
    real numbers that act rounded to integers, clipped so that b = i + f <= ``max_bits`` (a minifloat's
    significant bits m + 1 <= ``max_bits``, 1 <= e <= 5).

    ==========================  ===================  =====================================================
    config                      trained              k and i
    ==========================  ===================  =====================================================
    kif, constant place         f                    derived from the tensor: least that never overflow
    kif, data, WRAP or WRAP_SM  f                    tracked: running maximum over calls with training=True
    kbi, data, WRAP or WRAP_SM  b (f = b - i)        tracked
    kif, data, SAT or SAT_SYM   f, i                 k fixed
    kbi otherwise               b, i                 k fixed
    float                       m, e, e0             k fixed
    dummy                       -                    identity
    ==========================  ===================  =====================================================

    Derived: the quantizer is pure rounding; k is 1 where a negative value remains after rounding.
    Tracked: a training call sees pure rounding (kbi: the format just tracked), since its own range is
    included first; k turns from 0 to 1 when negative values come. Not tracked in training while the layer's
    ``trainable`` is False; `hgqify.utils.trace_ranges` tracks without training. Stochastic modes are so in
    training only, drawn from a seeded generator.

    Args:
        config: a :class:`QuantizerConfig`, a mapping of its options (with 'place'), or None.
        seed: seed of stochastic rounding.

    Input and output: float32 (float64 if made with that dtype) of the shape given to ``build``, first axis
    the batch for data.
    """

    def __init__(
        self,
        config: QuantizerConfig | Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        # Half precision would lose codes: float32, or float64 in a layer that computes in it.
        kwargs["dtype"] = "float64" if kwargs.get("dtype") == "float64" else "float32"
        super().__init__(**kwargs)
        if isinstance(config, Mapping):
            config = QuantizerConfig.from_config(config)
        self.config = QuantizerConfig() if config is None else config
        self.seed = int(seed)
        self.seed_generator = (
            keras.random.SeedGenerator(self.seed % _SEEDS) if self.config.round_mode.is_stochastic else None
        )
        self.supports_masking = True
        self.k: Any = None
        self.i: Any = None
        self.f: Any = None
        self.b: Any = None
        self.m: Any = None
        self.e: Any = None
        self.e0: Any = None
        self.width_shape: tuple[int, ...] = ()
        self.shared_axes: tuple[int, ...] = ()

    @property
    def is_dummy(self) -> bool:
        """Whether values pass unchanged."""
        return self.config.q_type is QType.DUMMY

    @property
    def is_minifloat(self) -> bool:
        """Whether values become minifloats."""
        return self.config.q_type is QType.FLOAT

    @property
    def derives_range(self) -> bool:
        """Whether k and i follow from the quantized tensor itself."""
        return self.config.q_type is QType.KIF and self.config.place.is_constant

    @property
    def tracks_range(self) -> bool:
        """Whether k and i follow from the data seen in training."""
        wraps = not self.config.overflow_mode.saturates
        return wraps and self.config.place is Place.DATALANE and not self.is_dummy

    def build(self, input_shape: Any) -> None:
        """Create the width variables for tensors of ``input_shape`` (full shape, with the batch axis).

        Raises:
            RuleError: an axis does not exist, or has its own widths and no known size.
        """
        config = self.config
        self.shared_axes = shared_axes(config, tuple(input_shape), str(self.path))
        self.width_shape = width_shape(tuple(input_shape), self.shared_axes, str(self.path))
        if self.is_dummy:
            return
        if self.is_minifloat:
            self.k = self._add("k", config.k0, False)
            for name, value in (("m", config.m0), ("e", config.e0), ("e0", config.e00)):
                setattr(self, name, self._add(name, value, config.trains(name)))
            return
        if config.q_type is QType.KIF:
            self.f = self._add("f", config.f0, config.trains("f"))
        else:
            self.b = self._add("b", config.b0, config.trains("b"))
        if not self.derives_range:
            self.k = self._add("k", config.k0, False)
            self.i = self._add("i", config.i0, config.trains("i") and not self.tracks_range)

    def _add(self, name: str, value: float, trainable: bool) -> Any:
        rules: dict[str, Any] = {}
        if trainable:
            rules["constraint"] = rule_object(f"{name}c", getattr(self.config, f"{name}c"))
            rules["regularizer"] = rule_object(f"{name}r", getattr(self.config, f"{name}r"))
        initializer = keras.initializers.Constant(value)
        return self.add_weight(
            name=name,
            shape=self.width_shape,
            initializer=initializer,
            trainable=trainable,
            dtype="float32",
            **rules,
        )

    def call(self, x: Any, training: bool | None = None) -> Any:
        """The quantized tensor."""
        x = ops.cast(x, self.compute_dtype)
        if self.is_dummy:
            return x
        mode, noise = self._rounding(x, bool(training))
        kernel = functools.partial(active_kernel(), part=self._part(bool(training)))
        if self.is_minifloat:
            i, f, digits = minifloats.widths(self._parts_in_use())
            k = ops.convert_to_tensor(self.k)
            return kernel(x, k, i, f, mode, self.config.overflow_mode, noise, digits)
        if self.derives_range:
            return kernel(x, None, None, self._derived_f(x, mode, noise), mode, None, noise)
        if self.tracks_range and (is_tracing() or (training and self.trainable)):
            k, i, f = self._track(x)
            # Nothing overflows the range just tracked. With b given and i growing, f shrinks and rounding
            # may still cross the bound of very narrow formats: there the honest kernel shows the wrapping.
            overflow = None if self.config.q_type is QType.KIF else self.config.overflow_mode
            return kernel(x, k, i, f, mode, overflow, noise)
        return kernel(x, *self._widths(), mode, self.config.overflow_mode, noise)

    def _part(self, training: bool) -> int:
        return self.config.width_gradient_part if training and not self.config.place.is_constant else 1

    def _rounding(self, x: Any, training: bool) -> tuple[Rounding, Any]:
        mode = self.config.round_mode
        if not (training and mode.is_stochastic):
            return deployed(mode), None
        return mode, keras.random.uniform(ops.shape(x), dtype=self.compute_dtype, seed=self.seed_generator)

    def _widths(self) -> Widths:
        """k, i and f in use, where they come from variables."""
        i = clipped(self.i)
        return Widths(ops.convert_to_tensor(self.k), i, fraction_in_use(self.config, self._width, i))

    @property
    def _parts(self) -> minifloats.Parts:
        return minifloats.Parts(self.m, self.e, self.e0)

    def _parts_in_use(self) -> minifloats.Parts:
        return minifloats.parts_in_use(self.config, self._parts)

    @property
    def _width(self) -> Any:
        return self.b if self.config.q_type is QType.KBI else self.f

    def _derived_f(self, x: Any, mode: Rounding, noise: Any) -> Any:
        return fraction_of_constant(self.config, self.f, x, self.shared_axes, mode, noise)

    def _track(self, x: Any) -> Widths:
        widths = track(self.config, self.k, self.i, self._width, x, self.shared_axes)
        self.k.assign(widths.k)
        self.i.assign(widths.i)
        return widths

    def bits(self, x: Any = None, quantized: Any = None) -> Any:
        """max(i + f, 0): bits without sign, float32, of the shape of the widths without the batch axis.

        For a minifloat k + e + m, the bits it is stored in, as HGQ2 counts it; 0 for the constant 0.
        Differentiable in f, b and i, or in m and e. For a quantizer that derives its range, i is that of the
        largest magnitude (so that -1 LSB counts one bit as +1 LSB does) and ``x`` is the tensor, e.g. the
        weight; ``quantized`` is what the quantizer makes of it at inference, if that is known already.

        Raises:
            PrecisionError: for 'dummy', or where ``x`` is needed and missing.
        """
        self._need_format(x)
        if self.derives_range:
            x = ops.stop_gradient(ops.cast(x, self.compute_dtype))
            mode = deployed(self.config.round_mode)
            f = self._derived_f(x, mode, None)
            if quantized is None:
                quantized = active_kernel()(x, None, None, ops.stop_gradient(f), mode, None)
            total = derived_bits(quantized, f, self.shared_axes)
        elif self.is_minifloat:
            total = minifloats.stored_bits(ops.convert_to_tensor(self.k), self._parts_in_use())
        elif self.config.q_type is QType.KBI:
            total = bits_in_use(self.config, self.b)
        else:
            _, i, f = self._widths()
            total = i + f
        total = ops.relu(total)
        return total if self.config.place.is_constant else ops.squeeze(total, axis=0)

    def state(self, weights: Any = None) -> QuantizerState:
        """The formats now, as NumPy integers.

        Args:
            weights: the quantized tensor, for a quantizer that derives its range. Groups of zeros get
                k = 0, i = -f, the constant 0.

        Raises:
            PrecisionError: for 'dummy', before ``build``, or where ``weights`` is needed and missing.
        """
        self._need_format(weights)
        rounding, overflow = deployed(self.config.round_mode), self.config.overflow_mode
        digits = None
        if self.derives_range:
            values = np.asarray(ops.convert_to_numpy(weights), self.compute_dtype)
            f = known(self.f) if self.config.max_bits >= MAX_BITS else self._derived_f(values, rounding, None)
            f, values = as_integers(f), values.astype(np.float64)
            low, high = (reduce(values, axis=self.shared_axes, keepdims=True) for reduce in (np.min, np.max))
            k = rounds_negative(low, f, rounding=rounding).astype(np.int64)
            i = int_bits(low, high, f, rounding=rounding, overflow=overflow)
            # Nothing overflows the derived range; WRAP_SM alone would want a sign even so.
            overflow = Overflow.WRAP if overflow is Overflow.WRAP_SM else overflow
        elif self.is_minifloat:
            k = as_integers(self.k)
            i, f, digits = minifloats.known_widths(minifloats.known_parts(self.config, self._parts))
            # Without digits there is no range either: the constant 0 by its format, as everywhere.
            k, i = np.where(digits > 0, k, 0), np.where(digits > 0, i, -f)
        else:
            k, i, f = (as_integers(part) for part in known_widths(self.config, self.k, self.i, self._width))
        if not self.config.place.is_constant:
            k, i, f, digits = k[0], i[0], f[0], None if digits is None else digits[0]
        return QuantizerState(k=k, i=i, f=f, rounding=rounding, overflow=overflow, digits=digits)

    def set_state(
        self, k: npt.ArrayLike | None = None, i: npt.ArrayLike | None = None, f: npt.ArrayLike | None = None
    ) -> None:
        """Assign the format, each part broadcast to the widths; parts left out stay.

        f and trained i may be fractional (the training state between two integers). Where k and i are
        derived from the tensor, given ones are ignored: they could only be the same or overflow.

        Raises:
            PrecisionError: for 'dummy' and 'float', before ``build``, a shape that does not fit, or values
                out of range.
        """
        self._need_format(())
        if self.is_minifloat:
            raise PrecisionError(
                "a minifloat has no i and f of its own", where=self.path, remedy="use set_minifloat(m, e, e0)"
            )
        parts = {
            name: checked(name, value, self.width_shape, str(self.path))
            for name, value in (("k", k), ("i", i), ("f", f))
        }
        if not self.derives_range:
            old_i = ops.convert_to_numpy(self.i)
            if parts["k"] is not None:
                self.k.assign(parts["k"])
            if parts["i"] is not None:
                self.i.assign(parts["i"])
            if self.b is not None and (parts["i"] is not None or parts["f"] is not None):
                old_f = ops.convert_to_numpy(self.b) - old_i
                new_f = old_f if parts["f"] is None else parts["f"]
                self.b.assign(ops.convert_to_numpy(self.i) + new_f)
        if self.f is not None and parts["f"] is not None:
            self.f.assign(parts["f"])

    def minifloat(self) -> minifloats.Parts:
        """m, e and e0 in use, NumPy integers of the shape of the widths.

        Raises:
            PrecisionError: no minifloat, or before ``build``.
        """
        self._need_minifloat()
        return minifloats.known_parts(self.config, self._parts)

    def set_minifloat(
        self, m: npt.ArrayLike | None = None, e: npt.ArrayLike | None = None, e0: npt.ArrayLike | None = None
    ) -> None:
        """Assign the parts of a minifloat, each broadcast to the widths; parts left out stay.

        Raises:
            PrecisionError: no minifloat, before ``build``, a shape that does not fit, or values out of range.
        """
        self._need_minifloat()
        for (name, low, high), value in zip(minifloats.limits(self.config), (m, e, e0), strict=True):
            part = checked(name, value, self.width_shape, str(self.path), low, high)
            if part is not None:
                getattr(self, name).assign(part)

    def _need_minifloat(self) -> None:
        self._need_format(())
        if not self.is_minifloat:
            raise PrecisionError(
                "the quantizer is no minifloat",
                where=self.path,
                received=f"q_type '{self.config.q_type}'",
                remedy="make it with q_type='float'",
            )

    def reset_range(self) -> None:
        """Forget the tracked range, so that training calls trace it anew; no-op where nothing is tracked."""
        if self.tracks_range:
            self._need_format(())
            self.i.assign(np.full(self.width_shape, -EXPONENT_LIMIT, np.float32))
            self.k.assign(np.full(self.width_shape, self.config.k0, np.float32))

    def _need_format(self, tensor: Any) -> None:
        if self.is_dummy:
            raise PrecisionError(
                "a dummy quantizer has no format",
                where=self.path,
                remedy="use q_type 'kif', 'kbi' or 'float'",
            )
        if not self.built:
            raise PrecisionError(
                "the quantizer has no format before it is built",
                where=self.path,
                remedy="call it once, or build(shape)",
            )
        if self.derives_range and tensor is None:
            raise PrecisionError(
                "the integer bits of this quantizer follow from the tensor it quantizes",
                where=self.path,
                remedy="pass that tensor, e.g. state(layer.kernel)",
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape itself."""
        return input_shape

    def compute_output_spec(self, x: Any, training: bool | None = None) -> keras.KerasTensor:
        """float32 (float64) of the input's shape."""
        del training
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        base = super().get_config()
        base.pop("dtype", None)
        return base | {"config": self.config.get_config(), "seed": self.seed}
