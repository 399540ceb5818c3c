"""Formulas written for numpy arrays, built as ops: what a rule computes of constants, computed of run-time values.

One text serves both, so the order of operations, and with it the rounding, cannot differ between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from coregraft.passes.decompose._base import ints
from coregraft.rewriter.passes import OpBuilder, ValueView
from coregraft.rewriter.types import Array, DType

#: The op that computes what a ufunc does.
_OPS: dict[np.ufunc, str] = {
    np.absolute: "Abs", np.add: "Add", np.ceil: "Ceil", np.divide: "Div", np.floor: "Floor",
    np.greater: "Greater", np.greater_equal: "GreaterOrEqual", np.less: "Less", np.less_equal: "LessOrEqual",
    np.logical_or: "Or", np.bitwise_or: "Or", np.equal: "Equal", np.maximum: "Max", np.minimum: "Min",
    np.multiply: "Mul", np.subtract: "Sub",
}  # fmt: skip


class Expression(np.lib.mixins.NDArrayOperatorsMixin):
    """A value that is computed at run time, for numpy's arithmetic: every operation inserts the op that does it.

    Floating-point constants among the operands are taken in fp32, the type that expressions have.
    """

    def __init__(self, op: OpBuilder, value: ValueView) -> None:
        self.op = op
        self.value = value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc not in _OPS:
            return NotImplemented
        return self._made(_OPS[ufunc], *operands)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        return self._made("Where", *args) if function is np.where and not kwargs else NotImplemented

    def __getitem__(self, where: slice | tuple[slice, slice]) -> Expression:
        """Elements of a vector, or columns of a matrix: ``v[2:3]``, ``m[:, :4]``."""
        part = where if isinstance(where, slice) else where[1]
        axis = 0 if isinstance(where, slice) else 1
        start = part.start or 0
        end = np.iinfo(np.int64).max if part.stop is None else part.stop
        found = self.op.Slice(self.value, ints(self.op, [start]), ints(self.op, [end]), ints(self.op, [axis]))
        return Expression(self.op, found)

    @property
    def T(self) -> Expression:  # noqa: N802  # numpy's name
        return Expression(self.op, self.op.Transpose(self.value, perm=[1, 0]))

    def reshape(self, *shape: int) -> Expression:
        return Expression(self.op, self.op.Reshape(self.value, ints(self.op, shape)))

    def astype(self, dtype: Any) -> Expression:
        wanted = DType.of(dtype)
        if self.value.dtype is wanted:
            return self
        return Expression(self.op, self.op.Cast(self.value, to=int(wanted)))

    def sum(self, axis: int, keepdims: bool) -> Expression:
        return Expression(self.op, self.op.ReduceSum(self.value, ints(self.op, [axis]), keepdims=int(keepdims)))

    def min(self) -> Expression:
        return Expression(self.op, self.op.ReduceMin(self.value, ints(self.op, [0]), keepdims=1))

    def max(self) -> Expression:
        return Expression(self.op, self.op.ReduceMax(self.value, ints(self.op, [0]), keepdims=1))

    def _made(self, op_type: str, *operands: Any) -> Expression:
        return Expression(self.op, getattr(self.op, op_type)(*(self._operand(o) for o in operands)))

    def _operand(self, operand: Any) -> ValueView:
        if isinstance(operand, Expression):
            return operand.value
        array = np.asarray(operand)
        return self.op.const(array if array.dtype == bool else array.astype(np.float32))


def value(op: OpBuilder, of: Array | Expression) -> ValueView:
    """An expression's value, or a constant of the array."""
    return of.value if isinstance(of, Expression) else op.const(np.ascontiguousarray(of))
