"""Remove ops that return what they were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Op
from coregraft.rewriter.rewriter import Rewriter, TypeChangedError
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import Array, Const, DType, TensorType

#: Element types -> those that hold every one of their values exactly, so that a cast there and back is none.
_WIDER: dict[DType, frozenset[DType]] = {
    DType.FLOAT: frozenset({DType.DOUBLE}),
    DType.FLOAT16: frozenset({DType.FLOAT, DType.DOUBLE}),
    DType.BFLOAT16: frozenset({DType.FLOAT, DType.DOUBLE}),
    DType.INT32: frozenset({DType.INT64, DType.DOUBLE}),
    DType.INT16: frozenset({DType.INT32, DType.INT64, DType.FLOAT, DType.DOUBLE}),
    DType.INT8: frozenset({DType.INT16, DType.INT32, DType.INT64, DType.FLOAT16, DType.FLOAT, DType.DOUBLE}),
    DType.UINT8: frozenset({DType.INT16, DType.INT32, DType.INT64, DType.FLOAT16, DType.FLOAT, DType.DOUBLE}),
    DType.BOOL: frozenset({
        DType.INT8, DType.UINT8, DType.INT32, DType.INT64, DType.FLOAT16, DType.FLOAT, DType.DOUBLE,
    }),
}  # fmt: skip


@dataclass(frozen=True)
class EliminateIdentities(Pass):
    """Remove ops that return one of their operands unchanged.

    What it does
    ------------
    Removes Identity, inference-time Dropout (its mask becomes a constant fill), casts to the same type or to a wider
    one and back, and Reshape, Transpose, Pad, Slice, Concat, Expand, Tile, Split, Clip, Where and pooling that change
    nothing; multiplication, division and power by one, addition and subtraction of zero, and logic with a neutral
    constant; Sum, Mean, Max and Min of one operand; sums, means and the like over no axes. A reduction over axes that
    it names loses the attribute that says what an empty list of them means. An output keeps its public name; an
    Identity between an input (or a constant) and an output, or between two outputs, stays, since Core ML needs an op
    there.

    Why it matters
    --------------
    Such ops hide the patterns that fusions look for, and each costs a pass over the data on the device.

    Example
    -------
    ``Relu(Mul(x, 1.0))`` becomes ``Relu(x)``.

    Equivalence
    -----------
    Bit-exact, signed zeros included: ``x + 0.0`` stays for floats (it makes +0.0 of -0.0), ``x + -0.0`` and
    ``x - 0.0`` go.

    Options
    -------
    ``ignore-signed-zero``: also drop the addition of +0.0 and the subtraction of -0.0.

    Sources
    -------
    Hazard H4.32 (outputs that are inputs). ONNX operator definitions. IEEE 754 for the neutral operands.
    """

    ignore_signed_zero: bool = False

    def run(self, g: Any, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: self._sweep(rw, scope, ctx))

    def _sweep(self, rw: Rewriter, scope: Scope, ctx: Context) -> None:
        g = rw.graph
        candidates = [i for i, op in g.ops() if op.domain == "" and op.type in _FORWARDS]
        for op_id in sorted(candidates, key=g.order_key):
            op = g.op(op_id)
            source = _FORWARDS[op.type](Look(op, scope, self.ignore_signed_zero))
            if source and _may_forward(rw, op, source) and _forward(rw, op_id, source):
                ctx.count(op.type)
        for op_id in [i for i, op in g.ops() if _names_its_axes(op, scope)]:
            rw.update(op_id, attrs={**g.op(op_id).attrs, "noop_with_empty_axes": None})
            ctx.count("named-axes")


@dataclass(frozen=True)
class Look:
    """What the tests below ask of an op: its operands' types and contents."""

    op: Op
    scope: Scope
    ignore_signed_zero: bool = False

    def input(self, index: int) -> str:
        return self.op.inputs[index] if index < len(self.op.inputs) else ""

    def const(self, index: int) -> Const | None:
        return self.scope.const(self.input(index))

    def array(self, index: int) -> Array | None:
        """The content of a small constant operand, else None."""
        const = self.const(index)
        return const.numpy() if const is not None and const.size <= 4096 else None

    def type(self, index: int) -> TensorType | None:
        return self.scope.type(self.input(index)) if self.input(index) else None

    @property
    def result(self) -> TensorType | None:
        return self.scope.graph.tensor_type(self.op.outputs[0])

    def same_shape(self, index: int) -> bool:
        """Whether the result is known to have the shape of an operand, symbolic dims included."""
        a, b = self.type(index), self.result
        return a is not None and b is not None and _equal_shapes(a, b)

    def adds_no_shape(self, index: int, other: int) -> bool:
        """Whether broadcasting operand ``other`` against operand ``index`` leaves the shape of the latter."""
        const, kind = self.const(other), self.type(index)
        if const is None or kind is None or kind.shape is None or len(const.shape) > len(kind.shape):
            return False
        tail = kind.shape[len(kind.shape) - len(const.shape) :]
        return all(d in (1, t) for d, t in zip(const.shape, tail, strict=True))


