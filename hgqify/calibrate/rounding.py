"""Weights rounded in turn, the error of each spread over those that follow.

The error e of weight j, in output error after the others have made good for it, costs ``(e / U[j, j])^2``;
they do so by ``W[j+1:] -= U[j, j+1:] e / U[j, j]``, with U^T U = (H + d)^-1 and H the Gram matrix of the
inputs (GPTQ, arXiv 2210.17323, section 3). With that cost each weight chooses its own grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgqify.calibrate.candidates import WeightCandidates, coarsest_best, largest_code
from hgqify.calibrate.patches import from_matrices, kernel_matrices
from hgqify.fixed import span
from hgqify.layers import QLinear

_SMALL = 64  # rows of matrices that are inverted at once
_BLOCK = 32  # terms whose errors are kept back, to be spread over all later ones by one product


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A layer refit to its quantized inputs.

    Attributes:
        weights: unrounded, (groups, terms, outputs of a group); the last term is the bias, if there is one.
        factor: U, (groups, terms, terms).
        energy: sum of squares of all inputs, (groups,).
        bias: whether the layer has one.
    """

    weights: np.ndarray
    factor: np.ndarray
    energy: np.ndarray
    bias: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounded:
    """A rounded kernel, of the layer's own shape, and the bias that goes with it.

    Attributes:
        f, codes: fractional bits and value in LSBs of every weight.
        bias: unrounded; None for none.
    """

    f: np.ndarray
    codes: np.ndarray
    bias: np.ndarray | None

    @property
    def kernel(self) -> np.ndarray:
        """The weights themselves."""
        return np.ldexp(self.codes.astype(np.float64), -self.f)

    @property
    def spans(self) -> np.ndarray:
        """Bits from the most to the least significant non-zero one."""
        return span(self.codes)


def inverse_factor(matrix: np.ndarray) -> np.ndarray:
    """Upper triangular U with ``U^T U = matrix^-1``, for positive definite matrices (groups, n, n).

    With rows and columns in reverse order the Cholesky factor of the matrix is upper: its inverse is U.
    """
    return _inverse_cholesky(matrix[:, ::-1, ::-1])[:, ::-1, ::-1]


def _inverse_cholesky(matrix: np.ndarray) -> np.ndarray:
    """The inverse of the lower Cholesky factor, half by half: mere products."""
    size = matrix.shape[-1]
    if size <= _SMALL:
        return np.linalg.inv(np.linalg.cholesky(matrix))
    head, tail = slice(size // 2), slice(size // 2, None)
    found = np.zeros_like(matrix)
    found[:, head, head] = first = _inverse_cholesky(matrix[:, head, head])
    below = matrix[:, tail, head] @ first.swapaxes(1, 2)
    found[:, tail, tail] = second = _inverse_cholesky(matrix[:, tail, tail] - below @ below.swapaxes(1, 2))
    found[:, tail, head] = -second @ (below @ first)
    return found


def output_curvature(layer: QLinear, curvature: np.ndarray, fit: Fit) -> np.ndarray:
    """Curvature of the loss at an output, (groups, outputs): its weights', by their inputs' squares."""
    return kernel_matrices(layer, curvature).sum(axis=1) / np.maximum(fit.energy[:, None], 1e-30)


class Rounder:
    """The grids of one layer's weights; made once, used at any price.

    Args:
        layer: whose weights are rounded.
        found: its candidates.
        curvature: of the loss at every weight.
    """

    def __init__(self, layer: QLinear, found: WeightCandidates, curvature: np.ndarray) -> None:
        self._layer = layer
        self._finest, self._i = (kernel_matrices(layer, part) for part in (found.finest, found.i))
        self._curvature = curvature
        self._lost = np.arange(len(found.error)).reshape(-1, 1, 1, 1)
        largest = int(largest_code(found.i, found.finest).max(initial=0))
        self._spans = span(np.arange(largest + 1)).astype(np.float64)
        self._shared = bool(found.shared)

    def round(self, fit: Fit, *, costs: np.ndarray, chosen: np.ndarray) -> Rounded:
        """Round all weights.

        Args:
            fit: unrounded weights, and how errors spread.
            costs: loss that one bit of each weight must save, of the kernel's shape.
            chosen: the candidate of every weight; only weights that share formats keep it.
        """
        weights = fit.weights.copy()
        terms = weights.shape[1] - fit.bias
        price, kept = (kernel_matrices(self._layer, part) for part in (costs, chosen))
        f, codes = np.empty(kept.shape, np.int64), np.empty(kept.shape, np.int64)
        pivots = np.diagonal(fit.factor, axis1=1, axis2=2)  # (groups, terms)
        scale = 0.5 * output_curvature(self._layer, self._curvature, fit)
        for start in range(0, terms, _BLOCK):
            block = slice(start, min(start + _BLOCK, terms))
            grids = self._grids(block, None if not self._shared else kept[:, block])
            errors = np.empty((len(weights), block.stop - start, weights.shape[2]))
            for n, term in enumerate(range(start, block.stop)):
                value, pivot = weights[:, term], pivots[:, term, None]
                part = [grid[:, :, n] for grid in grids]
                code, best = self._choose(value, part, scale / pivot**2, price[:, term])
                f[:, term] = self._finest[:, term] - (kept[:, term] if self._shared else best)
                codes[:, term] = code
                errors[:, n] = (value - np.ldexp(code, -f[:, term])) / pivot
                later = slice(term + 1, block.stop)
                weights[:, later] -= fit.factor[:, term, later, None] * errors[:, None, n]
            rest = fit.factor[:, block, block.stop :].swapaxes(1, 2)
            weights[:, block.stop :] -= rest @ errors
        return Rounded(
            f=from_matrices(self._layer, f),
            codes=from_matrices(self._layer, codes),
            bias=weights[:, -1].reshape(-1) if fit.bias else None,
        )

    def _grids(self, block: slice, kept: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """1 / LSB, LSB and largest code of every candidate, (candidates, groups, terms, outputs)."""
        f = self._finest[None, :, block] - (self._lost if kept is None else kept[None])
        return np.ldexp(1.0, f), np.ldexp(1.0, -f), largest_code(self._i[None, :, block], f)

    def _choose(
        self, value: np.ndarray, grids: list[np.ndarray], scale: np.ndarray, price: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Code and candidate of one term's weights, (groups, outputs)."""
        finer, lsb, top = grids
        codes = np.floor(value * finer + 0.5)
        np.minimum(codes, top, out=codes)
        np.maximum(codes, -top, out=codes)
        if len(codes) == 1:
            return codes[0], np.zeros(value.shape, np.int64)
        cost = codes * lsb
        cost -= value
        cost *= cost
        cost *= scale
        cost += price * self._spans[np.abs(codes).astype(np.int64)]
        best = coarsest_best(cost)
        # What np.take_along_axis does, which takes longer than all of the above on such small arrays.
        return codes.reshape(len(codes), -1)[best.ravel(), np.arange(best.size)].reshape(best.shape), best
