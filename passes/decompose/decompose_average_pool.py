"""AveragePool with dilation as a sum of shifted slices."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose import _windows
from coregraft.passes.decompose._base import Decomposition, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class DecomposeAveragePool(Decomposition):
    """Write an AveragePool that Core ML does not have as a sum of shifted slices, times a constant map.

    What it does
    ------------
    Pads with zeros so that every window fits, adds one strided slice per tap, axis by axis, and multiplies by one
    over the number of elements that each window counts: those of the input, with ``count_include_pad`` those of the
    declared padding too, never those beyond it that ``ceil_mode`` lets a window hang over. Fires for Core ML targets,
    where there are dilations or a pad as long as the window (some windows then see nothing but padding). Spatial
    sizes must be known, pads explicit.

    Why it matters
    --------------
    Core ML's pools have no dilation, and divide by nothing where a window sees only padding.

    Example
    -------
    ``y = AveragePool <kernel_shape = [2], dilations = [3]> (x)`` of 8 elements becomes ``y = (x[0:5] + x[3:8]) *
    [0.5, …]``.

    Equivalence
    -----------
    Reassociating: rows are added before columns, and the division is a product with the reciprocal.

    Sources
    -------
    H4.10; ONNX AveragePool-22; output size by onnxruntime's rule.
    """

    code: ClassVar[str] = "CG410"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("AveragePool",)

    def wanted(self, node: OpView, target: Target) -> bool:
        kernel = node.attr("kernel_shape")
        far = any(p >= k for p, k in zip(node.attr("pads") or (), (*kernel, *kernel), strict=False))
        return target.ops is not None and (max(node.attr("dilations") or (1,)) > 1 or far)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        axes = _windows.pool_axes(node)
        if isinstance(axes, NoMatch):
            return axes
        if x.dtype is None:
            return NoMatch("the type of the input is not known")
        divisors = _windows.counts(axes, node.attr("count_include_pad") == 1)
        if divisors.min() < 1:
            return NoMatch("a window counts no element, and what its mean is ONNX leaves open")
        wide = _windows.padded(op, x, axes, scalar(op, 0, x))
        total = _windows.over_windows(op, wide, axes, lambda slices: functools.reduce(op.Add, slices))
        return op.Mul(total, op.const((1 / divisors).astype(x.dtype.numpy)))
