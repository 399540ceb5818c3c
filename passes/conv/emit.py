"""Ops that several convolution rewrites insert: slices, pads and rearrangements by plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.passes.conv.phases import Step
from coregraft.rewriter.rule import OpBuilder

#: As the end of a slice: up to the last element, whatever the length.
TO_END = 2**63 - 1


def ints(op: OpBuilder, values: Sequence[int]) -> Any:
    """An int64 vector constant."""
    return op.const(np.array(values, np.int64))


def slice_axes(op: OpBuilder, x: Any, ranges: Mapping[int, tuple[int, int, int]]) -> Any:
    """``x`` with some axes cut to ``start:end:step``; ``x`` itself when there are none."""
    if not ranges:
        return x
    axes = sorted(ranges)
    starts, ends, steps = zip(*(ranges[a] for a in axes), strict=True)
    return op.Slice(x, ints(op, starts), ints(op, ends), ints(op, axes), ints(op, steps))


def pad_spatial(op: OpBuilder, x: Any, begins: Sequence[int], ends: Sequence[int]) -> Any:
    """``x`` (N, C, spatial...) with zeros around its spatial axes; ``x`` itself when all are 0."""
    if not any(begins) and not any(ends):
        return x
    return op.Pad(x, ints(op, (0, 0, *begins, 0, 0, *ends)))


def rearrange(op: OpBuilder, x: Any, steps: Sequence[Step]) -> Any:
    """``x`` after a chain of reshapes and transposes."""
    for kind, argument in steps:
        x = op.Reshape(x, ints(op, argument)) if kind == "reshape" else op.Transpose(x, perm=argument)
    return x


def crop_negative_pads(op: OpBuilder, x: Any, begins: Sequence[int], ends: Sequence[int]) -> Any:
    """``x`` without the elements that negative pads take away."""
    ranges = {
        axis: (max(0, -b), min(0, e) or TO_END, 1)
        for axis, (b, e) in enumerate(zip(begins, ends, strict=True), start=2)
        if b < 0 or e < 0
    }
    return slice_axes(op, x, ranges)
