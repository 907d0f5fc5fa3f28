"""Quantized activation functions: exact where they are piecewise linear, else by lookup table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import PrecisionError, RuleError
from hgqify.fixed import Format
from hgqify.layers.activations import Activation, ActivationKind, get_activation
from hgqify.layers.base import Conf, QLayer
from hgqify.layers.derived import Derived, width_record
from hgqify.layers.table_codes import entry_inputs, entry_of, table_format, tabulated
from hgqify.layers.table_settings import table_input
from hgqify.quantizers import Place, Quantizer, resolve

MAX_TABLE_BITS = 12
"""Default limit of the input's width k + i + f; a table has at most 2**12 entries."""


@keras.saving.register_keras_serializable("hgqify")
class QActivation(QLayer):
    """``y = oq(fn(iq(x)))``, element by element.

    A piecewise linear function is computed as it stands (`hgqify.layers.activations`), oq being optional.
    Any other becomes a table with one entry for every code of iq, which therefore has one format for the
    whole tensor, of at most ``max_table_bits``. The entries ``oq(fn(code * 2**-f))`` are stored in a weight:
    every training step refreshes them, and inference looks them up, so that a saved model, the integer
    reference and the firmware hold the same numbers. Widths move *after* a step's refresh; until
    `refresh_table` is called (saving calls it), inference computes the table of the new widths on the fly.
    The gradient is that of fn and of the quantizers.

    Args:
        activation: what `hgqify.layers.activations.get_activation` takes.
        activation_params: keyword arguments of the function.
        iq_conf: input quantizer; for a table its widths are shared along all axes and limited, and it is
            fixed point: kif where the scope's default is a minifloat.
        oq_conf: output quantizer; for a table None means the scope's default at place 'table', and widths
            are shared along all axes too.
        max_table_bits: limit of the input's k + i + f, 2 to 16.
        **kwargs: of `QLayer`.

    Raises:
        RuleError: ``iq_conf=False`` or a minifloat where a table is needed, or ``max_table_bits`` out of
            range.
        UnsupportedLayerError: an unknown function, or one that is not elementwise.
    """

    def __init__(
        self,
        activation: str | Callable[..., Any] | Activation | None,
        *,
        activation_params: Mapping[str, Any] | None = None,
        iq_conf: Conf | bool = None,
        oq_conf: Conf = None,
        max_table_bits: int = MAX_TABLE_BITS,
        **kwargs: Any,
    ) -> None:
        name = kwargs.get("name") or "QActivation"
        resolved = get_activation(activation, activation_params, where=name)
        table = self._is_tabulated(resolved)
        if not 2 <= max_table_bits <= 16:
            raise RuleError(
                "a table takes an input of 2 to 16 bits",
                where=name,
                received=f"max_table_bits={max_table_bits}",
                remedy="12 bits are 4096 entries",
            )
        if table and iq_conf is False:
            raise RuleError(
                "a table needs an input quantizer",
                where=name,
                received="iq_conf=False",
                remedy="leave iq_conf out or give a config",
            )
        if table and not isinstance(iq_conf, bool):
            iq_conf = table_input(iq_conf, max_table_bits, name).replace(heterogeneous_axis=())
        super().__init__(iq_conf=iq_conf, oq_conf=None if table else oq_conf, **kwargs)
        self.activation = resolved
        self.max_table_bits = int(max_table_bits)
        if table:
            config = resolve(oq_conf, Place.TABLE).replace(heterogeneous_axis=())
            self.oq = self._quantizer(config, "oq")
        self.stored: Derived | None = None

    @classmethod
    def _is_tabulated(cls, activation: Activation) -> bool:
        return activation.kind is ActivationKind.TABLE

    @property
    def is_tabulated(self) -> bool:
        """Whether hardware looks the function up rather than compute it."""
        return self._is_tabulated(self.activation)

    @property
    def uses_table(self) -> bool:
        """Whether the function is held as a table (with quantizers off it is evaluated instead)."""
        return self.is_tabulated and not self._is_off(self.iq, self.oq)

    def evaluate(self, x: Any) -> Any:
        """fn of a tensor, no quantizer before or behind it."""
        return self.activation(x)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make widths and table."""
        if self.is_tabulated:
            self._table_iq.build(tuple(input_shape))
            self._table_oq.build((2**self.max_table_bits,))
        else:
            self._build_data_quantizers(input_shape)
        if self.uses_table:
            source = self._source().shape
            self.stored = Derived((2**self.max_table_bits,), source, name=f"{self.name}_table")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        x = self._quantize_input(inputs, training)
        if not self.uses_table:
            return self._quantize_output(self.evaluate(x), training)
        table, source = self._compute_table(), self._source()
        if not training:
            return ops.take(self._stored.select(source, table), self._index(x))
        self._stored.store(table, source)
        smooth = self._table_oq(ops.reshape(self.evaluate(x), (-1,)), training=training)
        smooth: Any = ops.reshape(smooth, ops.shape(x))
        return smooth + ops.stop_gradient(ops.take(table, self._index(x)) - smooth)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return tuple(input_shape)

    @property
    def _table_iq(self) -> Quantizer:
        return self.iqs[0]

    @property
    def _table_oq(self) -> Quantizer:
        if self.oq is None:
            raise PrecisionError("layer has no table", where=self.path, received=self.activation.name)
        return self.oq

    @property
    def _stored(self) -> Derived:
        if self.stored is None:
            raise PrecisionError(
                "layer has no table",
                where=self.path,
                received=self.activation.name,
                remedy="only built layers with a function that is not piecewise linear have one",
            )
        return self.stored

    def _index(self, x: Any) -> Any:
        """Table index of every on-grid element."""
        form = table_format(self._table_iq, ())
        return entry_of(x, *form, 2**self.max_table_bits, self.compute_dtype)

    def _compute_table(self) -> Any:
        """The table of the widths as they are."""
        form = table_format(self._table_iq, ())
        values = self.evaluate(entry_inputs(*form, 2**self.max_table_bits, "float32"))
        return ops.stop_gradient(self._table_oq(tabulated(values), training=False))

    def _source(self) -> Any:
        """All widths the table depends on, as one float32 vector."""
        return ops.concatenate(width_record(self._table_iq, self._table_oq))

    def refresh_table(self) -> None:
        """Compute the table from the widths as they are and store it.

        Raises:
            PrecisionError: the layer has no table, or the function is not finite at some input.
        """
        stored = self._stored
        form, codes = self._input_codes()
        raw = self.evaluate(ops.convert_to_tensor((codes * 2.0**-form.f).astype(np.float32)))
        finite = np.isfinite(np.asarray(ops.convert_to_numpy(raw)))
        if not finite.all():
            raise PrecisionError(
                f"{self.activation.name} is not finite on the whole range of the input quantizer",
                where=self.path,
                received=f"x = {codes[~finite][0] * 2.0**-form.f}",
                remedy="restrict the range, for instance to unsigned values",
            )
        stored.store(self._compute_table(), self._source())

    def refresh(self) -> None:
        """`refresh_table` where there is one."""
        if self.stored is not None:
            self.refresh_table()

    def _input_codes(self) -> tuple[Format, np.ndarray]:
        """The input's format and all codes the table covers, ascending; only 0 for a format of no bits."""
        state = self._table_iq.state()
        form = Format(*(np.ravel(v)[0] for v in (state.k, state.i, state.f)))
        if form.is_zero:
            return form, np.zeros(1, np.int64)
        return form, np.arange(-form.k << form.b, 1 << form.b, dtype=np.int64)

    def table_codes(self) -> tuple[Format, np.ndarray, int]:
        """The stored table as integers.

        Returns:
            (format, codes, frac): the input's format; int64 output codes for the input codes
            ``-k * 2**b .. 2**b - 1`` in ascending order (only 0 if the format has no bits); the output's
            fractional bits, value = code * 2**-frac.

        Raises:
            PrecisionError: no table, or it is older than the widths (call `refresh_table`).
        """
        table = self._stored.read(self._source(), self.path)
        form, codes = self._input_codes()
        first = (form.k << max(form.b, 0)) if form.is_zero else 0
        used = table[first : first + codes.size]
        frac = int(np.ravel(self._table_oq.state(table).f)[0])
        return form, np.ldexp(used.astype(np.float64), frac).astype(np.int64), frac

    def save_own_variables(self, store: Any) -> None:
        """Save, with a table that belongs to the widths: a saved layer is always fresh."""
        if self.stored is not None and not self.stored.is_fresh(self._source()):
            self.refresh_table()
        super().save_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {**super().get_config(), "max_table_bits": self.max_table_bits}
