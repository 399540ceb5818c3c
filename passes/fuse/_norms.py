"""What the normalisation rules share: trailing axes, spellings of a reciprocal square root, affine parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from coregraft.rewriter.passes import NoMatch, ValueView
from coregraft.rewriter.types import Array


def trailing_axis(axes: ValueView | None, rank: int | None) -> int | None:
    """The first axis (negative) when constant ``axes`` are exactly the last ones of ``rank`` dims, else None."""
    if rank is None or rank == 0:
        return None
    if axes is None:
        return -rank
    if not axes.is_const:
        return None
    wanted = sorted(int(a) % rank for a in axes.array().reshape(-1))
    return wanted[0] - rank if wanted and wanted == list(range(wanted[0], rank)) else None


def from_behind(axis: int, x: ValueView) -> int:
    """An axis of ``x``, a value of known rank, counted from the last one."""
    assert x.rank is not None
    return axis if axis < 0 else axis - x.rank


def inverse_roots(op: Any, root: Any) -> tuple[Any, list[Any]]:
    """The spellings of ``sqrt(s)``, and of ``1 / sqrt(s)``, given the pattern of ``s``: Sqrt, Reciprocal, Pow forms."""
    sqrt = op.any_of(op.Sqrt(root), op.Pow(root, 0.5))
    return sqrt, [op.Reciprocal(sqrt), op.Div(1.0, sqrt), op.Pow(root, -0.5)]


def inverse_root_times(op: Any, value: Any, root: Any, gamma: Any) -> list[Any]:
    """The spellings of ``value / sqrt(s)``, and of ``value * (gamma / sqrt(s))``, given the pattern of ``s``."""
    sqrt, inverses = inverse_roots(op, root)
    inverse = op.any_of(*inverses)
    return [op.Div(value, sqrt), op.Mul(value, inverse), op.Mul(value, op.Mul(inverse, gamma))]


def normalised_shape(x: ValueView, axis: int) -> tuple[int, ...] | None:
    """The static shape of the normalised dims, else None."""
    if x.shape is None:
        return None
    dims = x.shape[axis:]
    return tuple(d for d in dims if isinstance(d, int)) if all(isinstance(d, int) for d in dims) else None


def scale_of(gamma: ValueView | None, x: ValueView, axis: int) -> Array | NoMatch:
    """The factor of a pattern over the normalised dims of ``x``; ones when it has none."""
    if gamma is not None:
        return per_feature(gamma, x, axis)
    shape = normalised_shape(x, axis)
    assert shape is not None and x.dtype is not None  # the rules ask first
    return np.ones(shape, x.dtype.numpy)


def per_feature(c: ValueView, x: ValueView, axis: int) -> Array | NoMatch:
    """A constant broadcast to the normalised dims of ``x``; a reason when it varies along other dims."""
    shape = normalised_shape(x, axis)
    if not c.is_const or shape is None:
        return NoMatch("{} is not constant, or the normalised dims are not", c.name)
    array = c.array()
    if array.ndim > len(x.shape or ()) or any(d != 1 for d in array.shape[: array.ndim - len(shape)]):
        return NoMatch("{} varies along other than the normalised dims", c.name)
    kept = array.reshape(array.shape[max(0, array.ndim - len(shape)) :])
    return np.ascontiguousarray(np.broadcast_to(kept, shape))


def is_ones(v: ValueView | None) -> bool:
    """Whether a value is a constant of ones."""
    return v is not None and v.is_const and bool(np.all(v.array() == 1))
