"""Convolutions with weights computed at run time, tap by tap, where MIL takes constant weights only."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import Decomposition, computed_weights, ints, need, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target


@dataclass(frozen=True)
class DecomposeConv(Decomposition):
    """Write a Conv whose weights are computed at run time as a sum over the taps of its kernel, where MIL has none.

    What it does
    ------------
    For each tap: the input shifted by the tap, times the tap's weights; a MatMul per group, or a product where a group
    has one input channel. Any number of spatial axes, strides, dilations, groups, pads and a bias. Shapes must be
    known, and the kernel have at most ``max-taps`` elements. Weights that are a dequantised constant are none computed
    at run time. Fires for Core ML targets only, where the op is grouped, dilated, or over three axes for a
    neuralnetwork.

    Why it matters
    --------------
    MIL's conv takes weights that are no constants only without groups and dilations, a neuralnetwork's over at most
    two axes.

    Example
    -------
    A depthwise ``y = Conv<group=4>(x, w)`` with ``w: float[4,1,2]`` becomes
    ``y = x[:,:,0:7] * w[:,:,0] + x[:,:,1:8] * w[:,:,1]``.

    Equivalence
    -----------
    Reassociating: the sum over taps is outside of the sum over channels.

    Options
    -------
    ``max-taps``: largest kernel to write out.

    Sources
    -------
    H1.01; coremltools 9.0 operator notes.
    """

    code: ClassVar[str] = "CG101"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    roots: ClassVar[tuple[str, ...]] = ("Conv",)
    max_taps: int = 64

    def wanted(self, node: OpView, target: Target) -> bool:
        dilated = any(d != 1 for d in node.attr("dilations") or ())
        solid = target.format == "neuralnetwork" and need(node, 1).rank == 5
        return target.ops is not None and computed_weights(node, 1) and (node.attr("group") != 1 or dilated or solid)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x, w, y = need(node, 0), need(node, 1), node.outputs[0]
        assert y is not None
        if x.static_shape is None or w.static_shape is None or y.static_shape is None:
            return NoMatch("its shapes are not known")
        if node.attr("auto_pad") not in ("NOTSET", "VALID"):
            return NoMatch("its pads are not resolved")
        kernel, out = w.static_shape[2:], y.static_shape[2:]
        if math.prod(kernel) > self.max_taps:
            return NoMatch("its kernel has more than max-taps={} elements", self.max_taps)
        rank, group = len(kernel), node.attr("group")
        batch, channels, maps = x.static_shape[0], x.static_shape[1] // group, w.static_shape[0] // group
        strides, dilations = node.attr("strides") or (1,) * rank, node.attr("dilations") or (1,) * rank
        pads = node.attr("pads") or (0,) * 2 * rank
        padded = op.Pad(x, ints(op, [0, 0, *pads[:rank], 0, 0, *pads[rank:]])) if any(pads) else x
        axes = ints(op, range(2, 2 + rank))
        steps = ints(op, strides)
        total = None
        for tap in itertools.product(*(range(k) for k in kernel)):
            begin = [t * d for t, d in zip(tap, dilations, strict=True)]
            end = [b + (o - 1) * s + 1 for b, o, s in zip(begin, out, strides, strict=True)]
            seen = op.Reshape(
                op.Slice(padded, ints(op, begin), ints(op, end), axes, steps),
                ints(op, [batch, group, channels, math.prod(out)]),
            )
            weight = op.Reshape(
                op.Slice(w, ints(op, tap), ints(op, [t + 1 for t in tap]), axes), ints(op, [1, group, maps, channels])
            )
            term = op.Mul(seen, weight) if channels == 1 else op.MatMul(weight, seen)
            total = term if total is None else op.Add(total, term)
        result = op.Reshape(total, ints(op, [batch, group * maps, *out]))
        bias = operand(node, 2)
        if bias is None:
            return result
        return op.Add(result, op.Reshape(bias, ints(op, [1, group * maps, *[1] * rank])))
