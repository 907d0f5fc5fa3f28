"""What the quantizers of tables may be: narrow fixed point before a table, one format for its entries."""

from __future__ import annotations

from collections.abc import Mapping

from hgqify.errors import RuleError
from hgqify.layers.base import Conf
from hgqify.quantizers import Place, QType, QuantizerConfig, resolve

_EDGES = (1, 2)
"""Axes of the edges in the tables of a layer of edges, (entry, n_in, n_out)."""


def table_input(conf: Conf, max_table_bits: int, where: str) -> QuantizerConfig:
    """A quantizer so narrow that k + i + f fits a table; fixed point where the default is a minifloat.

    Raises:
        RuleError: a minifloat was asked for.
    """
    config = resolve(conf, Place.DATALANE)
    if config.q_type is QType.FLOAT:
        if conf is not None:
            raise RuleError(
                "a table is read by the codes of a fixed-point number",
                where=where,
                received="iq_conf with q_type='float'",
                remedy="use q_type='kif', or leave iq_conf out",
            )
        config = QuantizerConfig(QType.KIF, Place.DATALANE)
    # A tracked k may turn to 1 later.
    sign = config.k0 or not config.overflow_mode.saturates
    limit = min(config.max_bits, max_table_bits - int(sign))
    return config.replace(max_bits=limit)


def edge_table_output(conf: Conf, where: str) -> QuantizerConfig:
    """The entries' quantizer: each edge its own widths where nothing else is said, and one for all entries.

    Raises:
        RuleError: a minifloat, or widths that differ from entry to entry.
    """
    config = resolve(conf, Place.TABLE)
    axes = ("homogeneous_axis", "heterogeneous_axis")
    if conf is None or (isinstance(conf, Mapping) and all(conf.get(axis) is None for axis in axes)):
        config = config.replace(heterogeneous_axis=_EDGES)
    if config.q_type is QType.FLOAT:
        raise RuleError(
            "the entries of tables are fixed-point numbers",
            where=where,
            received="toq_conf with q_type='float'",
            remedy="use q_type='kif' or 'kbi'",
        )
    own, shared = config.heterogeneous_axis, config.homogeneous_axis
    if any(axis % 3 == 0 for axis in own or ()) or (own is None and all(a % 3 for a in shared or ())):
        raise RuleError(
            "all entries of a table have one format",
            where=where,
            received=f"toq_conf with heterogeneous_axis={own}, homogeneous_axis={shared}",
            remedy="use heterogeneous_axis=(1, 2) for one format per edge",
        )
    return config
