"""Compile-time operands of MIL ops as plain Python values, and the arithmetic of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.rewriter.types import Dim

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


def scalar(l: Lifter, op: MilOp, key: str, default: Any = None) -> Any:
    """A parameter of one element as a Python number or string; ``default`` when it is absent.

    Raises:
        UnsupportedError: ``lift-op-unsupported`` when it is computed at run time.
    """
    return np.asarray(l.need(op, key)).item() if l.has(op, key) else default


def ints(l: Lifter, op: MilOp, key: str, default: Sequence[int] = ()) -> list[int]:
    """A parameter of integers as a list; ``default`` when it is absent.

    Raises:
        UnsupportedError: ``lift-op-unsupported`` when it is computed at run time.
    """
    return list(l.ints(op, key)) if l.has(op, key) else list(default)


def sizes(l: Lifter, op: MilOp, key: str) -> tuple[Dim, ...]:
    """The shape of an operand, sizes that are not known being None.

    Raises:
        UnsupportedError: ``lift-op-unsupported`` when not even its rank is known.
    """
    shape = l.type(op, key).shape
    if shape is None:
        l.refuse(op, f'the rank of "{key}" is not known')
    return shape


def static(l: Lifter, op: MilOp, key: str, axis: int) -> int:
    """One size of an operand.

    Raises:
        UnsupportedError: ``lift-op-unsupported`` when it is not known.
    """
    size = sizes(l, op, key)[axis]
    if not isinstance(size, int):
        l.refuse(op, f'size {axis} of "{key}" is not fixed')
    return size


def known_sizes(shape: Sequence[Dim]) -> list[int] | None:
    """The sizes as numbers, when all of them are."""
    found = [size for size in shape if isinstance(size, int)]
    return found if len(found) == len(shape) else None


def split_pairs(pad: Sequence[int]) -> tuple[list[int], list[int]]:
    """``[before, after, before, after, …]`` as what comes before and what comes after, by axis."""
    return list(pad[::2]), list(pad[1::2])


def same_pads(size: int, kernel: int, stride: int, *, lower: bool) -> tuple[int, int]:
    """Padding by which a window of ``kernel`` (dilation included) yields ``ceil(size / stride)`` positions.

    An odd total leaves the greater half at the end, or with ``lower`` at the beginning.
    """
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    small = total // 2
    return (total - small, small) if lower else (small, total - small)
