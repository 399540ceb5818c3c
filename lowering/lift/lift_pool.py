"""Pooling: ``max_pool``, ``avg_pool`` and ``l2_pool``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coregraft.lowering.lift.operands import ints, known_sizes, same_pads, scalar, sizes, split_pairs
from coregraft.lowering.lift.registry import lifts

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


@dataclass(frozen=True, slots=True)
class _Windows:
    """Where the windows lie.

    Attributes:
        begin, end: padding per axis; what a rounded-up count of windows reaches beyond it is part of ``end``.
        ceil: the count is rounded up and the sizes are not known: ``end`` is as declared, the run time completes it.
    """

    kernel: list[int]
    strides: list[int]
    begin: list[int]
    end: list[int]
    ceil: bool

    @property
    def attrs(self) -> dict[str, int | tuple[int, ...]]:
        return {
            "kernel_shape": tuple(self.kernel),
            "strides": tuple(self.strides),
            "pads": (*self.begin, *self.end),
            "ceil_mode": int(self.ceil),
        }

    @property
    def some_empty(self) -> bool:
        """Whether some window may lie in the padding entirely."""
        return any(max(b, e) >= k for b, e, k in zip(self.begin, self.end, self.kernel, strict=True))


@lifts("max_pool")
def max_pool(l: Lifter, op: MilOp) -> None:
    """``MaxPool``; what is padded never wins."""
    windows = _windows(l, op)
    x = l.operand(op, "x")
    if windows.some_empty:
        l.undefined(op, "a window lies in the padding entirely; its maximum is taken as the lowest fp32 number")
        x, windows = _padded(l, x, windows, float(np.finfo(np.float32).min))
    l.emit("MaxPool", [x], windows.attrs, [l.out(op)])


@lifts("avg_pool")
def avg_pool(l: Lifter, op: MilOp) -> None:
    """``AveragePool`` over the elements, or over the whole window with the padding counted as zeros."""
    windows = _windows(l, op)
    exclude = bool(scalar(l, op, "exclude_padding_from_average", False))
    _average(l, op, l.operand(op, "x"), windows, exclude, [l.out(op)])


@lifts("l2_pool")
def l2_pool(l: Lifter, op: MilOp) -> None:
    """The root of the sum of squares in each window."""
    x = l.operand(op, "x")
    windows = _windows(l, op)
    mean = _average(l, op, l.emit("Mul", [x, x]), windows, False, None)
    total = l.emit("Mul", [mean, np.float32(np.prod(windows.kernel))])
    l.emit("Sqrt", [total], None, [l.out(op)])


def _average(l: Lifter, op: MilOp, x: str, windows: _Windows, exclude: bool, outputs: list[str] | None) -> str:
    if windows.ceil and not exclude:
        l.refuse(op, "ceil_mode counts padding, and the size of its input is not fixed")
    if not windows.some_empty:
        return l.emit("AveragePool", [x], {**windows.attrs, "count_include_pad": int(not exclude)}, outputs)
    padded, inner = _padded(l, x, windows, 0.0)
    if not exclude:
        return l.emit("AveragePool", [padded], inner.attrs, outputs)
    l.undefined(op, "a window lies in the padding entirely; its average is taken as NaN (0 / 0)")
    mask = l.emit("Expand", [np.float32(1), l.emit("Shape", [x])])
    share = l.emit("AveragePool", [_padded(l, mask, windows, 0.0)[0]], inner.attrs)
    return l.emit("Div", [l.emit("AveragePool", [padded], inner.attrs), share], None, outputs)


def _padded(l: Lifter, x: str, windows: _Windows, fill: float) -> tuple[str, _Windows]:
    """The operand with the padding made explicit, and the same windows without."""
    none = [0] * len(windows.kernel)
    pads = np.array([0, 0, *windows.begin, 0, 0, *windows.end], np.int64)
    inner = _Windows(windows.kernel, windows.strides, none, none, False)
    return l.emit("Pad", [x, pads, np.float32(fill)]), inner


def _windows(l: Lifter, op: MilOp) -> _Windows:
    kernel = ints(l, op, "kernel_sizes")
    n = len(kernel)
    strides = ints(l, op, "strides", [1] * n)
    spatial = known_sizes(sizes(l, op, "x")[2:])
    kind = str(scalar(l, op, "pad_type", "valid")).lower()
    pad = ints(l, op, "pad", [0] * 2 * n)
    if kind != "custom" and any(pad):
        l.undefined(op, f"pad_type is {kind}, but pad is {pad}; pad is ignored")
    ceil = bool(scalar(l, op, "ceil_mode", False))
    if kind in ("same", "same_lower"):
        begin, end = _same(l, op, kind, kernel, strides, spatial)
    elif kind in ("valid", "custom"):
        begin, end = split_pairs(pad) if kind == "custom" else ([0] * n, [0] * n)
    else:
        l.refuse(op, f"its pad_type is {kind!r}")
    if min(begin + end, default=0) < 0:
        l.refuse(op, f"its pad is negative: {pad}")
    if not ceil:
        return _Windows(kernel, strides, begin, end, False)
    if begin != end:
        l.refuse(op, "ceil_mode is defined for symmetric padding only")
    return _rounded_up(l, op, kernel, strides, begin, spatial)


def _same(
    l: Lifter, op: MilOp, kind: str, kernel: list[int], strides: list[int], spatial: list[int] | None
) -> tuple[list[int], list[int]]:
    if spatial is None:
        l.refuse(op, f"pad_type {kind}, and the size of its input is not fixed")
    pairs = [
        same_pads(size, k, s, lower=kind == "same_lower") for size, k, s in zip(spatial, kernel, strides, strict=True)
    ]
    l.undefined(
        op,
        f"pad_type {kind}: the documented amount, the size of the kernel, is not that of the type inference; "
        "as little as is needed for ceil(size / stride) is padded, half on each side",
    )
    return [b for b, _ in pairs], [e for _, e in pairs]


def _rounded_up(
    l: Lifter, op: MilOp, kernel: list[int], strides: list[int], pads: list[int], spatial: list[int] | None
) -> _Windows:
    """Windows whose count is rounded up; one that would start after the input and its padding's first half is dropped,
    but only where there is padding."""
    if spatial is None:
        if not all(pads):
            l.undefined(op, "ceil_mode without padding and with a size that is not fixed: a window that starts outside "
                            "the input is dropped")  # fmt: skip
        return _Windows(kernel, strides, pads, pads, True)
    end = []
    for size, k, s, pad in zip(spatial, kernel, strides, pads, strict=True):
        count = -(-(size + 2 * pad - k) // s) + 1
        if pad and (count - 1) * s >= size + pad:
            count -= 1
        end.append(max(0, (count - 1) * s + k - size - pad))
    if op.type != "max_pool" and end != pads and not scalar(l, op, "exclude_padding_from_average", False):
        l.undefined(op, "ceil_mode: a window reaches beyond the padding; that part counts as padding, that is as zeros")
    return _Windows(kernel, strides, pads, end, False)
