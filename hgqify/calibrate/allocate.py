"""Bits where they matter: mixed widths of least loss under a budget of EBOPs.

    minimise  sum of losses(widths)   subject to   EBOPs(widths) <= budget

EBOPs are bilinear in the bits of activations and the spans of weights. At a price lam per EBOP every
quantizer takes the candidate of least ``loss + lam * bits * price``, where the price of one bit is the sum of
what the other operand's bits are wherever the two meet. Weights and activations take turns; lam is searched
until EBOPs meet the budget. At the last, with activations as they are, the weights' own lam is searched once
more: their many small steps fill what the few large steps of activations left. Where weights share formats,
single bits fill the rest.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from hgqify.calibrate.assign import assign_data, assign_weights, taken
from hgqify.calibrate.candidates import (
    DataCandidates,
    capped,
    coarsest_best,
    data_candidates,
    weight_candidates,
)
from hgqify.calibrate.fisher import Sensitivity
from hgqify.calibrate.prices import prices
from hgqify.calibrate.search import largest_within
from hgqify.calibrate.widths import float_kernel, live_frac
from hgqify.errors import BudgetError
from hgqify.layers import QLinear, quantized_layers

_TURNS = 3

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
        remaining: from the curvature at every weight to what counts of it; see `Compensator.remaining`.

    Raises:
        BudgetError: the model has nothing to allocate.
    """

    def __init__(
        self,
        model: keras.Model,
        sensitivity: Callable[[Mapping[str, DataCandidates]], Sensitivity],
        *,
        margin: int = 1,
        remaining: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = dict,
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
        self._prices = {layer.name: prices(layer) for layer in self.layers}
        self._set_curvature(remaining(self.sensitivity.weights))

    def halfway(self) -> Allocator:
        """Another for the same model, for which errors of weights count for more.

        Half as far, in logarithm, between all of their curvature and what of it remains.
        """
        other = copy.copy(self)
        full = self.sensitivity.weights
        other._set_curvature({name: np.sqrt(full[name] * part) for name, part in self.remaining.items()})
        return other

    def capped(self, names: Collection[str]) -> Allocator:
        """Another whose weights are no finer than those that some layers have now, per output channel.

        Args:
            names: of the layers; settling took bits of their weights, to stay exact in float32.
        """
        other = copy.copy(self)
        other.weights = {**self.weights}
        for layer in self.layers:
            if layer.name in names:
                found = self.weights[layer.name]
                f = np.broadcast_to(live_frac(layer.kq.state(float_kernel(layer))), found.finest.shape)
                axes = tuple(range(f.ndim - 1))
                other.weights[layer.name] = capped(found, np.max(f, axis=axes, keepdims=True))
        other._set_curvature(self.remaining)
        return other

    def _set_curvature(self, remaining: Mapping[str, np.ndarray]) -> None:
        self.remaining = remaining
        self._weight_loss = {
            name: (0.5 * remaining[name]).astype(np.float32) * found.error
            for name, found in self.weights.items()
        }
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

        def tried(price: float) -> tuple[int, Allocation]:
            allocation = self._solved(price)
            return allocation.ebops, allocation

        start = max(widest.loss, 1e-12) / widest.ebops
        found = largest_within(tried, budget, start=start)
        if found is None:
            fewest = self._solved(1e12).ebops
            raise BudgetError(
                "the budget cannot be met",
                received=f"{budget:,} EBOPs",
                remedy=f"at least {fewest:,} are needed; {self.fixed:,} of them in layers whose "
                "widths are not allocated (merges, averages)",
            )
        return self._repaired(self._filled(found, budget), budget)

    def _filled(self, found: Allocation, budget: int) -> Allocation:
        """The same activations; the weights use what is left of the budget."""

        def tried(price: float) -> tuple[int, Allocation]:
            allocation = self.repriced(found, price)
            return allocation.ebops, allocation

        better = largest_within(tried, budget, start=found.price, enough=0.998)
        return found if better is None or better.loss > found.loss else better

    def repriced(self, allocation: Allocation, price: float) -> Allocation:
        """The same activations, the weights chosen at another price."""
        weights = {
            name: self._choose_weights(name, self.weight_price(name, allocation), price)
            for name in allocation.weights
        }
        return self._allocation(weights, allocation.data, price)

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
        wanted = candidates.bits == taken(candidates.bits, data) + 1
        best = np.argmin(np.where(wanted, self.sensitivity.data[name], np.inf), axis=0)
        yield weights, np.where(wanted.any(axis=0), best, data)

    def _solved(self, price: float) -> Allocation:
        """Turns of weights and activations at a price, from the widest formats."""
        data = {name: np.full(c.k.shape, _widest(c)) for name, c in self.data.items()}
        weights: dict[str, np.ndarray] = {}
        for _ in range(_TURNS if price > 0 else 1):
            for name, candidates in self.data.items():
                bits = taken(candidates.bits, data[name])
                weights[name] = self._choose_weights(name, self._prices[name].of_weights(bits), price)
                if price > 0:
                    data[name] = self._choose_data(name, weights[name], price)
        return self._allocation(weights, data, price)

    def _choose_weights(self, name: str, each: np.ndarray, price: float) -> np.ndarray:
        found = self.weights[name]
        if price == 0:
            return np.zeros(found.weight.shape, np.int64)
        cost = self._weight_loss[name] + (price * each).astype(np.float32) * found.spans
        if found.shared:
            cost = cost.sum(axis=tuple(n + 1 for n in found.shared), keepdims=True, dtype=np.float64)
        # The coarsest of equals: a weight that is zero anyway needs no bits.
        return np.broadcast_to(coarsest_best(cost), found.weight.shape)

    def _choose_data(self, name: str, weights: np.ndarray, price: float) -> np.ndarray:
        candidates = self.data[name]
        each = self._prices[name].of_data(taken(self.weights[name].spans, weights))
        return np.argmin(self.sensitivity.data[name] + price * candidates.bits * each, axis=0)

    def weight_price(self, name: str, allocation: Allocation) -> np.ndarray:
        """EBOPs of one bit of every weight of a layer, with the bits its input has."""
        return self._prices[name].of_weights(taken(self.data[name].bits, allocation.data[name]))

    def _losses(self, name: str, weights: np.ndarray, data: np.ndarray) -> tuple[float, float]:
        """What a layer's kernel and its input add to the loss."""
        return (
            float(np.sum(taken(self._weight_loss[name], weights), dtype=np.float64)),
            float(np.sum(taken(self.sensitivity.data[name], data))),
        )

    def _allocation(
        self, weights: Mapping[str, np.ndarray], data: Mapping[str, np.ndarray], price: float
    ) -> Allocation:
        loss = sum(sum(self._losses(name, weights[name], data[name])) for name in self.weights)
        found = Allocation(weights=dict(weights), data=dict(data), loss=loss, ebops=0, price=price)
        return dataclasses.replace(found, ebops=self.count(found, {}))

    def count(self, allocation: Allocation, spans: Mapping[str, np.ndarray]) -> int:
        """EBOPs of the model with these formats.

        Args:
            allocation: the formats.
            spans: of kernels whose weights have moved since, by layer.
        """
        ebops = self.fixed
        for name, found in self.weights.items():
            counted = spans.get(name)
            counted = taken(found.spans, allocation.weights[name]) if counted is None else counted
            ebops += int(np.sum(self.weight_price(name, allocation) * counted))
        return ebops

    def shares(self, allocation: Allocation) -> tuple[Share, ...]:
        """What every layer's kernel and input contribute to the loss, and their bits; the largest first."""
        found = []
        for name in self.weights:
            weights, data = allocation.weights[name], allocation.data[name]
            bits = (taken(self.weights[name].spans, weights), taken(self.data[name].bits, data))
            losses = self._losses(name, weights, data)
            for part, loss, counted in zip(("kernel", "input 0"), losses, bits, strict=True):
                mean, zeros = float(counted.mean()), float(np.mean(counted == 0))
                found.append(Share(layer=name, part=part, loss=loss, mean_bits=mean, zeros=zeros))
        return tuple(sorted(found, key=lambda share: -share.loss))

    def apply(self, allocation: Allocation) -> None:
        """Give the model the formats of an allocation; biases follow the LSB of the products."""
        for layer in self.layers:
            name, chosen = layer.name, allocation.weights[layer.name]
            found = self.weights[name]
            assign_data(layer, self.data[name], allocation.data[name])
            assign_weights(layer, found.finest - chosen, found.codes(chosen), found.shared)


def _width(layer: QLinear) -> int:
    """The width a kernel quantizer was made with: the limit of its weights."""
    config = layer.kq.config
    return int(config.k0) + int(config.b0)


def _widest(candidates: DataCandidates) -> int:
    """Position of the widest candidate with the calibrated integer bits."""
    return int(candidates.bits.reshape(len(candidates.bits), -1).sum(axis=1).argmax())
