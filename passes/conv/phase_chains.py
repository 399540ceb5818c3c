"""Recognising the way into phase space and back among the ops of a graph, by what they do and not by who made them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coregraft.passes.conv.phases import Step, merge_steps, split_steps
from coregraft.passes.elementwise import BROADCASTING, UNARY
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import Array


@dataclass(frozen=True, slots=True)
class Forward:
    """``phase`` is ``space`` with ``fronts`` zeros before and others behind each spatial axis, taken apart by
    ``rates``.

    ``lengths`` are the lengths of the spatial axes in phase space.
    """

    space: str
    phase: str
    rates: tuple[int, ...]
    fronts: tuple[int, ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inverse:
    """``space`` is ``phase`` put together by ``rates`` and cropped at the end, by less than a rate on each axis."""

    phase: str
    space: str
    rates: tuple[int, ...]


def forwards(g: Graph) -> list[Forward]:
    """All ways into phase space, in program order."""
    return [f for op_id in _reshapes(g) if (f := _forward(g, op_id)) is not None]


def inverses(g: Graph) -> list[Inverse]:
    """All ways back from phase space, in program order."""
    return [i for op_id in _reshapes(g) if (i := _inverse(g, op_id)) is not None]


def _reshapes(g: Graph) -> list[int]:
    return sorted((op_id for op_id, op in g.ops() if op.key == ("", "Reshape")), key=g.order_key)


def _forward(g: Graph, op_id: int) -> Forward | None:
    phase = g.op(op_id).outputs[0]
    for source, steps in _movements(g, op_id):
        before, after = _dims(g, source), _dims(g, phase)
        if before is None or after is None or len(before) != len(after) or before[1] != after[1]:
            continue
        rates = _rates(before, after)
        if rates is None or math.prod(rates) == 1 or steps != split_steps(before, rates):
            continue
        space, fronts = _unpadded(g, source, rates)
        return Forward(space, phase, rates, fronts, after[2:])
    return None


def _inverse(g: Graph, op_id: int) -> Inverse | None:
    whole = g.op(op_id).outputs[0]
    for phase, steps in _movements(g, op_id):
        after, before = _dims(g, whole), _dims(g, phase)
        if before is None or after is None or len(before) != len(after) or before[1] != after[1]:
            continue
        rates = _rates(after, before)
        if rates is None or math.prod(rates) == 1 or steps != merge_steps(after, rates):
            continue
        space = _cropped(g, whole, before[2:], rates)
        return Inverse(phase, space, rates)
    return None


def _movements(g: Graph, op_id: int) -> list[tuple[str, tuple[Step, ...]]]:
    """Where the values of a chain of reshapes and transposes that ends at an op come from, nearest source first."""
    found: list[tuple[str, tuple[Step, ...]]] = []
    steps: list[Step] = []
    at: int | None = op_id
    while at is not None and len(steps) < 8:
        op = g.op(at)
        if op.key == ("", "Reshape"):
            target = g.const(op.inputs[1])
            if target is None or attr(op, "allowzero"):
                break
            steps.insert(0, ("reshape", tuple(int(d) for d in target.numpy())))
        elif op.key == ("", "Transpose"):
            steps.insert(0, ("transpose", tuple(attr(op, "perm") or ())))
        else:
            break
        found.append((op.inputs[0], tuple(steps)))
        at = g.producer(op.inputs[0])
    return found


def _dims(g: Graph, value: str) -> tuple[int, ...] | None:
    """The shape of a (N, C, spatial...) value with -1 for a batch that is not known; None when more is unknown."""
    kind = g.tensor_type(value)
    if kind is None or kind.shape is None or len(kind.shape) < 3:
        return None
    known = [d if isinstance(d, int) else -1 for d in kind.shape]
    return None if -1 in known[1:] else tuple(known)


def _rates(space: Sequence[int], phase: Sequence[int]) -> tuple[int, ...] | None:
    if any(p == 0 or s % p for s, p in zip(space[2:], phase[2:], strict=True)):
        return None
    return tuple(s // p for s, p in zip(space[2:], phase[2:], strict=True))


def _unpadded(g: Graph, value: str, rates: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """What was padded with zeros along axes with phases to give ``value``, and how much before each axis."""
    none = (0,) * len(rates)
    producer = g.producer(value)
    if producer is None:
        return value, none
    op = g.op(producer)
    if op.key != ("", "Pad") or attr(op, "mode") not in ("constant", b"constant") or any(op.inputs[3:]):
        return value, none
    pads = g.const(op.inputs[1])
    if pads is None or (len(op.inputs) > 2 and op.inputs[2] and not _is_zero(g, op.inputs[2])):
        return value, none
    amounts = [int(p) for p in pads.numpy()]
    rank = len(rates) + 2
    begins, ends = amounts[2:rank], amounts[rank + 2 :]
    unsplit = [b or e for b, e, r in zip(begins, ends, rates, strict=True) if r == 1]
    if any((*amounts[:2], *amounts[rank : rank + 2], *unsplit)) or min(amounts) < 0:
        return value, none
    return op.inputs[0], tuple(begins)


def _is_zero(g: Graph, value: str) -> bool:
    const = g.const(value)
    return const is not None and not np.any(const.numpy())


def _cropped(g: Graph, whole: str, lengths: Sequence[int], rates: Sequence[int]) -> str:
    """The value that a Slice at the end makes of ``whole``, if that is all ``whole`` is used for; else ``whole``."""
    users = g.users(whole)
    if len(users) != 1 or g.public_names(whole) or g.op(users[0]).key != ("", "Slice"):
        return whole
    op = g.op(users[0])
    sliced, dims = _dims(g, op.outputs[0]), _dims(g, whole)
    starts, steps = g.const(op.inputs[1]), g.const(op.inputs[4]) if len(op.inputs) > 4 else None
    if sliced is None or dims is None or starts is None or np.any(starts.numpy()) or sliced[:2] != dims[:2]:
        return whole
    if steps is not None and np.any(steps.numpy() != 1):
        return whole
    fits = all(-(-s // r) == m for s, m, r in zip(sliced[2:], lengths, rates, strict=True))
    return op.outputs[0] if fits else whole


# -------------------------------------------------------------------- ops that do not mind


def data_operands(g: Graph, op_id: int) -> tuple[str, ...] | None:
    """The operands of an op that works on each position of the spatial axes by itself, the same at all positions.

    Such an op can be computed in phase space, where these operands (and its results) are phase-space values and all
    others stay as they are. None when the op is not one of these.
    """
    op = g.op(op_id)
    if op.domain or op.captures or len([o for o in op.outputs if o]) != (len(op.outputs) if op.type == "Split" else 1):
        return None
    shapes = [_dims(g, o) for o in op.outputs if o]
    first = shapes[0] if shapes else None
    if first is None or any(s is None or s[2:] != first[2:] for s in shapes):
        return None
    if op.type in UNARY or op.type in BROADCASTING:
        data = [v for v in op.inputs if v and not _is_neutral(g, v, len(first))]
    elif op.type == "Concat" and attr(op, "axis") % len(first) == 1:
        data = list(op.inputs)
    elif _is_per_position(g, op, len(first)):
        data = [op.inputs[0]]
    else:
        return None
    if not data or any((d := _dims(g, v)) is None or d[2:] != first[2:] or d[0] != first[0] for v in data):
        return None
    return tuple(dict.fromkeys(data))


def _is_neutral(g: Graph, value: str, rank: int) -> bool:
    """Whether a value is the same for all positions and all of the batch, by its shape."""
    kind = g.tensor_type(value)
    shape = None if kind is None else kind.static_shape
    if shape is None or len(shape) > rank:
        return False
    full = (*(1,) * (rank - len(shape)), *shape)
    return full[0] == 1 and set(full[2:]) <= {1}


def _is_per_position(g: Graph, op: Op, rank: int) -> bool:
    """Whether an op of one data operand mixes nothing but channels."""
    if op.type == "BatchNormalization":
        return not attr(op, "training_mode")
    if op.type == "Split":
        return bool(attr(op, "axis") % rank == 1)
    if op.type != "Conv" or attr(op, "auto_pad") not in ("NOTSET", "VALID", b"NOTSET", b"VALID"):
        return False
    kind = g.tensor_type(op.inputs[1])
    shape = None if kind is None else kind.static_shape
    if shape is None or set(shape[2:]) != {1}:
        return False
    return set(attr(op, "strides") or (1,)) == {1} and not any(attr(op, "pads") or ())


def phase_mask(sizes: Sequence[int], rates: Sequence[int], batch: int) -> Array | None:
    """Where phase-space values hold an element of the axis, and not what lies behind its end: bool (batch*phases, 1,
    lengths).

None when the rates divide the sizes, so that nothing is behind.
    """
    if not any(s % r for s, r in zip(sizes, rates, strict=True)):
        return None
    lengths = [-(-s // r) for s, r in zip(sizes, rates, strict=True)]
    whole = [n * r for n, r in zip(lengths, rates, strict=True)]
    mask = np.zeros((1, 1, *whole), np.bool_)
    inside: tuple[slice, ...] = tuple(slice(s) for s in sizes)
    mask[(slice(None), slice(None), *inside)] = True
    for kind, argument in split_steps((1, 1, *whole), rates):
        mask = mask.reshape(argument) if kind == "reshape" else mask.transpose(argument)
    return np.ascontiguousarray(np.repeat(mask, batch, axis=0))
