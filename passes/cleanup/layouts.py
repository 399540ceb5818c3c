"""What becomes of an op when the tensors it works on are transposed before it instead of after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coregraft.passes.cleanup.scopes import Scope
from coregraft.rewriter.graph import Op
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import Array

Perm = tuple[int, ...]

_UNARY = frozenset({
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Clip", "Cos",
    "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign",
    "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
})  # fmt: skip
_BROADCAST = frozenset({
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
})  # fmt: skip
_AXIS = frozenset({"Hardmax", "LogSoftmax", "Softmax", "Split", "TopK"})
_REDUCE = frozenset({
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
})  # fmt: skip


@dataclass(frozen=True)
class Flip:
    """An op on the tensors ``x'`` from which its operands come as ``x = Transpose(x', perm)``.

    Attributes:
        streams: indices of the operands that are to be given as ``x'``.
        inputs: operands that change with it, by index: constants.
        attrs: attributes that change with it.
        free: the results are the same as before, instead of being transposed.
    """

    streams: tuple[int, ...]
    inputs: dict[int, Array] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)
    free: bool = False


def flip(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    """How an op follows a transposition of its operands; None when it does not."""
    rule = _RULES.get(op.type) if op.domain == "" else None
    return rule(op, perm, scope) if rule is not None and op.inputs else None


def _rank(scope: Scope, value: str) -> int | None:
    kind = scope.type(value)
    return None if kind is None else kind.rank


def _ints(scope: Scope, op: Op, index: int) -> list[int] | None:
    """The content of a constant operand; None when it is absent or not constant (see :func:`_given`)."""
    const = scope.const(op.inputs[index]) if _given(op, index) else None
    return None if const is None else [int(i) for i in const.numpy().ravel()]


def _given(op: Op, index: int) -> bool:
    return index < len(op.inputs) and bool(op.inputs[index])


def _is_stream(op: Op, perm: Perm, scope: Scope) -> bool:
    return _rank(scope, op.inputs[0]) == len(perm)


def _unary(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    return Flip((0,)) if _is_stream(op, perm, scope) else None


def _broadcast(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    streams: list[int] = []
    constants: dict[int, Array] = {}
    for i, value in enumerate(op.inputs):
        const, rank = scope.const(value), _rank(scope, value)
        if rank is None or rank > len(perm):
            return None
        if const is not None:
            if const.size != 1:
                constants[i] = untransposed(const.numpy(), perm)
        elif rank == len(perm):
            streams.append(i)
        elif rank:
            return None
    return Flip(tuple(streams), constants) if streams else None


def untransposed(array: Array, perm: Perm) -> Array:
    """The array that gives ``array`` when transposed by ``perm``, missing leading axes added."""
    full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return np.ascontiguousarray(full.transpose(np.argsort(perm)))


def _axis(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    if not _is_stream(op, perm, scope):
        return None
    return Flip((0,), attrs={"axis": perm[attr(op, "axis")]})


def _concat(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    if any(_rank(scope, v) != len(perm) for v in op.inputs):
        return None
    constants = {i: untransposed(c.numpy(), perm) for i, v in enumerate(op.inputs) if (c := scope.const(v)) is not None}
    streams = tuple(i for i in range(len(op.inputs)) if i not in constants)
    return Flip(streams, constants, {"axis": perm[op.attrs["axis"]]}) if streams else None


def _slice(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    starts = _ints(scope, op, 1)
    axes = _ints(scope, op, 3) if _given(op, 3) else None if starts is None else list(range(len(starts)))
    kind = scope.type(op.inputs[1])
    if axes is None or kind is None or not _is_stream(op, perm, scope):
        return None
    return Flip((0,), {3: np.array([perm[a] for a in axes], kind.dtype.numpy)})


def _pad(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    if not _is_stream(op, perm, scope):
        return None
    if _given(op, 3):
        axes = _ints(scope, op, 3)
        return None if axes is None else Flip((0,), {3: np.array([perm[a] for a in axes], np.int64)})
    pads = _ints(scope, op, 1)
    if pads is None:
        return None
    back = np.argsort(perm)
    return Flip((0,), {1: np.array(pads, np.int64).reshape(2, -1)[:, back].ravel()})


def _reduce(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    if not _is_stream(op, perm, scope):
        return None
    keep = bool(attr(op, "keepdims"))
    if not _given(op, 1):
        return None if attr(op, "noop_with_empty_axes") else Flip((0,), free=not keep)
    axes = _ints(scope, op, 1)
    if not axes:
        return None
    flipped = Flip((0,), {1: np.array([perm[a] for a in axes], np.int64)}, free=not keep)
    return flipped if keep or _in_order(axes, perm) else None


def _arg_reduce(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    if not _is_stream(op, perm, scope):
        return None
    axis, keep = attr(op, "axis"), bool(attr(op, "keepdims"))
    return Flip((0,), attrs={"axis": perm[axis]}, free=not keep) if keep or _in_order([axis], perm) else None


def _in_order(axes: Sequence[int], perm: Perm) -> bool:
    """Whether the axes that a reduction leaves stand in the same order on both sides of the transposition."""
    gone = {a % len(perm) for a in axes}
    left = [perm[a] for a in range(len(perm)) if a not in gone]
    return left == sorted(left)


def _quantize(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    rank = _rank(scope, op.inputs[1])
    if not _is_stream(op, perm, scope) or attr(op, "block_size") or rank is None or rank > 1:
        return None
    return Flip((0,), attrs={"axis": perm[attr(op, "axis")]} if rank else {})


def _cumsum(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    axis = _ints(scope, op, 1)
    if axis is None or not _is_stream(op, perm, scope):
        return None
    return Flip((0,), {1: np.array(perm[axis[0]], np.int64)})


def _gather(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    if not _is_stream(op, perm, scope) or _rank(scope, op.inputs[1]) != 1:
        return None
    return Flip((0,), attrs={"axis": perm[attr(op, "axis")]})


def _resize(op: Op, perm: Perm, scope: Scope) -> Flip | None:
    """Only towards channels first: that is what Core ML and ONNX Runtime scale."""
    index = 3 if _given(op, 3) else 2
    sizes = scope.const(op.inputs[index]) if _given(op, index) else None
    source, result = scope.type(op.inputs[0]), scope.type(op.outputs[0])
    before = source.static_shape if source is not None else None
    after = result.static_shape if result is not None else None
    if sizes is None or op.attrs.get("axes") or before is None or after is None or len(before) != len(perm):
        return None
    if _given(op, 1) and ((roi := scope.const(op.inputs[1])) is None or roi.size):
        return None
    if any(a != b and perm[i] < 2 for i, (a, b) in enumerate(zip(before, after, strict=True))):
        return None
    return Flip((0,), {index: np.ascontiguousarray(sizes.numpy()[np.argsort(perm)])})


_Rule = Callable[[Op, Perm, Scope], Flip | None]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(sorted(_UNARY), _unary),
    **dict.fromkeys(sorted(_BROADCAST), _broadcast),
    **dict.fromkeys(sorted(_AXIS), _axis),
    **dict.fromkeys(sorted(_REDUCE), _reduce),
    "ArgMax": _arg_reduce,
    "ArgMin": _arg_reduce,
    "Concat": _concat,
    "CumSum": _cumsum,
    "DequantizeLinear": _quantize,
    "Gather": _gather,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "Resize": _resize,
    "Slice": _slice,
}
