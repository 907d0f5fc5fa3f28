"""Layers of learned tables: a small network on every edge, which the firmware looks up."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from hgqify.errors import PrecisionError, RuleError
from hgqify.layers.activations import Activation, get_activation, require_exact
from hgqify.layers.base import Conf, QLayer
from hgqify.layers.derived import Derived, width_record
from hgqify.layers.ebops import table_ebops, table_ebops_in_graph
from hgqify.layers.edge_networks import EdgeNetworks
from hgqify.layers.table_codes import entry_inputs, entry_of, table_format, tabulated
from hgqify.layers.table_settings import edge_table_output, table_input
from hgqify.quantizers import (
    Quantizer,
    QuantizerState,
    straight_through,
)

MAX_EDGE_BITS = 8
"""Default limit of the width k + i + f of an edge's input; a table has at most 2**8 entries."""


@keras.saving.register_keras_serializable("hgqify")
class QDenseT(QLayer):
    """``y[..., o] = oq(act(sum_j table_jo(iq_jo(x[..., j]))))``: a dense layer without multiplications.

    While training, the table of the edge from input j to output o is ``toq_jo`` of a small network of one
    input and one output: ``n_hl`` hidden layers of ``d_hl`` units with ``subnn_activation``, then a linear
    unit, with weights of its own (`hgqify.layers.edge_networks`). The firmware looks ``table_jo`` up by the
    code of ``iq_jo(x_j)`` and adds. HGQ2 0.2.0 has this layer under the same name, printed by da4ml (HGQ-LUT,
    FCCM 2026, doi 10.1109/FCCM68464.2026.00017); the batch normalization that it can have before ``toq`` is
    not here.

    The entries, rounded by toq, are stored in a weight beside a record of what they were computed from. Every
    training step stores them and carries the gradient of the networks and quantizers; inference looks them
    up, so that a saved model, the integer reference and the firmware hold the same numbers on every backend.
    Weights move *after* a step's tables: until `refresh` is called (saving calls it), inference computes the
    tables of the new weights on the fly.

    Axes before the last are positions: all share the tables. EBOPs are HGQ2's for tables, in LUTs of six
    inputs: an edge of a address bits and w output bits (both with sign, which a format of no other bits has
    not) counts

        w * (2**(a - 6) if a >= 5 else a / 10) + w

    at every position, the second w for the sum; the layer's total is rounded up.

    Args:
        n_out: number of outputs.
        n_hl, d_hl: hidden layers of each edge's network (0: a straight line), and their units.
        activation, activation_params: of the sum, one that is piecewise linear.
        subnn_activation, subnn_activation_params: of the hidden layers, what
            `hgqify.layers.activations.get_activation` takes.
        iq_conf: input quantizer of the edges, fixed point, whose axes are (batch, n_in, n_out): each edge has
            its own widths unless its config says else. Its width k + i + f is limited.
        toq_conf: quantizer of the entries, fixed point, with axes (entry, n_in, n_out); None for the scope's
            default at place 'table', where without axis options every edge has its own widths.
        use_bias: whether the units of the edges' networks have biases.
        max_table_bits: limit of an edge's k + i + f, 2 to 12.
        **kwargs: of `QLayer`.

    Raises:
        RuleError: sizes that make no layer, ``iq_conf=False``, a minifloat, a width per entry, or
            ``max_table_bits`` out of range.
        UnsupportedLayerError: an activation that needs a table, or a function that is not elementwise.
    """

    def __init__(
        self,
        n_out: int,
        n_hl: int = 1,
        d_hl: int = 8,
        activation: str | Callable[..., Any] | Activation | None = None,
        subnn_activation: str | Callable[..., Any] | Activation | None = "tanh",
        *,
        activation_params: Mapping[str, Any] | None = None,
        subnn_activation_params: Mapping[str, Any] | None = None,
        iq_conf: Conf = None,
        toq_conf: Conf = None,
        use_bias: bool = True,
        max_table_bits: int = MAX_EDGE_BITS,
        **kwargs: Any,
    ) -> None:
        name = kwargs.get("name") or "QDenseT"
        _check_sizes(name, n_out=n_out, n_hl=n_hl, d_hl=d_hl, max_table_bits=max_table_bits)
        if isinstance(iq_conf, bool):
            raise RuleError(
                "a table needs an input quantizer",
                where=name,
                received=f"iq_conf={iq_conf}",
                remedy="leave iq_conf out or give a config",
            )
        super().__init__(iq_conf=table_input(iq_conf, max_table_bits, name), **kwargs)
        self.n_out, self.n_hl, self.d_hl = int(n_out), int(n_hl), int(d_hl)
        self.activation = require_exact(get_activation(activation, activation_params, where=name), name)
        self.subnn_activation = get_activation(subnn_activation, subnn_activation_params, where=name)
        self.use_bias = bool(use_bias)
        self.max_table_bits = int(max_table_bits)
        self._toq_conf = edge_table_output(toq_conf, name)
        self.toq = self._quantizer(self._toq_conf, "toq")
        self.stored: Derived | None = None

    @property
    def has_tables(self) -> bool:
        """Whether the edges are held as tables (with quantizers off the networks are evaluated instead)."""
        return not self._is_off(self.iq, self.toq)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the networks, widths and tables.

        Raises:
            RuleError: the number of inputs is not known.
        """
        *positions, n_in = input_shape[1:]
        if n_in is None:
            raise RuleError(
                "a layer of tables needs to know the number of its inputs",
                where=self.path,
                received=f"shape {tuple(input_shape)}",
                remedy="fix the size of the last axis",
            )
        self.positions: tuple[Any, ...] = tuple(positions)
        self.edges = (int(n_in), self.n_out)
        self.network = EdgeNetworks(
            self.edges,
            self.n_hl,
            self.d_hl,
            self.subnn_activation,
            self.use_bias,
            name=f"{self.name}_network",
            dtype=self.dtype_policy,
        )
        self._edge_iq.build((None, *self.edges))
        self.toq.build((2**self.max_table_bits, *self.edges))
        if self.oq is not None:
            self.oq.build(self.compute_output_shape(input_shape))
        if self.has_tables:
            shape = (2**self.max_table_bits, *self.edges)
            self.stored = Derived(shape, self._source().shape, name=f"{self.name}_tables")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Apply the layer."""
        n_in, n_out = self.edges
        x = ops.reshape(ops.cast(inputs, self.compute_dtype), (-1, n_in, 1))
        x = self._quantize_input(ops.repeat(x, n_out, axis=-1), training)
        y = self._look_up(x, training) if self.has_tables else self.toq(self.network(x), training=training)
        y = self.activation(ops.sum(y, axis=1))
        y = ops.reshape(y, (-1, *self._known_positions(inputs), n_out))
        y = self._quantize_output(y, training)
        self._add_ebops_loss(training)
        return y

    def _known_positions(self, inputs: Any) -> tuple[Any, ...]:
        """Sizes of the axes between batch and inputs; of one that is not fixed, the tensor's own."""
        shape: Any = ops.shape(inputs)
        sizes = shape[1:-1]
        return tuple(
            own if own is not None else size for own, size in zip(self.positions, sizes, strict=True)
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape with ``n_out`` along the last axis."""
        return (*input_shape[:-1], self.n_out)

    def _look_up(self, x: Any, training: bool | None) -> Any:
        source = self._source()
        if not training:
            return self._entries(self._stored.current(source, self._compute_tables), x)
        tables = self._compute_tables()
        self._stored.store(tables, source)
        smooth = self.toq(self.network(x), training=training)
        return straight_through(self._entries(tables, x), smooth)

    def _entries(self, tables: Any, x: Any) -> Any:
        """The entry of every on-grid element."""
        place = entry_of(x, *self._formats(), 2**self.max_table_bits, self.compute_dtype)
        count = math.prod(self.edges)
        place = place * count + ops.reshape(ops.arange(count, dtype="int32"), self.edges)
        return ops.cast(ops.take(ops.reshape(tables, (-1,)), place), self.compute_dtype)

    @property
    def _edge_iq(self) -> Quantizer:
        return self.iqs[0]

    @property
    def _stored(self) -> Derived:
        if self.stored is None:
            raise PrecisionError(
                "layer has no tables",
                where=self.path,
                remedy="only built layers whose quantizers are on have them",
            )
        return self.stored

    def _formats(self) -> tuple[Any, Any, Any]:
        """(k, b, f) of the edges now, see `table_format`."""
        return table_format(self._edge_iq, self.edges)

    def _compute_raw(self) -> Any:
        """What the networks make of every code; entries past an edge's last code repeat it."""
        return self.network(entry_inputs(*self._formats(), 2**self.max_table_bits, self.compute_dtype))

    def _compute_tables(self) -> Any:
        """The tables of the weights and widths as they are, (2**max_table_bits, n_in, n_out)."""
        return ops.cast(
            ops.stop_gradient(self.toq(tabulated(self._compute_raw()), training=False)), "float32"
        )

    def _source(self) -> Any:
        """All that the tables depend on, as one float32 vector."""
        weights = [
            ops.reshape(ops.cast(ops.convert_to_tensor(w), "float32"), (-1,)) for w in self.network.variables
        ]
        return ops.concatenate([*weights, *width_record(self._edge_iq, self.toq)])

    def refresh(self) -> None:
        """Compute the tables from the weights and widths as they are and store them.

        Raises:
            PrecisionError: a network is not finite at some code of its input.
        """
        if self.stored is None:
            return
        if not np.isfinite(np.asarray(ops.convert_to_numpy(self._compute_raw()))).all():
            raise PrecisionError(
                "the network of an edge is not finite on the whole range of its input quantizer",
                where=self.path,
                received=self.subnn_activation.name,
                remedy="restrict the range, or train with a smaller learning rate",
            )
        self.stored.store(self._compute_tables(), self._source())

    def tables(self) -> np.ndarray:
        """The stored entries, float32 of shape (n_in, n_out, 2**max_table_bits): of an edge's code c number
        ``c + k * 2**b`` with b = max(i + f, 0) of its input format, ascending.

        Raises:
            PrecisionError: no tables, or they are older than weights or widths (call `refresh`).
        """
        return np.moveaxis(self._stored.read(self._source(), self.path), 0, -1)

    def edge_state(self) -> QuantizerState:
        """Formats of the edges' inputs; k, i and f of shape (n_in, n_out).

        Raises:
            PrecisionError: not built, or the quantizer is off.
        """
        state = self._edge_iq.state()
        k, i, f = (np.broadcast_to(part, self.edges) for part in (state.k, state.i, state.f))
        return QuantizerState(k=k, i=i, f=f, rounding=state.rounding, overflow=state.overflow)

    def save_own_variables(self, store: Any) -> None:
        """Save, with tables that belong to the weights: a saved layer is always fresh."""
        if self.stored is not None and not self.stored.is_fresh(self._source()):
            self.refresh()
        super().save_own_variables(store)

    # EBOPs

    def _bits_in_graph(self) -> tuple[Any, Any]:
        """Address bits and output bits of the edges, sign included, differentiable, (n_in, n_out)."""
        k, _, _ = self._formats()
        address = ops.broadcast_to(self._edge_iq.bits(), self.edges)
        tables = self._stored.current(self._source(), self._compute_tables)
        if self.toq.derives_range:
            signs: Any = ops.any(ops.less(tables, 0), axis=self.toq.shared_axes, keepdims=True)
        else:
            signs = ops.convert_to_tensor(self.toq.k)
        width = ops.broadcast_to(ops.squeeze(self.toq.bits(tables), 0), self.edges)
        signs = ops.broadcast_to(ops.squeeze(ops.cast(signs, "float32"), 0), self.edges)
        return _with_sign(address, k), _with_sign(width, signs)

    def edge_bits(self) -> tuple[np.ndarray, np.ndarray]:
        """Address bits and output bits of the edges as EBOPs count them, sign included, int64 (n_in, n_out).

        Raises:
            PrecisionError: not built, or a quantizer is off.
        """
        address, width = (np.asarray(ops.convert_to_numpy(bits)) for bits in self._bits_in_graph())
        return np.rint(address).astype(np.int64), np.rint(width).astype(np.int64)

    def ebops(self) -> int:
        """Exact EBOPs of one inference.

        Raises:
            PrecisionError: the layer is not built, has no fixed shape, or a quantizer is off.
        """
        address, width = self.edge_bits()
        if None in self.positions:
            raise PrecisionError(
                "EBOPs need a fixed input shape",
                where=self.path,
                received=self.positions,
                remedy="fix all sizes",
            )
        return table_ebops(address, width, math.prod(self.positions))

    def ebops_value(self) -> Any:
        """See `QLayer.ebops_value`; the gradient is that of the formula, with a as a real number."""
        if not self.has_tables or None in self.positions:
            return None
        address, width = self._bits_in_graph()
        return table_ebops_in_graph(address, width, math.prod(self.positions))

    def get_config(self) -> dict[str, Any]:
        """Everything a constructor outside all scopes needs to make the same layer."""
        return {
            **super().get_config(),
            "n_out": self.n_out,
            "n_hl": self.n_hl,
            "d_hl": self.d_hl,
            "subnn_activation": self.subnn_activation.name,
            "subnn_activation_params": dict(self.subnn_activation.params),
            "toq_conf": self._toq_conf.get_config(),
            "use_bias": self.use_bias,
            "max_table_bits": self.max_table_bits,
        }


def _with_sign(bits: Any, sign: Any) -> Any:
    """A sign bit more where there are others."""
    return bits + ops.where(ops.greater(bits, 0), ops.cast(sign, "float32"), 0.0)


def _check_sizes(where: str, *, max_table_bits: int, **sizes: Any) -> None:
    """RuleError for sizes that make no layer."""
    for name, size in sizes.items():
        low = 0 if name == "n_hl" else 1
        if not isinstance(size, numbers.Integral) or size < low:
            raise RuleError(
                f"a size is a whole number of at least {low}", where=where, received=f"{name}={size!r}"
            )
    if not 2 <= max_table_bits <= 12:
        raise RuleError(
            "the table of an edge takes an input of 2 to 12 bits",
            where=where,
            received=f"max_table_bits={max_table_bits}",
            remedy="8 bits are 256 entries for every edge",
        )
