"""Which axes a reduction can be over, by the shapes before and after it."""

from __future__ import annotations

import itertools

from coregraft.passes.decompose._base import need, operand
from coregraft.rewriter.passes import OpView


def reduced_axes(node: OpView) -> list[tuple[int, ...]] | None:
    """The sets of axes that give a reduction's result its shape, each in order; None where a shape is not known.

    The axes operand is there and not empty, or else all axes are reduced.
    """
    x, y = need(node, 0), node.outputs[0]
    axes = operand(node, 1)
    if axes is None or axes.static_shape is None or x.static_shape is None or y is None or y.static_shape is None:
        return None
    before, after, count = x.static_shape, y.static_shape, axes.static_shape[0]
    every = tuple(range(len(before)))
    if not count:
        return None if node.attr("noop_with_empty_axes") else [every]
    keep = bool(node.attr("keepdims"))
    return [chosen for chosen in itertools.combinations(every, count) if _without(before, chosen, keep) == after]


def _without(shape: tuple[int, ...], axes: tuple[int, ...], keep: bool) -> tuple[int, ...]:
    if keep:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)