Forward = Callable[[Look], "str | None"]


def _equal_shapes(a: TensorType, b: TensorType) -> bool:
    return a.shape is not None and a.shape == b.shape and None not in a.shape


# -------------------------------------------------------------------- what is forwarded: one function a kind


def _first(look: Look) -> str | None:
    return look.input(0)


def _only(look: Look) -> str | None:
    return look.input(0) if len(look.op.inputs) == 1 else None


def _dropout(look: Look) -> str | None:
    training = look.input(2)
    if not training:
        return look.input(0)
    flag = look.array(2)
    return look.input(0) if flag is not None and not flag.any() else None


def _cast(look: Look) -> str | None:
    source = look.type(0)
    if source is None:
        return None
    target = look.op.attrs.get("to") if look.op.type == "Cast" else t.dtype if (t := look.type(1)) else None
    if target is None:
        return None
    if target == source.dtype:
        return look.input(0)
    g = look.scope.graph
    before = g.producer(look.input(0)) if look.input(0) in g else None
    if before is None or g.op(before).type != "Cast" or g.op(before).domain:
        return None
    inner = g.op(before).inputs[0]
    kind = look.scope.type(inner)
    if kind is not None and kind.dtype == target and source.dtype in _WIDER.get(kind.dtype, ()):
        return inner
    return None


def _same_shape(look: Look) -> str | None:
    """Reshape and the like keep the elements in order: the same shape is the same tensor."""
    return look.input(0) if look.same_shape(0) else None


def _squeeze(look: Look) -> str | None:
    axes = look.array(1)
    return look.input(0) if (axes is not None and axes.size == 0) or look.same_shape(0) else None


def _transpose(look: Look) -> str | None:
    perm, kind = attr(look.op, "perm"), look.type(0)
    if perm is None:
        return look.input(0) if kind is not None and kind.rank in (0, 1) else None
    return look.input(0) if list(perm) == list(range(len(perm))) else None


def _pad(look: Look) -> str | None:
    pads = look.array(1)
    return look.input(0) if pads is not None and not pads.any() else None


def _slice(look: Look) -> str | None:
    steps = look.array(4)
    if look.input(4) and (steps is None or (steps < 1).any()):
        return None
    if look.same_shape(0):
        return look.input(0)
    starts, ends = look.array(1), look.array(2)
    if starts is None or ends is None or starts.any() or (steps is not None and (steps != 1).any()):
        return None
    return look.input(0) if (ends >= np.iinfo(np.int32).max).all() else None


def _expand(look: Look) -> str | None:
    if look.same_shape(0):
        return look.input(0)
    shape, kind = look.array(1), look.type(0)
    if shape is None or kind is None or kind.rank is None:
        return None
    return look.input(0) if shape.size <= kind.rank and (shape == 1).all() else None


def _tile(look: Look) -> str | None:
    repeats = look.array(1)
    return look.input(0) if repeats is not None and (repeats == 1).all() else None


def _split(look: Look) -> str | None:
    return look.input(0) if len(look.op.outputs) == 1 else None


def _clip(look: Look) -> str | None:
    return look.input(0) if not any(look.op.inputs[1:]) else None


def _pool(look: Look) -> str | None:
    ones = (attr(look.op, name) or () for name in ("kernel_shape", "strides"))
    if len(look.op.outputs) > 1 or any(n != 1 for values in ones for n in values) or any(attr(look.op, "pads") or ()):
        return None
    return look.input(0)


