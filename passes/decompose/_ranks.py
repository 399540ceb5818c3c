"""Fewer axes for the same data: pure functions on shapes that find groups of neighbouring axes to treat as one.

A shape here has ints, symbols and None for dims; a *view* is what a Reshape takes: ints, and -1 for at most one
unknown.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from coregraft.rewriter.types import Dim

#: Neighbouring axes that become one, in order.
Groups = list[list[int]]


def view_of(shape: Sequence[Dim], groups: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """The view that merges each group of axes; None when the sizes of more than one group are unknown, or one is 0
    (which a Reshape reads as "the size as it was")."""
    dims = []
    for group in groups:
        sizes = [shape[axis] for axis in group]
        known = [size for size in sizes if isinstance(size, int)]
        dims.append(math.prod(known) if len(known) == len(sizes) else -1)
    return tuple(dims) if dims.count(-1) <= 1 and 0 not in dims else None


def full_view(shape: Sequence[Dim]) -> tuple[int, ...] | None:
    """The shape itself as a view."""
    return view_of(shape, [[axis] for axis in range(len(shape))])


def runs(flags: Sequence[object]) -> Groups:
    """Neighbouring axes with equal flags."""
    groups: Groups = []
    for axis, flag in enumerate(flags):
        if groups and flags[groups[-1][-1]] == flag:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def around(rank: int, axes: Sequence[int]) -> Groups:
    """Groups that keep each of ``axes`` by itself and merge whatever is before, between and behind them."""
    return runs([("kept", axis) if axis in axes else ("merged", sum(a < axis for a in axes)) for axis in range(rank)])


def permutation_groups(shape: Sequence[Dim], perm: Sequence[int]) -> tuple[Groups, tuple[int, ...]]:
    """The groups of input axes that stay neighbours through a permutation, and the permutation of the groups.

    Axes of size 1 move nothing, so each goes with a neighbour, whatever the permutation does to it.
    """
    moving = [axis for axis in perm if shape[axis] != 1]
    order = sorted(moving)
    following = dict(itertools.pairwise(order))
    chains: Groups = []
    for axis in moving:
        if chains and following.get(chains[-1][-1]) == axis:
            chains[-1].append(axis)
        else:
            chains.append([axis])
    groups = sorted(chains or [[0]])
    return groups, tuple(groups.index(chain) for chain in chains or [[0]])


def permutation_steps(sizes: Sequence[int], perm: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """A permutation of many axes as (view, permutation) steps of rank 4 at most, each moving one block forward.

    Args:
        sizes: axis sizes, at most one of them -1; perm: the permutation.
    """
    now, steps = list(range(len(sizes))), []
    for place, wanted in enumerate(perm):
        if now[place] == wanted:
            continue
        start = now.index(wanted)
        stop = start + 1
        while stop < len(now) and now[stop] == perm[place + stop - start]:
            stop += 1
        parts = [now[:place], now[place:start], now[start:stop], now[stop:]]
        view = tuple(_product(sizes[axis] for axis in part) for part in parts)
        steps.append(_without_units(view, (0, 2, 1, 3)))
        now = parts[0] + parts[2] + parts[1] + parts[3]
    return steps


def _without_units(view: tuple[int, ...], perm: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    kept = [axis for axis, size in enumerate(view) if size != 1]
    return tuple(view[axis] for axis in kept), tuple(kept.index(axis) for axis in perm if axis in kept)


def _product(sizes: Iterable[int]) -> int:
    listed = list(sizes)
    return -1 if -1 in listed else math.prod(listed)


def broadcast_groups(
    shapes: Sequence[Sequence[Dim]], result: Sequence[Dim]
) -> tuple[Groups, list[list[bool]]] | None:
    """Groups of result axes in which each operand is either whole or broadcast.

    Returns:
        The groups, without axes of size 1, and per operand whether it is whole in each group; None when it is not
        known whether a symbolic dim is broadcast.
    """
    rank = len(result)
    whole: list[tuple[bool, ...] | None] = []
    for axis, size in enumerate(result):
        if size == 1:
            whole.append(None)
            continue
        flags = []
        for shape in shapes:
            own = shape[axis - rank] if axis - rank >= -len(shape) else 1
            if own != 1 and (own != size or own is None):
                return None
            flags.append(own != 1)
        whole.append(tuple(flags))
    axes = [axis for axis in range(rank) if whole[axis] is not None]
    if not axes:
        return [[0]], [[True]] * len(shapes)
    groups = [[axes[i] for i in run] for run in runs([whole[axis] for axis in axes])]
    kinds = [whole[group[0]] or () for group in groups]
    return groups, [[kind[i] for kind in kinds] for i in range(len(shapes))]


def aligned(shape: Sequence[Dim], rank: int) -> tuple[Dim, ...]:
    """The shape with leading ones, as broadcasting has it."""
    return (*(1,) * (rank - len(shape)), *shape)
