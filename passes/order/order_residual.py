"""The order of operands, and the form, of residual additions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from coregraft.rewriter.passes import REASSOCIATING, Equivalence, Match, OpBuilder, OpView, Rule, ValueView
from coregraft.rewriter.types import Array

#: Largest finite half-precision number: a clip there is the identity for finite data.
HALF_MAX = 65504.0
_DEPTH = 16

Form = Literal["swap", "duplicate", "barrier", "absorb", "concat"]


@dataclass(frozen=True)
class OrderResidual(Rule):
    """Put the convolution branch of a residual addition first, or write the addition in a sturdier form.

    What it does
    ------------
    Finds additions of a value and of a convolution branch that starts at the same value (or, for ``concat``, at any
    other), and rewrites them in the chosen form: ``swap`` puts the convolution branch first; ``duplicate`` computes the
    activation twice, spelled Relu and Max, so that the copies are not merged again; ``barrier`` puts a Clip at the
    largest half-precision number on the skip path; ``absorb`` adds the identity to the centre tap of the convolution,
    so that the addition disappears; ``concat`` turns ``conv(a) + b`` into one convolution of the concatenation.

    Why it matters
    --------------
    Outputs have been seen to depend on whether activation and convolution or the residual sum came first. The likely
    cause is a fused conv-activation-add whose residual operand shares the buffer of an activation run in place. Not
    measured here: one founding report, no public one matches exactly. The swap is free and on by default; the others
    are for trying out on a device.

    Example
    -------
    ``Add(r, Conv(r, w))`` with ``r = Relu(x)`` becomes ``Add(Conv(r, w), r)``.

    Equivalence
    -----------
    Bit-exact for ``swap`` and, on finite half-precision data, for ``duplicate`` and ``barrier``; reassociating for
    ``absorb`` and ``concat``, and declared as such for all.

    Options
    -------
    ``form``: one of swap, duplicate, barrier, absorb, concat.

    Sources
    -------
    Hazard catalogue H2.07 (R1 to R5).
    """

    code: ClassVar[str] = "CG207"
    equivalence: ClassVar[Equivalence] = REASSOCIATING
    form: Form = "swap"

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        return op.Add(a, b)

    def where(self, m: Any) -> Any:
        """The capture order is chosen here: ``a`` must be the skip path, ``b`` the convolution branch."""
        branch = m.b.producer
        if m.a.is_const or m.b.is_const or m.a == m.b or m.a.dtype is None or not m.a.dtype.is_float:
            return m.no("not an addition of two computed floating-point values")
        if branch is None or (self.form != "concat" and not _has_conv(m.b, m.a)):
            return m.no("no operand is a convolution branch of the other")
        if m.a.static_shape is None or m.a.static_shape != m.b.static_shape:
            return m.no("the operands are broadcast, or their shapes are not static")
        return bool(_FORMS[self.form][0](m)) or m.no("the form {} does not apply here", self.form)

    def replacement(self, op: OpBuilder, m: Any) -> Any:
        return _FORMS[self.form][1](op, m)

    def finding(self, m: Any) -> str:
        return f"residual sum of {m.a.name} and a convolution branch from there: outputs may depend on the order"


def _has_conv(value: ValueView, source: ValueView) -> bool:
    """Whether ``value`` is computed from ``source`` through a convolution, within a few ops."""
    todo, seen = deque([(value, False, 0)]), set()
    while todo:  # the nearest first: the depth at which a value is seen is its least
        at, through, depth = todo.popleft()
        op = at.producer
        if at == source and through:
            return True
        if op is None or depth > _DEPTH or (at.name, through) in seen:
            continue
        seen.add((at.name, through))
        through = through or op.type in ("Conv", "ConvTranspose")
        todo.extend((v, through, depth + 1) for v in op.inputs if v is not None and not v.is_const)
    return False


def _swap_applies(m: Match) -> bool:
    return bool(m.root.inputs[0] == m.a)


def _swap(op: OpBuilder, m: Match) -> Any:
    return op.Add(m.b, m.a)


def _is_relu(v: ValueView) -> bool:
    return v.producer is not None and v.producer.type == "Relu" and len(v.users) > 1


def _duplicate(op: OpBuilder, m: Match) -> Any:
    relu: OpView = m.a.producer
    return op.Add(m.b, op.Max(relu.inputs[0], 0.0))


def _barrier_applies(m: Match) -> bool:
    return m.a.producer is None or m.a.producer.type != "Clip"


def _barrier(op: OpBuilder, m: Match) -> Any:
    return op.Add(m.b, op.Clip(m.a, -HALF_MAX, HALF_MAX))


def _plain_conv(v: ValueView) -> OpView | None:
    """The Conv with constant weights that computes a value nobody else reads, else None."""
    conv = v.producer
    if conv is None or conv.type != "Conv" or len(v.users) > 1 or v.is_output:
        return None
    constant = all(i is None or i.is_const for i in conv.inputs[1:])
    return conv if constant and int(conv.attr("group")) == 1 else None


def _diagonal(weights: Array, conv: OpView) -> tuple[Any, ...]:
    """The index of the weights that carry each channel to itself through the centre tap."""
    channels = np.arange(weights.shape[0])
    return (channels, channels, *(_centre(conv) or ()))


def _centre(conv: OpView) -> tuple[int, ...] | None:
    """The tap that reads the output's own position, when the Conv keeps the size with stride 1; else None."""
    x, weight, *_ = conv.inputs
    y = conv.outputs[0]
    if x is None or x.static_shape is None or y is None or y.static_shape is None:
        return None
    assert weight is not None and weight.static_shape is not None
    kernel = weight.static_shape[2:]
    strides = conv.attr("strides") or (1,) * len(kernel)
    dilations = conv.attr("dilations") or (1,) * len(kernel)
    pads = conv.attr("pads") or (0,) * (2 * len(kernel))
    if x.static_shape[2:] != y.static_shape[2:] or any(s != 1 for s in strides) or conv.attr("auto_pad") != "NOTSET":
        return None
    if any(pad % d for pad, d in zip(pads, dilations, strict=False)):  # the begins: they come first
        return None
    taps = tuple(pad // d for pad, d in zip(pads, dilations, strict=False))
    return taps if all(0 <= t < k for t, k in zip(taps, kernel, strict=True)) else None


def _absorb_applies(m: Match) -> bool:
    conv = _plain_conv(m.b)
    if conv is None or conv.inputs[0] != m.a or _centre(conv) is None:
        return False
    shape = conv.inputs[1].static_shape  # type: ignore[union-attr]
    return bool(shape[0] == shape[1])  # type: ignore[index]


def _absorb(op: OpBuilder, m: Match) -> Any:
    conv = _plain_conv(m.b)
    assert conv is not None
    w = np.array(conv.inputs[1].array())  # type: ignore[union-attr]
    w[_diagonal(w, conv)] += 1
    return op.Conv(m.a, w, *conv.inputs[2:], **conv.attrs)


def _concat_applies(m: Match) -> bool:
    conv = _plain_conv(m.b)
    return conv is not None and _centre(conv) is not None


def _concat(op: OpBuilder, m: Match) -> Any:
    conv = _plain_conv(m.b)
    assert conv is not None
    w = conv.inputs[1].array()  # type: ignore[union-attr]
    identity = np.zeros((w.shape[0], w.shape[0], *w.shape[2:]), w.dtype)
    identity[_diagonal(w, conv)] = 1
    both = op.Concat(conv.inputs[0], m.a, axis=1)
    return op.Conv(both, np.concatenate([w, identity], axis=1), *conv.inputs[2:], **conv.attrs)


_FORMS: dict[str, tuple[Any, Any]] = {
    "swap": (_swap_applies, _swap),
    "duplicate": (lambda m: _is_relu(m.a), _duplicate),
    "barrier": (_barrier_applies, _barrier),
    "absorb": (_absorb_applies, _absorb),
    "concat": (_concat_applies, _concat),
}
