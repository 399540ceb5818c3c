"""Pad: MIL's ``pad`` where it says the same, gathers and concats everywhere else (H4.13)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import (
    axis_of,
    broadcast_to,
    from_int32,
    full,
    operand,
    slice_axis,
    via_int32,
)
from coregraft.lowering.sizes import is_known, sizes_of
from coregraft.lowering.vars import is_float, like, np_type
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

_MIL_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
_NUMPY_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@lower("Pad", attrs="mode")
def pad(b: Emitter, op: Op) -> Any:
    """Negative pads crop first; then the axes grow, one op for all of them where ``pad`` can do it."""
    mode = b.attr(op, "mode")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode != "constant" and mode not in _NUMPY_MODES:
        b.refuse(op, f'mode "{mode}" is not one of ONNX')
    source = b.var(op.inputs[0])
    amounts = _amounts(b, op, source.rank)
    x = _crop(b, op, source, amounts)
    grown = {axis: (max(p, 0), max(q, 0)) for axis, (p, q) in amounts.items() if max(p, q) > 0}
    if not grown:
        return x
    if mode == "constant":
        return _constant(b, op, x, grown)
    if _native(b, x, grown, mode):
        return b.mb.pad(x=x, pad=_flat(x.rank, grown), mode=_MIL_MODES[mode], name=b.name(op))
    b.known_sizes(op.inputs[0], list(grown))
    x = via_int32(b, x)
    for axis, (before, after) in grown.items():
        places = np.pad(np.arange(int(x.shape[axis]), dtype=np.int32), (before, after), mode=_NUMPY_MODES[mode])  # type: ignore[call-overload]
        x = b.mb.gather(x=x, indices=places, axis=axis)
    return from_int32(b, op, x, source)


def _amounts(b: Emitter, op: Op, rank: int) -> dict[int, tuple[int, int]]:
    """(before, after) of the axes that are padded or cropped."""
    pads = b.need_const(op, 1, "pads")
    axes = b.need_const(op, 3, "axes")
    assert pads is not None  # not optional
    named = range(rank) if axes is None else [axis_of(b, op, int(a), rank) for a in axes.ravel()]
    if len(pads) != 2 * len(named):
        b.refuse(op, f"{len(pads)} pads for {len(named)} axes")
    before, after = np.split(pads, 2)
    found = {axis: (int(p), int(q)) for axis, p, q in zip(named, before, after, strict=True)}
    return {axis: found[axis] for axis in sorted(found) if any(found[axis])}


def _crop(b: Emitter, op: Op, x: Any, amounts: dict[int, tuple[int, int]]) -> Any:
    for axis, (before, after) in amounts.items():
        if min(before, after) < 0:
            (size,) = b.known_sizes(op.inputs[0], [axis])
            begin, end = max(-before, 0), size - max(-after, 0)
            if begin >= end:
                b.refuse(op, f"negative pads leave nothing of axis {axis}")
            x = slice_axis(b, x, axis, begin, end)
    return x


def _native(b: Emitter, x: Any, grown: dict[int, tuple[int, int]], mode: str) -> bool:
    """Whether ``pad`` can repeat elements so: floats, the last two axes, and no more than there is to repeat.

    A neuralnetwork's wants both of those axes to be there.
    """
    if mode not in _MIL_MODES or not is_float(x) or min(grown) < x.rank - 2:
        return False
    if x.rank < 2 and b.target.format == "neuralnetwork":
        return False
    spare = 1 if mode == "reflect" else 0
    return all(is_known(x.shape[axis]) and max(pads) <= x.shape[axis] - spare for axis, pads in grown.items())


def _flat(rank: int, grown: dict[int, tuple[int, int]]) -> Any:
    """``pad``'s own order: before and after, axis by axis."""
    return np.array([n for axis in range(rank) for n in grown.get(axis, (0, 0))], np.int32)


def _constant(b: Emitter, op: Op, x: Any, grown: dict[int, tuple[int, int]]) -> Any:
    given = operand(op, 2)
    known = b.const(given) if given else np.zeros(())
    if is_float(x) and known is not None:
        value = like(x, known.reshape(()))[()]
        return b.mb.pad(x=x, pad=_flat(x.rank, grown), mode="constant", constant_val=value, name=b.name(op))
    last = max(grown)
    for axis, (before, after) in grown.items():
        blocks = [_block(b, op, x, axis, n, known) for n in (before, after)]
        parts = [part for part in (blocks[0], x, blocks[1]) if part is not None]
        x = b.mb.concat(values=parts, axis=axis, **({"name": b.name(op)} if axis == last else {}))
    return x


def _block(b: Emitter, op: Op, x: Any, axis: int, n: int, known: Any) -> Any:
    """``n`` layers of the padding value, as wide as x; None for none."""
    if not n:
        return None
    shape = [n if i == axis else size for i, size in enumerate(sizes_of(x))]
    if known is not None:
        return full(b, shape, known.reshape(()), np_type(x))
    return broadcast_to(b, b.var(operand(op, 2)), shape)
