"""Our layers as HGQ2's, one function per family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hgqify import layers as q
from hgqify.errors import UnsupportedLayerError
from hgqify.graph import Node
from hgqify.hgq2 import peer
from hgqify.hgq2.peer_formats import PeerSetting, to_peer
from hgqify.hgq2.placed import Apply, require_equal, tensor
from hgqify.layers.activations import Activation, PiecewiseLinear


class PeerPlaced:
    """A layer of HGQ2 that takes its weights and formats when it is first called.

    Args:
        layer: not built.
        settle: sets them.
        arguments: further ones of the call.
    """

    def __init__(
        self,
        layer: Any,
        settle: Callable[[Any], None] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._layer = layer
        self._settle = settle
        self._arguments = dict(arguments or {})

    def __call__(self, tensors: list[Any]) -> Any:
        """Apply the layer."""
        fresh = not self._layer.built
        result = self._layer(tensors[0] if len(tensors) == 1 else tensors, **self._arguments)
        if fresh and self._settle is not None:
            self._settle(self._layer)
        return result


class Ours:
    """One of our layers on its way to HGQ2: its quantizers, and what HGQ2's constructors take for them.

    Args:
        layer: built.
        node: its first call.
    """

    def __init__(self, layer: Any, node: Node) -> None:
        self.layer = layer
        self.node = node
        self.name = str(layer.name)
        self.path = node.origin[0]
        self.iqs = [to_peer(one, f"{self.path} (iq)") for one in getattr(layer, "iqs", ())]
        own = getattr(layer, "oq", None)
        self.oq = None if own is None or _is_table(layer) else to_peer(own, f"{self.path} (oq)")

    def common(self, *, counted: bool = True) -> dict[str, Any]:
        """Keyword arguments of all layers; HGQ2 counts EBOPs where inputs are quantized only."""
        penalty = getattr(self.layer, "penalty", None)
        counted = counted and penalty is not None and bool(self.iqs)
        return {
            "name": self.name,
            "enable_iq": bool(self.iqs),
            "enable_oq": self.oq is not None,
            "oq_conf": None if self.oq is None else self.oq.config,
            "enable_ebops": counted,
            "beta0": float(peer.numpy(penalty.beta)) if counted and penalty is not None else None,
        }

    @property
    def iq_conf(self) -> Any:
        """Of a layer with one input."""
        return self.iqs[0].config if self.iqs else None

    def settle_data(self, theirs: Any) -> None:
        """Widths of input and output quantizers."""
        if self.iqs:
            quantizers = theirs.iq if isinstance(self.layer, q.QMerge) else [theirs.iq]
            for one, setting in zip(quantizers, self.iqs, strict=True):
                setting.assign(one)
        if self.oq is not None:
            self.oq.assign(theirs.oq)


def _is_table(layer: Any) -> bool:
    return isinstance(layer, q.QActivation) and layer.uses_table


def then_quantized(step: Apply, name: str, setting: PeerSetting | None) -> Apply:
    """HGQ2 cannot build output quantizers of some layers: they stand behind those."""
    if setting is None:
        return step
    last = lone_quantizer(setting, name)
    return lambda tensors: last([step(tensors)])


def lone_quantizer(setting: PeerSetting, name: str) -> PeerPlaced:
    """`Quantizer` as a layer."""
    made = peer.library("layers").Quantizer(setting.config, name=name)
    return PeerPlaced(made, setting.assign)


def quantize(ours: Ours) -> Apply:
    """`Quantize`."""
    if not ours.iqs:
        raise UnsupportedLayerError("the layer has no quantizer", where=ours.path, remedy="remove it")
    first = lone_quantizer(ours.iqs[0], ours.name if ours.oq is None else f"{ours.name}_iq")
    return then_quantized(first, ours.name, ours.oq)


_CONV = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups")


def linear(ours: Ours) -> Apply:
    """Layers with a kernel; a normalization that is folded in becomes part of the constants."""
    layer = ours.layer
    h = peer.library("layers")
    arguments: dict[str, Any]
    kernel, bias = (None if value is None else peer.numpy(value) for value in layer.constants())
    if isinstance(layer, q.QDense):
        cls, arguments = h.QDense, {"units": layer.units, "use_bias": bias is not None}
    elif isinstance(layer, q.QEinsumDense):
        axes = layer.bias_axes if bias is None or layer.bias_axes else layer.equation[-1]
        cls = h.QEinsumDense
        shape = tuple(ours.node.shape)
        arguments = {"equation": layer.equation, "output_shape": shape, "bias_axes": axes}
    else:
        cls = getattr(h, type(layer).__name__)
        arguments = {name: getattr(layer, name) for name in _CONV} | {"use_bias": bias is not None}
    kq = to_peer(layer.kq, f"{ours.path} (kq)", kernel)
    bq = None if bias is None else to_peer(layer.bq, f"{ours.path} (bq)", bias)
    constants = layer.quantized_weights()

    def settle(theirs: Any) -> None:
        ours.settle_data(theirs)
        for name, value, setting, quantizer, peers in (
            ("kernel", kernel, kq, layer.kq, theirs.kq),
            ("bias", bias, bq, layer.bq, theirs.bq),
        ):
            if setting is None or value is None:
                continue
            getattr(theirs, name).assign(value)
            setting.assign(peers)
            if not quantizer.is_dummy:
                found = peer.numpy(getattr(theirs, f"q{name}"))
                require_equal(constants[name], found, quantizer.state(value).f, ours.path, name)

    made = cls(
        **arguments,
        activation=function_of(layer.activation, ours.path),
        iq_conf=ours.iq_conf,
        kq_conf=kq.config,
        bq_conf=None if bq is None else bq.config,
        **ours.common(counted=arguments.get("padding") != "causal"),
    )
    return PeerPlaced(made, settle)


def function_of(activation: Activation, where: str) -> Any:
    """What HGQ2's layers take: a function of one argument.

    Raises:
        UnsupportedLayerError: one with parameters, which they cannot hold.
    """
    if activation.piecewise == PiecewiseLinear():
        return "linear"
    if activation.piecewise == PiecewiseLinear(low=0.0):
        return "relu"
    plain = q.get_activation(activation.function, where=where) if _needs_none(activation) else None
    if plain != activation:
        raise UnsupportedLayerError(
            "HGQ2's layers hold functions without parameters only",
            where=where,
            received=f"{activation.name} {dict(activation.params)}",
            remedy="use the function's defaults",
        )
    return activation.function


def _needs_none(activation: Activation) -> bool:
    return all(isinstance(value, int | float | bool | str | None) for value in activation.params.values())


def batch_normalization(ours: Ours) -> Apply:
    """`QBatchNormalization`, with our scale and shift."""
    layer = ours.layer
    scale, shift = layer.scale_shift()
    kq = to_peer(layer.kq, f"{ours.path} (kq)", scale)
    bq = to_peer(layer.bq, f"{ours.path} (bq)", shift)
    constants: dict[str, np.ndarray] = layer.quantized_weights()
    statistics = {
        "bn_gamma": np.ones_like(scale) if layer.gamma is None else peer.numpy(layer.gamma),
        "bn_beta": np.zeros_like(shift) if layer.beta is None else peer.numpy(layer.beta),
        "moving_mean": peer.numpy(layer.moving_mean),
        "moving_variance": peer.numpy(layer.moving_variance),
    }

    def differing(theirs: Any) -> bool:
        found = [peer.numpy(value) for value in theirs.qscaler_and_qoffset]
        return not all(np.array_equal(*pair) for pair in zip(constants.values(), found, strict=True))

    def settle(theirs: Any) -> None:
        ours.settle_data(theirs)
        kq.assign(theirs.kq)
        bq.assign(theirs.bq)
        _give(theirs, statistics)
        if differing(theirs):
            _give(theirs, _as_constants(scale, shift, layer.epsilon))
        found = [peer.numpy(value) for value in theirs.qscaler_and_qoffset]
        for n, (name, quantizer, value) in enumerate(
            (("scale", layer.kq, scale), ("shift", layer.bq, shift))
        ):
            if not quantizer.is_dummy:
                require_equal(constants[name], found[n], quantizer.state(value).f, ours.path, name)

    made = peer.library("layers").QBatchNormalization(
        axis=layer.axis,
        momentum=layer.momentum,
        epsilon=layer.epsilon,
        iq_conf=ours.iq_conf,
        kq_conf=kq.config,
        bq_conf=bq.config,
        **ours.common(),
    )
    return PeerPlaced(made, settle)


def _give(theirs: Any, values: Mapping[str, np.ndarray]) -> None:
    for name, value in values.items():
        getattr(theirs, name).assign(value)


def _as_constants(scale: np.ndarray, shift: np.ndarray, epsilon: float) -> dict[str, np.ndarray]:
    """Statistics that leave a scale and a shift as they are: where the last bit of HGQ2's float32 division
    would round to another code than that of our float64 one.
    """
    near = np.float32(1 - epsilon)
    choices = (near, np.nextafter(near, np.float32(2)), np.nextafter(near, np.float32(0)))
    variance = next((v for v in choices if v + np.float32(epsilon) == 1), near)
    return {
        "bn_gamma": scale,
        "bn_beta": shift,
        "moving_mean": np.zeros_like(scale),
        "moving_variance": np.full_like(scale, variance),
    }


def merge(ours: Ours) -> Apply:
    """Merges; a mean of two, four and so on is one by a shift."""
    name = type(ours.layer).__name__
    if name == "QAverage":
        _require_shift(len(ours.node.inputs), ours.path)
        name = "QAveragePow2"
    made = getattr(peer.library("layers"), name)(iq_confs=_confs(ours.iqs), **ours.common())
    return PeerPlaced(made, ours.settle_data)


def _confs(settings: Sequence[PeerSetting]) -> Any:
    return [setting.config for setting in settings] or None


def einsum(ours: Ours) -> Apply:
    """`QEinsum`, its output quantizer behind it."""
    terms, result = ours.layer.sample_equation.split("->")
    batch = next(letter for letter in "zyxwZYXW" if letter not in terms)
    equation = ",".join(batch + term for term in terms.split(",")) + f"->{batch}{result}"
    return _unquantized(ours, "QEinsum", {"equation": equation, "iq_confs": _confs(ours.iqs)})


def reduction(ours: Ours) -> Apply:
    """`QSum`, `QMeanPow2`, and `QMean` of a power of two, their output quantizers behind them."""
    layer = ours.layer
    if type(layer) is q.QMean:
        _require_shift(layer.reduced_count(), ours.path)
    name = "QSum" if isinstance(layer, q.QSum) else "QMeanPow2"
    arguments = {"axes": layer.batched_axes, "keepdims": True, "iq_conf": ours.iq_conf}
    return _unquantized(ours, name, arguments)


def _unquantized(ours: Ours, cls: str, arguments: Mapping[str, Any]) -> Apply:
    inner = ours.name if ours.oq is None else f"{ours.name}_exact"
    common = ours.common() | {"enable_oq": False, "oq_conf": None, "name": inner}
    made = getattr(peer.library("layers"), cls)(**arguments, **common)
    oq, ours.oq = ours.oq, None
    return then_quantized(PeerPlaced(made, ours.settle_data), ours.name, oq)


def pooling(ours: Ours) -> Apply:
    """Pooling; averages over powers of two."""
    layer = ours.layer
    name = type(layer).__name__
    if "Average" in name:
        for count in set(layer.window_counts().ravel().tolist()):
            _require_shift(count, ours.path)
    names = ("data_format", "keepdims")
    if not name.startswith("QGlobal"):
        names = ("pool_size", "strides", "padding", "data_format")
    arguments = {one: getattr(layer, one) for one in names}
    made = getattr(peer.library("layers"), name)(**arguments, iq_conf=ours.iq_conf, **ours.common())
    return PeerPlaced(made, ours.settle_data)


def _require_shift(count: int, where: str) -> None:
    if count & (count - 1):
        raise UnsupportedLayerError(
            "HGQ2 averages by a float division, which is exact over a power of two only",
            where=where,
            received=f"{count} elements",
            remedy="use QMeanPow2 or QAveragePow2",
        )


def activation(ours: Ours) -> Apply:
    """`QActivation` as `QUnaryFunctionLUT`, its table compared entry by entry."""
    layer = ours.layer
    function = function_of(layer.activation, ours.path)
    common = ours.common(counted=_is_table(layer))
    oq = table_oq(layer, ours.path) if _is_table(layer) else ours.oq
    common |= {"enable_oq": oq is not None, "oq_conf": None if oq is None else oq.config}

    def settle(theirs: Any) -> None:
        for setting in ours.iqs:
            setting.assign(theirs.iq)
        if oq is not None:
            oq.assign(theirs.oq)
        if _is_table(layer):
            check_table(layer, theirs, ours.path)

    made = peer.library("layers").QUnaryFunctionLUT(function, iq_conf=ours.iq_conf, **common)
    return PeerPlaced(made, settle)


def table_oq(layer: q.QActivation, where: str) -> PeerSetting:
    """HGQ2's quantizer of a table's entries."""
    if layer.oq is None:
        raise UnsupportedLayerError("a table without output quantizer", where=where)
    _, codes, frac = layer.table_codes()
    return to_peer(layer.oq, f"{where} (oq)", np.ldexp(codes.astype(np.float64), -frac).astype(np.float32))


def check_table(layer: q.QActivation, theirs: Any, where: str, *, least: int | None = None) -> None:
    """Every entry of a table against HGQ2's function and output quantizer.

    Args:
        layer: ours.
        theirs: HGQ2's `QUnaryFunctionLUT`.
        where: what an error names.
        least: the smallest input code that can occur; None for all.

    Raises:
        BitExactnessError: one differs.
    """
    form, codes, frac = layer.table_codes()
    inputs = np.arange(codes.size, dtype=np.int64) - (0 if form.is_zero else form.k << form.b)
    seen = np.ones(codes.shape, bool) if least is None else inputs >= least
    x = np.ldexp(inputs[seen].astype(np.float64), -form.f).astype(np.float32)
    rank = len(theirs.oq.quantizer.variables[0].shape)
    column = keras.ops.reshape(tensor(x), (-1,) + (1,) * (rank - 1))
    found = np.ravel(peer.numpy(theirs.oq(theirs.activation(column))))
    entries = np.ldexp(codes[seen].astype(np.float64), -frac)
    remedy = "HGQ2 has its own function there: give the table fewer bits, or keep this layer out of the model"
    require_equal(entries, found, frac, where, "table", remedy)
