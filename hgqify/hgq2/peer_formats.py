"""Our quantizers as HGQ2's: the config, and the widths as they are trained.

===============================  ==========================================================================
ours                             HGQ2's
===============================  ==========================================================================
data, kif or kbi                 the same; a range that wraps follows the data and never shrinks again
constant, range derived from it  kif, WRAP, ``is_weight=True``: what HGQ2 only rounds
constant, kbi                    kbi
dummy                            dummy
===============================  ==========================================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hgqify.errors import UnsupportedLayerError
from hgqify.fixed import Overflow
from hgqify.hgq2 import peer
from hgqify.quantizers import MinMax, MonoL1, Place, QType, Quantizer
from hgqify.quantizers.width_rules import rule_object

_UNBOUNDED = 1e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerSetting:
    """What makes one of HGQ2's quantizers.

    Attributes:
        config: an HGQ2 ``QuantizerConfig``.
        widths: values of its variables by name.
    """

    config: Any
    widths: Mapping[str, np.ndarray]

    def assign(self, quantizer: Any) -> None:
        """Give a built quantizer of HGQ2 the widths."""
        for variable in quantizer.quantizer.variables:
            if variable.name in self.widths:
                value = self.widths[variable.name]
                one_or_all = np.reshape(value, ()) if np.size(value) == 1 else value
                variable.assign(np.broadcast_to(one_or_all, variable.shape))


def to_peer(quantizer: Quantizer, where: str, constant: Any = None) -> PeerSetting:
    """HGQ2's for one of ours.

    Args:
        quantizer: built.
        where: what an error names.
        constant: what it quantizes, where it derives its range from that.

    Raises:
        UnsupportedLayerError: WRAP_SM, or a single signed bit under SAT_SYM, which HGQ2 has not.
    """
    config = quantizer.config
    place = str(config.place)
    library = peer.library("config")
    if quantizer.is_dummy:
        return PeerSetting(config=library.QuantizerConfig("dummy", place), widths={})
    state = quantizer.state(constant)
    k, i, f = (np.asarray(part, np.float32) for part in (state.k, state.i, state.f))
    if not config.place.is_constant:
        k, i, f = k[None], i[None], f[None]
    derived = quantizer.derives_range
    overflow = Overflow.WRAP if derived else state.overflow
    if overflow is Overflow.SAT_SYM and np.any((k == 1) & (i + f == 0)):
        if k.size > 1:
            raise _refused("one bit with a sign, {-1, 0}, beside wider formats", "SAT_SYM", where)
        overflow = Overflow.SAT  # which holds the same there
    if overflow is Overflow.WRAP_SM:
        raise _refused("this overflow mode", "WRAP_SM", where)
    kif = config.q_type is QType.KIF
    widths = {"k": k, "i": _kept(quantizer.i, i)}
    initial: dict[str, Any] = {"k0": int(k.max(initial=0)), "i0": 0}
    if kif:
        widths["f"], initial["f0"] = _kept(quantizer.f, f), 0
    else:
        widths["b"], initial["b0"] = _kept(quantizer.b, i + f), 0
    rules = ("ic", "fc", "ir", "fr") if kif else ("bc", "ic", "br", "ir")
    made = library.QuantizerConfig(
        str(config.q_type),
        place,
        **initial,
        round_mode=str(config.round_mode),
        overflow_mode=str(overflow),
        # A table has one format; HGQ2 lays its widths over the data, which has more axes than ours.
        homogeneous_axis=None if config.place is Place.TABLE else quantizer.shared_axes,
        heterogeneous_axis=() if config.place is Place.TABLE else None,
        trainable=config.trainable is not False,
        is_weight=derived,
        i_decay_speed=0.0,
        **{name: _rule(config, name) for name in rules},
    )
    return PeerSetting(config=made, widths=widths)


def _kept(variable: Any, in_use: np.ndarray) -> np.ndarray:
    """The number between two integers that is trained, where it acts as the integer in use."""
    if variable is None:
        return in_use
    stored = peer.numpy(variable)
    return np.where(np.rint(stored) == in_use, stored, in_use)


def _rule(config: Any, name: str) -> Any:
    """A constraint or regularizer of HGQ2, or of Keras."""
    rule = rule_object(name, getattr(config, name))
    if isinstance(rule, MinMax):
        low = -_UNBOUNDED if rule.low is None else rule.low
        high = _UNBOUNDED if rule.high is None else rule.high
        return peer.library("constraints").MinMax(low, high)
    if isinstance(rule, MonoL1):
        return peer.library("regularizers").MonoL1(rule.l1)
    return rule


def _refused(what: str, received: str, where: str) -> UnsupportedLayerError:
    return UnsupportedLayerError(
        f"HGQ2 has no exact form of {what}", where=where, received=received, remedy="use SAT or WRAP"
    )
