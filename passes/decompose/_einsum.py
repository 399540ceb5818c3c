"""Planning and building an Einsum out of Transpose, Reshape, MatMul, Mul and ReduceSum.

A *term* is a value with one label an axis. Labels are the letters of the equation; the axes an ellipsis stands for
get labels of their own (``.0`` is the last of them). Pairs of terms are contracted until one is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from string import ascii_letters
from typing import Any

import numpy as np

from coregraft.rewriter.types import Dim

Labels = tuple[str, ...]
MAX_RANK = 5  # of any intermediate: what Core ML takes (H4.02)
_UNKNOWN_SIZE = 64  # what a dim without a number counts as when the order of contractions is chosen


@dataclass(frozen=True)
class Term:
    """A value, the label of each of its axes, and whether it is constant (transposing it costs nothing)."""

    value: Any
    labels: Labels
    constant: bool = False


@dataclass(frozen=True)
class Equation:
    """A parsed equation: the labels of each operand, those of the result, and the size of each label."""

    operands: tuple[Labels, ...]
    result: Labels
    sizes: dict[str, Dim]


@dataclass(frozen=True)
class _MatMul:
    """How to contract ``left`` with ``right``: ``lead`` axes stay as they are, the rest is merged to one axis each."""

    left: Term
    right: Term
    left_lead: Labels
    right_lead: Labels
    rows: Labels
    columns: Labels
    summed: Labels

    @property
    def result(self) -> Labels:
        lead = self.left_lead if len(self.left_lead) >= len(self.right_lead) else self.right_lead
        return lead + self.rows + self.columns

    @property
    def rank(self) -> int:
        return max(len(self.left_lead), len(self.right_lead)) + 2

    @property
    def left_order(self) -> Labels:
        return self.left_lead + self.rows + self.summed

    @property
    def right_order(self) -> Labels:
        return self.right_lead + self.summed + self.columns

    def cost(self, wanted: Labels | None) -> int:
        """Data movement in arbitrary units; ``wanted`` is the axis order the result needs, when it is the last step."""
        moves = _move_cost(self.left.labels, self.left_order, self.left.constant)
        moves += _move_cost(self.right.labels, self.right_order, self.right.constant)
        if wanted is not None:
            moves += _move_cost(self.result, wanted, constant=False)
        return moves + sum(len(group) != 1 for group in (self.rows, self.columns, self.summed))


def parse(text: str, shapes: Sequence[Sequence[Dim]]) -> Equation | str:
    """Parse an equation for operands of the given shapes; a string is the reason why it cannot be.

    Sizes: a label has the size of the operands' axes that are not 1 (numpy's broadcasting), 1 when all are.
    """
    left, arrow, right = text.replace(" ", "").partition("->")
    subscripts = left.split(",")
    if len(subscripts) != len(shapes):
        return f"the equation names {len(subscripts)} operands, the op has {len(shapes)}"
    operands: list[Labels] = []
    dotted = 0
    for subscript, shape in zip(subscripts, shapes, strict=True):
        letters = subscript.replace("...", "")
        extra = len(shape) - len(letters)
        if extra < 0 or (extra > 0 and "..." not in subscript):
            return f'"{subscript}" does not fit an operand of rank {len(shape)}'
        operands.append(_labels(subscript, extra))
        dotted = max(dotted, extra)
    result = _labels(right, dotted) if arrow else _implicit_result(operands, dotted)
    sizes: dict[str, Dim] = {}
    for labels, shape in zip(operands, shapes, strict=True):
        for label, dim in zip(labels, shape, strict=True):
            if sizes.get(label, 1) == 1:
                sizes[label] = dim
            elif dim != 1 and dim != sizes[label]:
                return f'"{label}" is both {sizes[label]} and {dim}'
    if len(sizes) > len(ascii_letters):
        return f"it has {len(sizes)} different axes"
    if any(label not in sizes for label in result):
        return "the result names an axis that no operand has"
    return Equation(tuple(operands), result, sizes)


def build(
    op: Any, equation: Equation, values: Sequence[Any], shapes: Sequence[Sequence[Dim]], constant: Sequence[bool]
) -> Any:
    """Insert the ops of a parsed equation and return the value of its result.

    At most one label may be of unknown size, and it must not repeat within an operand.
    """
    builder = _Builder(op, equation.sizes)
    terms = []
    for value, labels, shape, is_const in zip(values, equation.operands, shapes, constant, strict=True):
        term = builder.diagonals(Term(value, labels, is_const))
        dims = dict(zip(labels, shape, strict=True))
        terms.append(builder.squeeze(term, [a for a in term.labels if dims[a] == 1 and equation.sizes[a] != 1]))
    for step in _path(terms, equation):
        pair = [terms[i] for i in step]
        terms = [t for i, t in enumerate(terms) if i not in step]
        while len(pair) > 1:
            first, second, *pair = pair
            others = {label for t in (*terms, *pair) for label in t.labels}
            wanted = None if terms or pair else equation.result
            pair.insert(0, builder.contract(first, second, others | set(equation.result), wanted))
        terms.append(pair[0])
    final = builder.sum_out(terms[0], equation.result)
    return builder.transpose(final, equation.result).value


class _Builder:
    def __init__(self, op: Any, sizes: dict[str, Dim]) -> None:
        self._op = op
        self._sizes = sizes

    def diagonals(self, term: Term) -> Term:
        """Take the diagonal of every pair of axes with the same label: as every (n+1)-th element of the n*n."""
        while len(set(term.labels)) < len(term.labels):
            label = next(a for a in term.labels if term.labels.count(a) > 1)
            first, second = [i for i, a in enumerate(term.labels) if a == label][:2]
            rest = [i for i in range(len(term.labels)) if i not in (first, second)]
            n = self._sizes[label]
            assert isinstance(n, int)
            labels = tuple(term.labels[i] for i in rest)
            perm = [*rest, first, second]
            value = self._op.Transpose(term.value, perm=perm) if perm != sorted(perm) else term.value
            flat = self._reshape(value, [*(self._sizes[a] for a in labels), n * n])
            axis = self._op.const(np.array([len(rest)], np.int64))
            start, stop, step = (self._op.const(np.array([i], np.int64)) for i in (0, n * n, n + 1))
            term = Term(self._op.Slice(flat, start, stop, axis, step), (*labels, label), term.constant)
        return term

    def squeeze(self, term: Term, labels: Sequence[str]) -> Term:
        """Drop axes of size 1 that another operand broadcasts."""
        if not labels:
            return term
        axes = self._op.const(np.array([term.labels.index(a) for a in labels], np.int64))
        return Term(self._op.Squeeze(term.value, axes), tuple(a for a in term.labels if a not in labels), term.constant)

    def sum_out(self, term: Term, keep: Iterable[str]) -> Term:
        """Sum over the axes that nothing needs any more."""
        kept = set(keep)
        axes = [i for i, a in enumerate(term.labels) if a not in kept]
        if not axes:
            return term
        summed = self._op.ReduceSum(term.value, self._op.const(np.array(axes, np.int64)), keepdims=0)
        return Term(summed, tuple(a for a in term.labels if a in kept), term.constant)

    def transpose(self, term: Term, labels: Labels) -> Term:
        if term.labels == labels:
            return term
        perm = [term.labels.index(a) for a in labels]
        return Term(self._op.Transpose(term.value, perm=perm), labels, term.constant)

    def contract(self, a: Term, b: Term, keep: set[str], wanted: Labels | None) -> Term:
        """Multiply two terms and sum over the labels not in ``keep``."""
        a = self.sum_out(a, keep | set(b.labels))
        b = self.sum_out(b, keep | set(a.labels))
        if keep.issuperset(a.labels):  # nothing to sum, so that the last product has the labels that are wanted
            order = wanted or (*a.labels, *(label for label in b.labels if label not in a.labels))
            if len(order) <= MAX_RANK:
                return self._multiply(a, b, order)
        plans = list(_plans(a, b, keep))
        return self._matmul(min(plans, key=lambda p: p.cost(wanted)))

    def _multiply(self, a: Term, b: Term, order: Labels) -> Term:
        aligned = []
        for term in (a, b):
            present = tuple(label for label in order if label in term.labels)
            value = self.transpose(term, present).value
            first = order.index(present[0]) if present else len(order)
            missing = [i - first for i, label in enumerate(order) if i > first and label not in term.labels]
            if missing:
                value = self._op.Unsqueeze(value, self._op.const(np.array(missing, np.int64)))
            aligned.append(value)
        return Term(self._op.Mul(*aligned), order)

    def _matmul(self, plan: _MatMul) -> Term:
        def grouped(term: Term, order: Labels, lead: Labels, first: Labels, second: Labels) -> Any:
            value = self.transpose(term, order).value
            if len(first) == len(second) == 1 and plan.rank <= MAX_RANK:
                return value
            leading = [self._size(lead)] if plan.rank > MAX_RANK else [self._sizes[a] for a in lead]
            return self._reshape(value, [*leading, self._size(first), self._size(second)])

        left = grouped(plan.left, plan.left_order, plan.left_lead, plan.rows, plan.summed)
        right = grouped(plan.right, plan.right_order, plan.right_lead, plan.summed, plan.columns)
        product = self._op.MatMul(left, right)
        if len(plan.rows) != 1 or len(plan.columns) != 1 or plan.rank > MAX_RANK:
            product = self._reshape(product, [self._sizes[a] for a in plan.result])
        return Term(product, plan.result)

    def _size(self, labels: Labels) -> Dim:
        dims = [self._sizes[a] for a in labels]
        return math.prod(d for d in dims if isinstance(d, int)) if all(isinstance(d, int) for d in dims) else None

    def _reshape(self, value: Any, dims: Sequence[Dim]) -> Any:
        shape = [d if isinstance(d, int) else -1 for d in dims]
        assert shape.count(-1) <= 1, "only one label may be of unknown size"
        return self._op.Reshape(value, self._op.const(np.array(shape, np.int64)))


def _labels(subscript: str, dotted: int) -> Labels:
    before, dots, after = subscript.partition("...")
    middle = tuple(f".{i}" for i in reversed(range(dotted))) if dots else ()
    return (*before, *middle, *after)


def _implicit_result(operands: Sequence[Labels], dotted: int) -> Labels:
    letters = [a for labels in operands for a in labels if not a.startswith(".")]
    once = sorted(a for a in set(letters) if letters.count(a) == 1)
    return (*(f".{i}" for i in reversed(range(dotted))), *once)


def _path(terms: Sequence[Term], equation: Equation) -> list[tuple[int, ...]]:
    """Which terms to contract at each step; a result goes to the end of the list (as ``np.einsum_path`` counts)."""
    if len(terms) <= 2:
        return [tuple(range(len(terms)))]
    letter = dict(zip(equation.sizes, ascii_letters, strict=False))  # parse() has seen that there are enough
    arrays = [np.broadcast_to(np.float32(0), [_size_for_path(equation, a) for a in t.labels]) for t in terms]
    inputs = ",".join("".join(letter[a] for a in t.labels) for t in terms)
    text = f"{inputs}->{''.join(letter[a] for a in equation.result)}"
    path: Callable[..., Any] = np.einsum_path
    return [tuple(int(i) for i in step) for step in path(text, *arrays, optimize="optimal")[0][1:]]


def _size_for_path(equation: Equation, label: str) -> int:
    size = equation.sizes[label]
    return size if isinstance(size, int) else _UNKNOWN_SIZE


def _plans(a: Term, b: Term, keep: set[str]) -> Iterable[_MatMul]:
    """Every way considered to contract a pair by one MatMul; the first of the cheapest is taken."""
    for left, right in ((a, b), (b, a)):
        batch = tuple(x for x in left.labels if x in right.labels and x in keep)
        rows = tuple(x for x in left.labels if x not in right.labels)
        columns = tuple(x for x in right.labels if x not in left.labels)
        for source in (left, right):
            summed = tuple(x for x in source.labels if x not in keep)
            if batch:
                yield _MatMul(left, right, batch, batch, rows, columns, summed)
                continue
            for n in range(min(len(rows), MAX_RANK - 2) + 1):
                yield _MatMul(left, right, rows[:n], (), rows[n:], columns, summed)
            for n in range(1, min(len(columns), MAX_RANK - 2) + 1):
                yield _MatMul(left, right, (), columns[:n], rows, columns[n:], summed)


def _move_cost(have: Labels, want: Labels, constant: bool) -> int:
    if have == want or constant:
        return 0
    return 2 if have[:-2] == want[:-2] else 10
