"""Normalisations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coregraft.lowering.lift.operands import ints, scalar, sizes, static
from coregraft.lowering.lift.registry import lifts

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


@lifts("batch_norm")
def batch_norm(l: Lifter, op: MilOp) -> None:
    """``BatchNormalization`` along axis 1."""
    _check_rank(l, op, 3, 5)
    channels = l.shape(op, "mean")[0]
    inputs = [l.operand(op, "x"), *_affine(l, op, channels), l.operand(op, "mean"), l.operand(op, "variance")]
    l.emit("BatchNormalization", inputs, {"epsilon": float(scalar(l, op, "epsilon", 1e-5))}, [l.out(op)])


@lifts("instance_norm")
def instance_norm(l: Lifter, op: MilOp) -> None:
    """``InstanceNormalization``."""
    _check_rank(l, op, 3, 4)
    inputs = [l.operand(op, "x"), *_affine(l, op, static(l, op, "x", 1))]
    l.emit("InstanceNormalization", inputs, {"epsilon": float(scalar(l, op, "epsilon", 1e-5))}, [l.out(op)])


@lifts("layer_norm")
def layer_norm(l: Lifter, op: MilOp) -> None:
    """``LayerNormalization`` where the axes are the last ones, else its formula."""
    shape = sizes(l, op, "x")
    rank = len(shape)
    given = [axis % rank for axis in ints(l, op, "axes", range(rank))]
    axes = sorted(given)
    scaled = l.has(op, "gamma") or l.has(op, "beta")
    if given != axes and scaled:
        l.undefined(op, f"the order of axes {given} may be that of gamma and beta; they are taken in ascending order")
    epsilon = float(scalar(l, op, "epsilon", 1e-5))
    x = l.operand(op, "x")
    if axes == list(range(axes[0], rank)) and (l.has(op, "gamma") or all(isinstance(shape[a], int) for a in axes)):
        gamma = l.value(op, "gamma") or l.literal(np.ones([static(l, op, "x", a) for a in axes], np.float32))
        attrs = {"axis": axes[0], "epsilon": epsilon}
        l.emit("LayerNormalization", [x, gamma, l.value(op, "beta")], attrs, [l.out(op)])
        return
    over = np.array(axes, np.int64)
    centred = l.emit("Sub", [x, l.emit("ReduceMean", [x, over])])
    variance = l.emit("ReduceMean", [l.emit("Mul", [centred, centred]), over])
    steps = [("Div", l.emit("Sqrt", [l.emit("Add", [variance, np.float32(epsilon)])]))]
    for key, kind in (("gamma", "Mul"), ("beta", "Add")):
        if l.has(op, key):
            parameter = l.operand(op, key)
            kept = np.array([axis for axis in range(rank) if axis not in axes], np.int64)
            steps.append((kind, l.emit("Unsqueeze", [parameter, kept]) if kept.size else parameter))
    for i, (kind, operand) in enumerate(steps):
        centred = l.emit(kind, [centred, operand], None, [l.out(op)] if i == len(steps) - 1 else None)


@lifts("l2_norm")
def l2_norm(l: Lifter, op: MilOp) -> None:
    """The operand over the root of the sum of squares along its last three axes."""
    x = l.operand(op, "x")
    total = l.emit("ReduceSumSquare", [x, np.array([-3, -2, -1], np.int64)])
    shifted = l.emit("Add", [total, np.float32(scalar(l, op, "epsilon", 1e-6))])
    l.emit("Div", [x, l.emit("Sqrt", [shifted])], None, [l.out(op)])


@lifts("local_response_norm")
def local_response_norm(l: Lifter, op: MilOp) -> None:
    """The operand over a power of the mean square of its neighbours along axis 1, as a pool over [n, 1, C, rest]."""
    _check_rank(l, op, 3, 4)
    size = int(scalar(l, op, "size"))
    if l.rank(op, "x") == 3:
        l.undefined(op, "which axis of three holds the channels is documented two ways; axis 1 is taken")
    if size % 2 == 0:
        l.undefined(op, f"how a window of {size} lies around its channel is not documented; it reaches further up")
    before = (size - 1) // 2
    x = l.operand(op, "x")
    images = l.emit("Reshape", [l.emit("Mul", [x, x]), np.array([0, 1, static(l, op, "x", 1), -1], np.int64)])
    window = {"kernel_shape": (size, 1), "pads": (before, 0, size - 1 - before, 0), "count_include_pad": 1}
    mean = l.emit("Reshape", [l.emit("AveragePool", [images], window), l.emit("Shape", [x])])
    scaled = l.emit("Mul", [mean, np.float32(scalar(l, op, "alpha", 1e-4))])
    base = l.emit("Add", [scaled, np.float32(scalar(l, op, "k", 1.0))])
    power = l.emit("Pow", [base, np.float32(scalar(l, op, "beta", 0.75))])
    l.emit("Div", [x, power], None, [l.out(op)])


def _affine(l: Lifter, op: MilOp, channels: int) -> list[str]:
    """Scale and offset per channel, where the op has none as ones and zeros."""
    gamma, beta = l.value(op, "gamma"), l.value(op, "beta")
    return [
        l.literal(np.ones(channels, np.float32)) if gamma is None else gamma,
        l.literal(np.zeros(channels, np.float32)) if beta is None else beta,
    ]


def _check_rank(l: Lifter, op: MilOp, low: int, high: int) -> None:
    rank = l.rank(op, "x")
    if not low <= rank <= high:
        l.undefined(op, f"it is documented for rank {low} to {high}, and has rank {rank}; the same formula is taken")
