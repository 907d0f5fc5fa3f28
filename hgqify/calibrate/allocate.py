"""Bits where they matter: mixed widths of least loss under a budget of EBOPs.

    minimise  sum of losses(widths)   subject to   EBOPs(widths) <= budget

EBOPs are bilinear in the bits of activations and the spans of weights. At a price lam per EBOP every
quantizer takes the candidate of least ``loss + lam * bits * price``, where the price of one bit is the sum of
what the other operand's bits are wherever the two meet: EBOPs' gradient, one operation of the layer on bits
in place of values. Weights and activations take turns; lam is bisected until EBOPs meet the budget. At the
last, with activations as they are, the weights' own lam is bisected once more: their many small steps fill
what the few large steps of activations left. Where weights share formats, single bits fill the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hgqify.calibrate.candidates import DataCandidates, coarsest_best, data_candidates, weight_candidates
from hgqify.calibrate.compensate import Compensator
from hgqify.calibrate.fisher import Sensitivity
from hgqify.calibrate.placement import ceil_log2
from hgqify.calibrate.rounding import Rounder
from hgqify.calibrate.widths import apply_bias
from hgqify.errors import BudgetError
from hgqify.layers import QLayer, QLinear, quantized_layers

ops: Any = keras.ops
_TURNS = 3
_BISECTIONS = 24

LEAST_USE = 0.97
"""A budget counts as used from here on: what is left need not be spent."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """A choice of candidates for every allocated layer.

    Attributes:
        weights: by layer, the candidate of every weight, of the kernel's shape.
        data: by layer, the candidate of every width of its input.
        loss: expected increase of the loss per sample, quadratic estimate.
        ebops: exact EBOPs of the model with these formats.
        price: the multiplier lam it was found at.
    """

    weights: Mapping[str, np.ndarray]
    data: Mapping[str, np.ndarray]
    loss: float
    ebops: int
    price: float


@dataclass(frozen=True, kw_only=True)
class Share:
    """One site of an allocation.

    Attributes:
        layer: name of the layer.
        part: 'kernel' or 'input 0'.
        loss: its part of the expected increase of the loss.
        mean_bits: bits an EBOP counts, averaged over weights or elements.
        zeros: fraction of them without any bits: pruned.
    """

    layer: str
    part: str
    loss: float
    mean_bits: float
    zeros: float


def allocatable(model: keras.Model) -> list[QLinear]:
    """The layers whose widths are chosen: those with a kernel, quantized in full, of fixed input shape."""
    return [
        layer
        for layer in quantized_layers(model)
        if isinstance(layer, QLinear)
        and layer.iqs
        and not any(q.is_dummy for q in (layer.iqs[0], layer.kq))
        and None not in layer.data_shape
    ]


class Allocator:
    """The candidates, losses and prices of a calibrated model; made once, solved for any budget.

    Args:
        model: calibrated quantized model. Its formats are the upper limits.
        sensitivity: a function from the candidates of every layer's input to their losses.
        margin: as the model was calibrated with.

    Raises:
        BudgetError: the model has nothing to allocate.
    """

    def __init__(
        self,
        model: keras.Model,
        sensitivity: Callable[[Mapping[str, DataCandidates]], Sensitivity],
        *,
        margin: int = 1,
    ) -> None:
        self.layers = allocatable(model)
        if not self.layers:
            raise BudgetError(
                "the model has no quantized layer with weights, so there is nothing to allocate",
                remedy="leave the budget out",
            )
        names = {layer.name for layer in self.layers}
        self.fixed = sum(layer.ebops() for layer in quantized_layers(model) if layer.name not in names)
        self.data = {layer.name: data_candidates(layer.iqs[0], margin=margin) for layer in self.layers}
        self.weights = {layer.name: weight_candidates(layer, _width(layer)) for layer in self.layers}
        self.sensitivity = sensitivity(self.data)
        self._weight_loss = {
            name: _grouped(0.5 * self.sensitivity.weights[name] * found.error, found.shared)
            for name, found in self.weights.items()
        }
        self._shapes = {layer.name: layer.data_shape for layer in self.layers}
        self._prices = {layer.name: _price_functions(layer) for layer in self.layers}
        self._widest = self._solved(0.0)

    def at_limits(self) -> Allocation:
        """Every quantizer as wide as it may be."""
        return self._widest

    def solve(self, budget: int) -> Allocation:
        """The allocation of least loss found with EBOPs of at most ``budget``.

        Raises:
            BudgetError: not even the fewest bits meet it; says what does.
        """
        widest = self.at_limits()
        if widest.ebops <= budget:
            return widest
        low, high = 1e-30, 1e-30
        while (found := self._solved(high)).ebops > budget:
            low, high = high, high * 1e3
            if high > 1e12:
                raise BudgetError(
                    "the budget cannot be met",
                    received=f"{budget:,} EBOPs",
                    remedy=f"at least {found.ebops:,} are needed; {self.fixed:,} of them in layers whose "
                    "widths are not allocated (merges, averages)",
                )
        for _ in range(_BISECTIONS):
            middle = float(np.sqrt(low * high))
            tried = self._solved(middle)
            low, high = (middle, high) if tried.ebops > budget else (low, middle)
            if tried.ebops <= budget and tried.loss <= found.loss:
                found = tried
        return self._repaired(self._filled(found, budget), budget)

    def _filled(self, found: Allocation, budget: int) -> Allocation:
        """The same activations; the weights use what is left of the budget."""
        low, high = 1e-30, max(found.price, 1e-27)
        bits = {name: self._bits(name, found.data[name]) for name in found.data}
        for _ in range(_BISECTIONS):
            middle = float(np.sqrt(low * high))
            weights = {name: self._choose_weights(name, bits[name], middle) for name in bits}
            tried = self._allocation(weights, found.data, middle)
            low, high = (middle, high) if tried.ebops > budget else (low, middle)
            if tried.ebops <= budget and tried.loss <= found.loss:
                found = tried
        return found

    def _repaired(self, found: Allocation, budget: int) -> Allocation:
        """Where formats are shared by so many that the steps are large: single steps that still fit."""
        while found.ebops < LEAST_USE * budget:
            best, best_gain = None, 0.0
            for name in self.data:
                for weights, data in self._steps(name, found):
                    tried = self._allocation(
                        {**found.weights, name: weights}, {**found.data, name: data}, found.price
                    )
                    gain = (found.loss - tried.loss) / max(tried.ebops - found.ebops, 1)
                    if tried.ebops <= budget and gain > best_gain:
                        best, best_gain = tried, gain
            if best is None:
                break
            found = best
        return found

    def _steps(self, name: str, found: Allocation) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One bit more for a layer's weights, or for its input."""
        weights, data = found.weights[name], found.data[name]
        yield np.maximum(weights - 1, 0), data
        candidates = self.data[name]
        wanted = candidates.bits == _taken(candidates.bits, data) + 1
        best = np.argmin(np.where(wanted, self.sensitivity.data[name], np.inf), axis=0)
        yield weights, np.where(wanted.any(axis=0), best, data)

    def _solved(self, price: float) -> Allocation:
        """Turns of weights and activations at a price, from the widest formats."""
        data = {name: np.full(c.k.shape, _widest(c)) for name, c in self.data.items()}
        weights: dict[str, np.ndarray] = {}
        for _ in range(_TURNS if price > 0 else 1):
            for layer in self.layers:
                name = layer.name
                weights[name] = self._choose_weights(name, self._bits(name, data[name]), price)
                if price > 0:
                    data[name] = self._choose_data(name, weights[name], price)
        return self._allocation(weights, data, price)

    def _choose_weights(self, name: str, bits: np.ndarray, price: float) -> np.ndarray:
        found = self.weights[name]
        if price == 0:
            return np.zeros(found.codes.shape[1:], np.int64)
        each = self._prices[name][0](bits.astype(np.float32))
        cost = self._weight_loss[name] + price * _grouped(found.spans * each, found.shared)
        # The coarsest of equals: a weight that is zero anyway needs no bits.
        return np.broadcast_to(coarsest_best(cost), found.codes.shape[1:])

    def _choose_data(self, name: str, weights: np.ndarray, price: float) -> np.ndarray:
        candidates = self.data[name]
        spans = _taken(self.weights[name].spans, weights)
        each = np.asarray(self._prices[name][1](spans.astype(np.float32)), np.float64)
        shape = candidates.k.shape
        shared = tuple(n for n in range(each.ndim) if not shape or shape[n] == 1)
        grouped = each.sum(axis=shared, keepdims=True).reshape(shape)
        cost = self.sensitivity.data[name] + price * candidates.bits * grouped
        return np.argmin(cost, axis=0)

    def _bits(self, name: str, chosen: np.ndarray) -> np.ndarray:
        return np.broadcast_to(_taken(self.data[name].bits, chosen), self._shapes[name])

    def _allocation(
        self, weights: Mapping[str, np.ndarray], data: Mapping[str, np.ndarray], price: float
    ) -> Allocation:
        loss, ebops = 0.0, self.fixed
        for layer in self.layers:
            name, found = layer.name, self.weights[layer.name]
            curvature = 0.5 * self.sensitivity.weights[name]
            loss += float(np.sum(curvature * _taken(found.error, weights[name])))
            loss += float(np.sum(_taken(self.sensitivity.data[name], data[name])))
            spans = _taken(found.spans, weights[name])
            ebops += layer.count_ebops(self._bits(name, data[name]), spans)
        return Allocation(weights=dict(weights), data=dict(data), loss=loss, ebops=int(ebops), price=price)

    def shares(self, allocation: Allocation) -> tuple[Share, ...]:
        """What every layer's kernel and input contribute to the loss, and their bits; the largest first."""
        found = []
        for layer in self.layers:
            name = layer.name
            weights, data = allocation.weights[name], allocation.data[name]
            errors = _taken(self.weights[name].error, weights)
            spans = _taken(self.weights[name].spans, weights)
            losses = _taken(self.sensitivity.data[name], data)
            bits = self._bits(name, data)
            found += [
                Share(
                    layer=name,
                    part="kernel",
                    loss=float(np.sum(0.5 * self.sensitivity.weights[name] * errors)),
                    mean_bits=float(spans.mean()),
                    zeros=float(np.mean(spans == 0)),
                ),
                Share(
                    layer=name,
                    part="input 0",
                    loss=float(losses.sum()),
                    mean_bits=float(bits.mean()),
                    zeros=float(np.mean(bits == 0)),
                ),
            ]
        return tuple(sorted(found, key=lambda share: -share.loss))

    def apply(self, allocation: Allocation, compensator: Compensator | None = None) -> None:
        """Give the model the formats of an allocation; biases follow the LSB of the products.

        Args:
            allocation: of this allocator.
            compensator: lets the weights make good for rounding; they then choose their widths once more,
                at the allocation's price.
        """
        if compensator is not None:
            compensator.restore()
        for layer in self.layers:
            data = self.data[layer.name]
            chosen = allocation.data[layer.name]
            i, f, bits = (_taken(part, chosen) for part in (data.i, data.f, data.bits))
            live = bits > 0
            parts = (np.where(live, part, 0) for part in (data.k, i, f))
            layer.iqs[0].set_state(*(part.reshape(layer.iqs[0].width_shape) for part in parts))
        for layer in self.layers:
            f, codes = self._rounded(layer, allocation, compensator)
            layer.kq.set_state(*_weight_state(layer, f, codes, self.weights[layer.name].shared))
            apply_bias(layer)

    def _rounded(
        self, layer: QLinear, allocation: Allocation, compensator: Compensator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """f and code of every weight; with a compensator, the layer's weights have moved to them."""
        name = layer.name
        found, chosen = self.weights[name], allocation.weights[name]
        if compensator is None or name not in compensator.layers:
            return _taken(found.f, chosen), _taken(found.codes, chosen)
        bits = self._bits(name, allocation.data[name])
        rounder = Rounder(
            layer,
            found,
            chosen,
            curvature=self.sensitivity.weights[name],
            prices=self._prices[name][0](bits.astype(np.float32)),
            price=allocation.price,
        )
        compensator.refit(name, rounder)
        return rounder.result()


def _width(layer: QLinear) -> int:
    """The width a kernel quantizer was made with: the limit of its weights."""
    config = layer.kq.config
    return int(config.k0) + int(config.b0)


def _weight_state(
    layer: QLayer, f: np.ndarray, codes: np.ndarray, shared: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """k, i, f of the widths' shape: i is what the largest code of each group needs."""
    largest = np.max(np.abs(codes), axis=shared, keepdims=True)
    f = np.max(f, axis=shared, keepdims=True)
    live = largest > 0
    bits = ceil_log2(largest + 1.0)
    shape = layer.kq.width_shape
    return tuple(  # type: ignore[return-value]
        np.where(live, part, 0).reshape(shape) for part in (np.ones_like(f), bits - f, f)
    )


def _widest(candidates: DataCandidates) -> int:
    """Position of the widest candidate with the calibrated integer bits."""
    return int(candidates.bits.reshape(len(candidates.bits), -1).sum(axis=1).argmax())


def _taken(parts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """``parts[chosen[n], n]`` for every element n."""
    return np.take_along_axis(parts, np.asarray(chosen)[None], axis=0)[0]


def _grouped(values: np.ndarray, shared: tuple[int, ...]) -> np.ndarray:
    """Sums over the axes that share a format; the first axis counts candidates."""
    return values.sum(axis=tuple(n + 1 for n in shared), keepdims=True) if shared else values


def _price_functions(layer: QLinear) -> tuple[Callable[[Any], np.ndarray], Callable[[Any], np.ndarray]]:
    """From bits of the input the price of one bit of every weight, and from spans that of every input."""
    import jax

    shape, kernel_shape = layer.data_shape, tuple(layer.kernel.shape)

    def total(bits: Any, spans: Any) -> Any:
        return ops.sum(layer.apply_linear(bits[None], spans))

    of_weight = jax.jit(jax.grad(total, argnums=1))
    of_data = jax.jit(jax.grad(total, argnums=0))
    ones, kernel_ones = np.ones(shape, np.float32), np.ones(kernel_shape, np.float32)

    def weight_price(bits: Any) -> np.ndarray:
        return np.asarray(of_weight(bits, kernel_ones), np.float64)

    def data_price(spans: Any) -> np.ndarray:
        return np.asarray(of_data(ones, spans), np.float64)

    return weight_price, data_price
