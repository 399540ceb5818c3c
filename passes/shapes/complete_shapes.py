"""Sizes that only the results of a model tell, worked out from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.passes import Context, Fact, Pass
from coregraft.rewriter.types import TensorType

_SAME_SHAPE = """
    Abs Acos Acosh Asin Asinh Atan Atanh Cast CastLike Ceil Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish
    Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign
    Sqrt Swish Tan Tanh
"""
_BROADCAST = "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Mod Mul Or Pow Sub Xor"
#: Ops whose result has the shape of their first operand.
_UNARY = frozenset(_SAME_SHAPE.split())
#: Ops of two operands that broadcast.
_BINARY = frozenset(_BROADCAST.split())


@dataclass(frozen=True)
class CompleteShapes(Pass):
    """Give values whose shape is not known that of the result which is computed from them element by element.

    What it does
    ------------
    Goes through the ops from last to first. Where the result of an element-wise op has a shape, so has its operand:
    the only one, or the one beside a single number. Only dims that inference left open are filled in.

    Why it matters
    --------------
    Where a parameter is computed at run time, inference gives up, although the model declares what comes out in the
    end. With the shapes in between, ``bind-parameters`` and its like know what the parameter must be.

    Example
    -------
    ``t = ReduceSum(x, axes)``, ``y: float[2,1] = Log(t)``: ``t`` becomes ``float[2,1]``.

    Equivalence
    -----------
    Bit-exact: only types change.

    Sources
    -------
    H5.08; the broadcasting rules of ONNX.
    """

    requires: ClassVar[frozenset[Fact]] = frozenset({Fact.TYPED})

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        for op_id in reversed(g.topological()):
            op = g.op(op_id)
            found = g.tensor_type(op.outputs[0]) if op.domain == "" and op.outputs and op.outputs[0] else None
            if found is None or found.static_shape is None:
                continue
            value = _shaped_alike(g, op)
            kind = None if value is None else g.tensor_type(value)
            if value is None or kind is None or kind.static_shape is not None:
                continue
            if _fits(kind, found.static_shape):
                rw.set_type(value, TensorType(kind.dtype, found.static_shape))


def _shaped_alike(g: Graph, op: Op) -> str | None:
    """The operand that has the shape of the result, if it can be told which."""
    if op.type in _UNARY:
        return op.inputs[0]
    if op.type not in _BINARY:
        return None
    single = [v for v in op.inputs if _is_single(g.tensor_type(v))]
    others = [v for v in op.inputs if v not in single]
    return others[0] if len(single) == 1 and len(others) == 1 else None


def _is_single(kind: TensorType | None) -> bool:
    """Whether a value is one number whose dims, if any, add none to the result's: a scalar or a vector of one."""
    return kind is not None and kind.static_shape in ((), (1,))


def _fits(kind: TensorType, shape: tuple[int, ...]) -> bool:
    """Whether a type with open dims can have a shape; a vector beside a scalar may not be of rank 0."""
    if kind.shape is None:
        return bool(shape)
    return len(kind.shape) == len(shape) and all(
        not isinstance(have, int) or have == want for have, want in zip(kind.shape, shape, strict=True)
    )