def _where(look: Look) -> str | None:
    condition = look.array(0)
    if condition is None or condition.size == 0:
        return None
    chosen = 1 if condition.all() else 2 if not condition.any() else 0
    return look.input(chosen) if chosen and look.same_shape(chosen) else None


def _over_no_axes(look: Look) -> str | None:
    if not attr(look.op, "noop_with_empty_axes"):
        return None
    axes = look.array(1)
    return look.input(0) if not look.input(1) or (axes is not None and axes.size == 0) else None


def _names_its_axes(op: Op, scope: Scope) -> bool:
    """Whether a reduction says what an empty list of axes means, and has another one."""
    if op.domain or not op.attrs.get("noop_with_empty_axes") or len(op.inputs) < 2:
        return False
    axes = scope.const(op.inputs[1])
    return axes is not None and axes.size > 0


def _neutral(indices: Sequence[int], is_neutral: Callable[[Look, Array], bool]) -> Forward:
    """A binary op of which an operand (one of ``indices``) is a neutral constant that adds no shape."""

    def test(look: Look) -> str | None:
        for neutral in indices:
            array = look.array(neutral)
            other = 1 - neutral
            if array is not None and array.size and is_neutral(look, array) and look.adds_no_shape(other, neutral):
                return look.input(other)
        return None

    return test


def _is_one(look: Look, array: Array) -> bool:
    return bool((array == 1).all())


def _is_zero(sign: bool) -> Callable[[Look, Array], bool]:
    """Zeros that change nothing: of the given sign for floats, any for integers."""

    def test(look: Look, array: Array) -> bool:
        if (array != 0).any():
            return False
        if look.ignore_signed_zero or not DType.of(array.dtype).is_float:
            return True
        return bool((np.signbit(array) == sign).all())

    return test


_FORWARDS: dict[str, Forward] = {
    "Add": _neutral((0, 1), _is_zero(sign=True)),
    "And": _neutral((0, 1), lambda _, a: bool(a.all())),
    "AveragePool": _pool,
    "Cast": _cast,
    "CastLike": _cast,
    "Clip": _clip,
    "Concat": _only,
    "Div": _neutral((1,), _is_one),
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _same_shape,
    "Identity": _first,
    "Max": _only,
    "MaxPool": _pool,
    "Mean": _only,
    "Min": _only,
    "Mul": _neutral((0, 1), _is_one),
    "Or": _neutral((0, 1), lambda _, a: not a.any()),
    "Pad": _pad,
    "Pow": _neutral((1,), _is_one),
    "ReduceMax": _over_no_axes,
    "ReduceMean": _over_no_axes,
    "ReduceMin": _over_no_axes,
    "ReduceProd": _over_no_axes,
    "ReduceSum": _over_no_axes,
    "Reshape": _same_shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _neutral((1,), _is_zero(sign=False)),
    "Sum": _only,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _squeeze,
    "Where": _where,
    "Xor": _neutral((0, 1), lambda _, a: not a.any()),
}


# -------------------------------------------------------------------- putting it into the graph


def _may_forward(rw: Rewriter, op: Op, source: str) -> bool:
    """Whether the users of the result can read ``source`` instead, and an output keep a value of its own."""
    g, result = rw.graph, op.outputs[0]
    if not g.public_names(result):
        return True
    return g.producer(source) is not None and not g.public_names(source)


def _forward(rw: Rewriter, op_id: int, source: str) -> bool:
    g, op = rw.graph, rw.graph.op(op_id)
    kind = g.type_of(op.outputs[0])
    try:
        rw.replace_uses(op.outputs[0], source)
    except TypeChangedError:  # the model declares a type that the operand does not have
        return False
    if g.type_of(source) is None:
        rw.set_type(source, kind)
    if len(op.outputs) > 1 and op.outputs[1]:  # the mask of a Dropout
        rw.at([op_id], "EliminateIdentities")
        everything = rw.insert("ConstantOfShape", [rw.insert("Shape", [source])], {"value": Const.of(np.array([True]))})
        rw.replace_uses(op.outputs[1], everything)
    rw.erase(op_id)
    return True
