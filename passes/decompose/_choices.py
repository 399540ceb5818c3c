"""Parameters that are given at run time, of which the shapes leave only a few: each is computed, and one selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coregraft.passes.decompose._base import ints
from coregraft.rewriter.passes import NoMatch, OpBuilder
from coregraft.rewriter.types import DType

#: Most alternatives that are worth computing side by side.
MAX_CHOICES = 8


def select(
    op: OpBuilder,
    given: Callable[[], Any],
    choices: Sequence[tuple[int, ...]],
    build: Callable[[tuple[int, ...]], Any],
) -> Any:
    """``build(choice)`` of the choice that a parameter names at run time; a single one is taken for granted.

    Args:
        given: inserts the parameter, an integer tensor with as many elements as each choice has.
        choices: what the declared shapes leave of it. What it names beyond these breaks the model's own declaration.
        build: inserts the op for one choice, and returns its result or a :class:`NoMatch`.
    """
    if not choices:
        return NoMatch("no parameter gives the declared shape of its result")
    if len(choices) > MAX_CHOICES:
        return NoMatch("{} parameters give the declared shape of its result", len(choices))
    result = build(choices[0])
    if len(choices) == 1 or isinstance(result, NoMatch):
        return result
    flat = op.Cast(op.Reshape(given(), ints(op, [-1])), to=int(DType.INT64))
    for choice in choices[1:]:
        other = build(choice)
        if isinstance(other, NoMatch):
            return other
        result = op.Where(_is(op, flat, choice), other, result)
    return result


def _is(op: OpBuilder, given: Any, choice: tuple[int, ...]) -> Any:
    """Whether a vector is a choice: a boolean of one element."""
    same = op.Cast(op.Equal(given, ints(op, choice)), to=int(DType.INT32))
    return op.Cast(op.ReduceMin(same, ints(op, [0])), to=int(DType.BOOL))
