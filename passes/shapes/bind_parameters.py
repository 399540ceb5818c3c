"""Parameters that are computed at run time, bound to what the declared shape of the result says they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import computed, need, operand
from coregraft.passes.shapes._reduced import reduced_axes
from coregraft.passes.shapes._trusting import Trusting
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array

#: The operands of an op that its result's shape decides, by their number; None where it does not.
Bound = dict[int, Array] | None


@dataclass(frozen=True)
class BindParameters(Trusting):
    """Replace shapes, axes and counts that are computed at run time by the constants that the result's shape implies.

    What it does
    ------------
    Where a model declares the shape of a result and no other value of a parameter could give that shape, the parameter
    is that value: the axes of Squeeze and Unsqueeze, the repeats of Tile, the sizes of Split, the K of TopK, the depth
    of OneHot, the axes of a reduction that keeps its dims, the target of CenterCropPad, Resize and AffineGrid, the
    length of a window. Fires for Core ML targets only.

    Why it matters
    --------------
    Shapes are fixed when Core ML compiles a model, so its parameters cannot change the shape of anything at run time.

    Example
    -------
    ``y: float[2,6] = Tile(x: float[2,3], repeats)`` becomes ``y = Tile(x, [1, 2])``.

    Equivalence
    -----------
    Bit-exact where the run-time values agree with the declared shape, as ONNX demands.

    Sources
    -------
    H5.08; ONNX's operator schemas.
    """

    code: ClassVar[str] = "CG508"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = (
        "AffineGrid", "BlackmanWindow", "CenterCropPad", "HammingWindow", "HannWindow", "OneHot",
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "ReduceSumSquare", "Resize", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze",
    )  # fmt: skip

    def wanted(self, node: OpView, target: Target) -> bool:
        return target.ops is not None and any(computed(node, i) for i in range(len(node.inputs)))

    def build(self, op: OpBuilder, node: OpView) -> Any:
        rule = _reduction if node.type.startswith("Reduce") else _RULES[node.type]
        bound = rule(node)
        if bound is None:
            return NoMatch("the shape of its result does not say what its parameters are")
        bound = {i: array for i, array in bound.items() if computed(node, i)}
        if not bound:
            return NoMatch("no parameter that the shape of its result decides is computed at run time")
        inputs: list[Any] = list(node.inputs)
        for i, array in bound.items():
            inputs[i] = op.const(array)
        made = getattr(op, node.type)(*inputs, _outputs=len(node.op.outputs), **node.attrs)
        results = made if isinstance(made, tuple) else (made,)
        return [value for value, name in zip(results, node.op.outputs, strict=True) if name]


def _shapes(node: OpView) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The shapes of the first operand and the first result, if both are known."""
    x, y = operand(node, 0), node.outputs[0]
    before, after = (None if v is None else v.static_shape for v in (x, y))
    return None if before is None or after is None else (before, after)


def _int64(values: Any) -> Array:
    return np.array(values, np.int64)


def _squeeze(node: OpView) -> Bound:
    shapes = _shapes(node)
    return None if shapes is None else {1: _int64(_ones_between(*shapes))}


def _unsqueeze(node: OpView) -> Bound:
    shapes = _shapes(node)
    return None if shapes is None else {1: _int64(_ones_between(*reversed(shapes)))}


def _ones_between(longer: tuple[int, ...], shorter: tuple[int, ...]) -> list[int]:
    """Axes of length 1 without which ``longer`` is ``shorter``. Where there is a choice, it makes no difference."""
    axes, rest = [], list(shorter)
    for axis, size in enumerate(longer):
        if rest and rest[0] == size:
            rest.pop(0)
        else:
            axes.append(axis)
    return axes


def _tile(node: OpView) -> Bound:
    shapes = _shapes(node)
    if shapes is None or 0 in shapes[0]:
        return None
    return {1: _int64([after // before for before, after in zip(*shapes, strict=True)])}


def _split(node: OpView) -> Bound:
    axis = node.attr("axis")
    shapes = [None if o is None else o.static_shape for o in node.outputs]
    return None if None in shapes else {1: _int64([s[axis] for s in shapes if s is not None])}


def _top_k(node: OpView) -> Bound:
    shapes = _shapes(node)
    return None if shapes is None else {1: _int64([shapes[1][node.attr("axis")]])}


def _one_hot(node: OpView) -> Bound:
    shapes, depth = _shapes(node), need(node, 1)
    if shapes is None or depth.dtype is None:
        return None
    return {1: np.array(shapes[1][node.attr("axis")], depth.dtype.numpy).reshape(depth.static_shape or ())}


def _center_crop_pad(node: OpView) -> Bound:
    shapes, shape = _shapes(node), need(node, 1)
    if shapes is None or shape.dtype is None:
        return None
    axes = node.attr("axes")
    sizes = [shapes[1][axis] for axis in (range(len(shapes[1])) if axes is None else axes)]
    return {1: np.array(sizes, shape.dtype.numpy)}


def _resize(node: OpView) -> Bound:
    """Under another policy than ``stretch`` the sizes are only bounds."""
    shapes, axes = _shapes(node), node.attr("axes")
    if shapes is None or operand(node, 3) is None or node.attr("keep_aspect_ratio_policy") != "stretch":
        return None
    return {3: _int64([shapes[1][axis] for axis in (range(len(shapes[1])) if axes is None else axes)])}


def _affine_grid(node: OpView) -> Bound:
    """The size has the number of channels of what is sampled, which the grid does not depend on."""
    y = node.outputs[0]
    shape = None if y is None else y.static_shape
    return None if shape is None else {1: _int64([shape[0], 1, *shape[1:-1]])}


def _window(node: OpView) -> Bound:
    y, size = node.outputs[0], need(node, 0)
    shape = None if y is None else y.static_shape
    if shape is None or size.dtype is None:
        return None
    return {0: np.array(shape[0], size.dtype.numpy).reshape(size.static_shape or ())}


def _reduction(node: OpView) -> Bound:
    """Of several choices none is taken; ``choose-axes`` takes it from there."""
    found = reduced_axes(node)
    return {1: _int64(found[0])} if found is not None and len(found) == 1 else None


_RULES: dict[str, Callable[[OpView], Bound]] = {
    "AffineGrid": _affine_grid, "BlackmanWindow": _window, "CenterCropPad": _center_crop_pad,
    "HammingWindow": _window, "HannWindow": _window, "OneHot": _one_hot, "Resize": _resize, "Split": _split,
    "Squeeze": _squeeze, "Tile": _tile, "TopK": _top_k, "Unsqueeze": _unsqueeze,
}  # fmt: skip
