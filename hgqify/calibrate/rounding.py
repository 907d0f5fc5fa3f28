"""Rounds the weights of a layer term by term, each on the grid that is worth its EBOPs."""

from __future__ import annotations

import numpy as np

from hgqify.calibrate.candidates import WeightCandidates, coarsest_best, nearest_codes
from hgqify.calibrate.patches import from_matrices, kernel_matrices
from hgqify.fixed import span
from hgqify.layers import QLinear


class Rounder:
    """A `compensate.Choose` that keeps what it chose.

    Args:
        layer: whose weights are rounded.
        found: its candidates.
        chosen: the allocation's candidate of every weight; weights that share formats keep it.
        curvature: of the loss at every weight.
        prices: EBOPs of one bit of every weight.
        price: loss an EBOP may save.
    """

    def __init__(
        self,
        layer: QLinear,
        found: WeightCandidates,
        chosen: np.ndarray,
        *,
        curvature: np.ndarray,
        prices: np.ndarray,
        price: float,
    ) -> None:
        self._layer = layer
        self._shared = bool(found.shared)
        self._f = np.stack([kernel_matrices(layer, part) for part in found.f])
        self._top = np.stack([kernel_matrices(layer, part) for part in found.top])
        self._chosen = kernel_matrices(layer, np.asarray(chosen)).copy()
        self._curvature = kernel_matrices(layer, curvature).sum(axis=1)  # (groups, outputs)
        self._costs = price * kernel_matrices(layer, prices)
        self._codes = np.zeros(self._chosen.shape, np.int64)

    def __call__(self, weights: np.ndarray, pivot: np.ndarray, term: int, energy: np.ndarray) -> np.ndarray:
        """See `compensate.Choose`."""
        f, top = self._f[:, :, term], self._top[:, :, term]  # (candidates, groups, outputs)
        codes = nearest_codes(weights, f, top)
        if not self._shared:
            # Curvature at an output: what its weights have together, by the inputs' squares.
            scale = 0.5 * self._curvature / np.maximum(energy[:, None], 1e-30) / pivot[:, None] ** 2
            errors = np.ldexp(codes, -f) - weights
            cost = scale * errors**2 + self._costs[:, term] * span(codes)
            self._chosen[:, term] = coarsest_best(cost)
        index = self._chosen[None, :, term]
        code = np.take_along_axis(codes, index, axis=0)[0]
        self._codes[:, term] = code
        return np.ldexp(code, -np.take_along_axis(f, index, axis=0)[0])

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """f and code of every weight, of the kernel's shape."""
        f = np.take_along_axis(self._f, self._chosen[None], axis=0)[0]
        return from_matrices(self._layer, f), from_matrices(self._layer, self._codes)
