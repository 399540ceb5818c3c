"""Ops that give the same elements another shape or order, join them or take them apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coregraft.lowering.lift.lifter import Lifter
from coregraft.lowering.lift.operands import ints, scalar, sizes, static
from coregraft.lowering.lift.registry import lifts
from coregraft.lowering.lift.spec import MilOp


def _reshaped(l: Lifter, x: str, shape: Sequence[int], outputs: list[str] | None = None) -> str:
    return l.emit("Reshape", [x, np.array(shape, np.int64)], None, outputs)


def _permuted(l: Lifter, x: str, perm: Sequence[int]) -> str:
    return l.emit("Transpose", [x], {"perm": tuple(perm)})


@lifts("identity", moves=True)
def identity(l: Lifter, op: MilOp) -> None:
    l.emit("Identity", [l.operand(op, "x")], None, [l.out(op)])


@lifts("shape")
def shape(l: Lifter, op: MilOp) -> None:
    found = l.emit("Shape", [l.operand(op, "x")])
    l.emit("Cast", [found], {"to": int(l.out_type(op).dtype)}, [l.out(op)])


@lifts("reshape", moves=True)
def reshape(l: Lifter, op: MilOp) -> None:
    x = l.operand(op, "x")
    if l.const(op, "shape") is None:
        if l.type(op, "shape").shape != (l.type(op, "x").rank,):
            l.warn(op, "its shape is computed at run time; it is assumed to hold no 0")
        l.emit("Reshape", [x, l.index(op, "shape")], None, [l.out(op)])
        return
    wanted = list(ints(l, op, "shape"))
    rank = l.type(op, "x").rank
    if 0 not in wanted or rank == len(wanted):  # ONNX copies the size at the same place, too
        _reshaped(l, x, wanted, [l.out(op)])
        return
    if not l.since("iOS17"):
        l.refuse(op, "a 0 in its shape stands for a size of x, which has another rank")
    # From iOS 17 on, zeros are matched from the right, and stand for 1 where x has no dim.
    own = [1] * len(wanted) + [-2 if d is None else d for d in _dims(sizes(l, op, "x"))]
    matched = [w if w else own[i - len(wanted)] for i, w in enumerate(wanted)]
    if -2 in matched:
        l.refuse(op, "a 0 in its shape stands for a size that is not fixed")
    _reshaped(l, x, matched, [l.out(op)])


def _dims(shape: Sequence[object]) -> list[int | None]:
    return [d if isinstance(d, int) else None for d in shape]


@lifts("reshape_like", moves=True)
def reshape_like(l: Lifter, op: MilOp) -> None:
    refs = l.values(op, "ref_tensors")
    begins, ends, masks = (_constants(l, op, key) for key in ("begins", "ends", "end_masks"))
    parts = [
        l.emit("Shape", [ref], {"start": int(begin), "end": None if mask else int(end)})
        for ref, begin, end, mask in zip(refs, begins, ends, masks, strict=True)
    ]
    l.emit("Reshape", [l.operand(op, "x"), l.emit("Concat", parts, {"axis": 0})], {"allowzero": 1}, [l.out(op)])


def _constants(l: Lifter, op: MilOp, key: str) -> list[int]:
    found = [l.constant(ref) for ref in op.inputs.get(key, ())]
    if any(c is None for c in found):
        l.refuse(op, f'its "{key}" are computed at run time')
    return [int(c.numpy().item()) for c in found if c is not None]


@lifts("expand_dims", moves=True)
def expand_dims(l: Lifter, op: MilOp) -> None:
    l.emit("Unsqueeze", [l.operand(op, "x"), np.array(l.ints(op, "axes"), np.int64)], None, [l.out(op)])


@lifts("squeeze", moves=True)
def squeeze(l: Lifter, op: MilOp) -> None:
    """Axes whose size is not 1 stay, as in PyTorch."""
    dims = _dims(sizes(l, op, "x"))
    asked = sorted({a % len(dims) for a in l.ints(op, "axes")}) if l.has(op, "axes") else range(len(dims))
    if any(dims[a] is None for a in asked):
        l.undefined(op, "a size is not known; the axis is assumed to stay")
    axes = [a for a in asked if dims[a] == 1]
    if axes:
        l.emit("Squeeze", [l.operand(op, "x"), np.array(axes, np.int64)], None, [l.out(op)])
    else:
        l.emit("Identity", [l.operand(op, "x")], None, [l.out(op)])


@lifts("transpose", moves=True)
def transpose(l: Lifter, op: MilOp) -> None:
    perm = l.ints(op, "perm")
    l.emit("Transpose", [l.operand(op, "x")], {"perm": tuple(p % len(perm) for p in perm)}, [l.out(op)])


@lifts("flatten2d", moves=True)
def flatten2d(l: Lifter, op: MilOp) -> None:
    l.emit("Flatten", [l.operand(op, "x")], {"axis": int(scalar(l, op, "axis", 1))}, [l.out(op)])


@lifts("depth_to_space", "pixel_shuffle", moves=True)
def depth_to_space(l: Lifter, op: MilOp) -> None:
    """Channels split into (block, block, rest), and into (rest, block, block) for ``pixel_shuffle``."""
    shuffle = op.type == "pixel_shuffle"
    attrs = {
        "blocksize": int(l.need(op, "upscale_factor" if shuffle else "block_size")), "mode": "CRD" if shuffle else "DCR"
    }  # fmt: skip
    l.emit("DepthToSpace", [l.operand(op, "x")], attrs, [l.out(op)])


@lifts("space_to_depth", moves=True)
def space_to_depth(l: Lifter, op: MilOp) -> None:
    l.emit("SpaceToDepth", [l.operand(op, "x")], {"blocksize": int(l.need(op, "block_size"))}, [l.out(op)])


@lifts("pixel_unshuffle", moves=True)
def pixel_unshuffle(l: Lifter, op: MilOp) -> None:
    """As ``space_to_depth``, with the channels of x in the outer place: they are put there channel by channel."""
    block, channels = int(l.need(op, "downscale_factor")), static(l, op, "x", 1)
    deep = l.emit("SpaceToDepth", [l.operand(op, "x")], {"blocksize": block})
    order = np.arange(block * block * channels, dtype=np.int64).reshape(block * block, channels).T.ravel()
    l.emit("Gather", [deep, order], {"axis": 1}, [l.out(op)])


@lifts("space_to_batch", moves=True)
def space_to_batch(l: Lifter, op: MilOp) -> None:
    n, c, h, w = l.shape(op, "x")
    (bh, bw), pads = l.ints(op, "block_shape"), np.asarray(l.need(op, "paddings"), np.int64).reshape(2, 2)
    padded = l.emit("Pad", [l.operand(op, "x"), pads.T.ravel(), None, np.array([2, 3], np.int64)])
    h, w = (int(d + p.sum()) for d, p in zip((h, w), pads, strict=True))
    blocks = _reshaped(l, padded, [n, c, h // bh, bh, w // bw, bw])
    _reshaped(l, _permuted(l, blocks, (3, 5, 0, 1, 2, 4)), [n * bh * bw, c, h // bh, w // bw], [l.out(op)])


@lifts("batch_to_space", moves=True)
def batch_to_space(l: Lifter, op: MilOp) -> None:
    n, c, h, w = l.shape(op, "x")
    (bh, bw), crops = l.ints(op, "block_shape"), np.asarray(l.need(op, "crops"), np.int64).reshape(2, 2)
    blocks = _reshaped(l, l.operand(op, "x"), [bh, bw, n // (bh * bw), c, h, w])
    whole = _reshaped(l, _permuted(l, blocks, (2, 3, 4, 0, 5, 1)), [n // (bh * bw), c, h * bh, w * bw])
    ends = np.array([h * bh, w * bw], np.int64) - crops[:, 1]
    l.emit("Slice", [whole, crops[:, 0].copy(), ends, np.array([2, 3], np.int64)], None, [l.out(op)])


@lifts("concat", moves=True)
def concat(l: Lifter, op: MilOp) -> None:
    values, axis = l.values(op, "values"), int(l.need(op, "axis"))
    rank, size = _first(l, op, axis)
    if rank == 0:
        values = [l.emit("Unsqueeze", [v, np.array([0], np.int64)]) for v in values]
    if not scalar(l, op, "interleave", False):
        l.emit("Concat", values, {"axis": axis}, [l.out(op)])
        return
    if size is None:
        l.refuse(op, "it interleaves along an axis whose size is not fixed")
    order = np.arange(size * len(values), dtype=np.int64).reshape(len(values), size).T.ravel()
    l.emit("Gather", [l.emit("Concat", values, {"axis": axis}), order], {"axis": axis}, [l.out(op)])


def _first(l: Lifter, op: MilOp, axis: int) -> tuple[int | None, int | None]:
    """Rank of the values of a variadic op, and their size along an axis, as far as they are known."""
    kind = l.ref_type(op.inputs["values"][0])
    shape = None if kind is None else kind.shape
    if shape is None:
        return None, None
    size = shape[axis] if shape else 1
    return len(shape), size if isinstance(size, int) else None


@lifts("stack", moves=True)
def stack(l: Lifter, op: MilOp) -> None:
    axis = int(l.need(op, "axis"))
    parts = [l.emit("Unsqueeze", [v, np.array([axis], np.int64)]) for v in l.values(op, "values")]
    l.emit("Concat", parts, {"axis": axis}, [l.out(op)])


@lifts("split", moves=True)
def split(l: Lifter, op: MilOp) -> None:
    names = [l.out(op, i) for i in range(len(op.outputs))]
    attrs: dict[str, int | None] = {"axis": int(l.need(op, "axis"))}
    if l.has(op, "split_sizes"):
        l.emit("Split", [l.operand(op, "x"), l.index(op, "split_sizes")], attrs, names)
    else:
        l.emit("Split", [l.operand(op, "x")], {**attrs, "num_outputs": len(names)}, names)


@lifts("tile", moves=True)
def tile(l: Lifter, op: MilOp) -> None:
    l.emit("Tile", [l.operand(op, "x"), l.index(op, "reps")], None, [l.out(op)])
