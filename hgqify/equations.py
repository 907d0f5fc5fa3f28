"""Equations of `einsum` with two operands: one letter per axis, 'abc,cd->abd'."""

from __future__ import annotations

import string
from dataclasses import dataclass


class EquationError(ValueError):
    """An equation that cannot be lowered; the message is a clause that says why."""


def parse(equation: str, ranks: tuple[int, int]) -> tuple[tuple[str, str], str]:
    """The labels of both operands and of the result, ellipses written out.

    Args:
        equation: with '->' or without (then the labels that occur once, in alphabetical order, result).
        ranks: number of axes of each operand, batch included.

    Raises:
        EquationError: not an equation of two operands of these ranks, or a label twice in one of them.
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2:
        raise EquationError(f"the equation {equation!r} has {len(terms)} operands, not two")
    used = set(equation)
    free = [letter for letter in string.ascii_letters if letter not in used]
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    widest = max([0, *(n for term, n in zip(terms, hidden, strict=True) if "..." in term)])
    letters = "".join(free[:widest])
    if not arrow:
        labels = left.replace(",", "").replace("...", "")
        result = ("..." if "..." in left else "") + "".join(
            sorted(label for label in set(labels) if labels.count(label) == 1)
        )
    found = []
    for term, count, rank in zip(terms, hidden, ranks, strict=True):
        # Numpy aligns ellipses at their last axes.
        found.append(term.replace("...", letters[widest - max(count, 0) :]))
        if len(found[-1]) != rank:
            raise EquationError(f"operand {term!r} of {equation!r} has another rank than its tensor, {rank}")
    result = result.replace("...", letters)
    for term in (*found, result):
        if len(set(term)) < len(term):
            raise EquationError(f"a label occurs twice in one term of {equation!r}")
    if not set(result) <= set("".join(found)):
        raise EquationError(f"the result of {equation!r} has a label that no operand has")
    return (found[0], found[1]), result


def result_shape(equation: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the result of an equation in full, without ellipses.

    Raises:
        EquationError: not an equation for these shapes.
    """
    (left, right), result = parse(equation, (len(a), len(b)))
    sizes = dict(zip(left, a, strict=True))
    for label, size in zip(right, b, strict=True):
        if sizes.setdefault(label, size) != size:
            raise EquationError(
                f"label {label!r} of {equation!r} has sizes {sizes[label]} and {size}, which must agree"
            )
    return tuple(sizes[label] for label in result)


def without_batch(equation: str, ranks: tuple[int, int]) -> str:
    """The equation of one sample, from one whose operands have the batch axis first.

    Args:
        equation: of whole batches, ellipses allowed.
        ranks: axes of each operand, batch included.

    Raises:
        EquationError: the batch axis is not first everywhere, or the equation is unsound.
    """
    (a, b), result = parse(equation, ranks)
    if not (a and b and result) or not a[0] == b[0] == result[0]:
        raise EquationError(f"the batch axis is not first in all terms of {equation!r}")
    return f"{a[1:]},{b[1:]}->{result[1:]}"


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """A product of two tensors as a batch of matrix products.

    Attributes:
        batch: labels that both operands and the result have, in the result's order.
        rows: labels of the first operand and the result only.
        columns: labels of the second operand and the result only.
        summed: labels of both operands only.
    """

    batch: str
    rows: str
    columns: str
    summed: str


def matrices(equation: str) -> Matrices:
    """The labels of an equation in full, by what they are.

    Raises:
        EquationError: a label of one operand alone is summed over.
    """
    terms, result = equation.split("->")
    a, b = terms.split(",")
    for own, other in ((a, b), (b, a)):
        alone = [label for label in own if label not in other and label not in result]
        if alone:
            raise EquationError(f"label {alone[0]!r} of one operand alone is summed over")
    return Matrices(
        batch="".join(label for label in result if label in a and label in b),
        rows="".join(label for label in result if label not in b),
        columns="".join(label for label in result if label not in a),
        summed="".join(label for label in a if label in b and label not in result),
    )
