"""What an adapter is, what it is given, and the table of all of them.

An adapter takes one op from the form it had before a version to the form of that version. It is registered for
(op type, version); the pass applies the steps between the model's opset and the internal one in order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from coregraft.passes.cleanup.scopes import Scope
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import AttrRef, Floats, Op
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.types import Array, DType, TensorType

#: Returns a note for the record, or None when the op already has the new form and nothing was changed.
Adapter = Callable[["Edit"], "str | None"]

#: The attribute of Constant that holds an attribute of a function, by its ``AttributeProto`` type.
_CONSTANT_OF = {1: "value_float", 2: "value_int", 6: "value_floats", 7: "value_ints"}

ADAPTERS: dict[tuple[str, int], Adapter] = {}


def adapts(version: int, *op_types: str) -> Callable[[Adapter], Adapter]:
    """Register an adapter to ``version`` for op types of ai.onnx."""

    def register(function: Adapter) -> Adapter:
        for op_type in op_types:
            if (op_type, version) in ADAPTERS:
                raise ValueError(f"two adapters for {op_type} {version}")
            ADAPTERS[op_type, version] = function
        return function

    return register


class Edit:
    """One op under upgrade: what is known around it, and the few ways in which adapters change it."""

    def __init__(self, rw: Rewriter, scope: Scope, op_id: int) -> None:
        self.rw = rw
        self.op_id = op_id
        self._scope = scope

    @property
    def op(self) -> Op:
        return self.rw.graph.op(self.op_id)

    def attr(self, name: str, default: Any = None) -> Any:
        """The value of an attribute, ``default`` when it is absent."""
        value = self.op.attrs.get(name, default)
        if isinstance(value, AttrRef):
            self.refuse(f'its "{name}" is a parameter of the function')
        return value

    def operand(self, name: str) -> str:
        """An attribute as an operand: a constant, or what the caller of the function gives; empty when absent."""
        value = self.op.attrs.get(name)
        if value is None:
            return ""
        if isinstance(value, AttrRef):
            return self.insert("Constant", [], **{_CONSTANT_OF[value.type]: value})
        dtype = np.float32 if isinstance(value, (float, Floats)) else np.int64
        return self.rw.const(np.array(value, dtype))

    def input(self, i: int) -> str:
        """The name of an operand; empty when it is omitted."""
        return self.op.inputs[i] if i < len(self.op.inputs) else ""

    def type(self, i: int) -> TensorType | None:
        """The tensor type of an operand, None when it cannot be known (in the body of a function, say)."""
        return self._scope.type(self.input(i))

    def array(self, i: int) -> Array | None:
        """The content of a constant operand, else None."""
        const = self._scope.const(self.input(i))
        return None if const is None else const.numpy()

    def ints(self, values: Sequence[int] | int) -> str:
        """A new int64 constant: a scalar for a number, else a vector."""
        return self.rw.const(np.array(values, np.int64))

    def like(self, scalar: str, i: int) -> str:
        """A float32 scalar as one of the element type of operand ``i``; empty when there is none."""
        kind, const = self.type(i), self.rw.graph.const(scalar)
        if not scalar or (kind is not None and kind.dtype is DType.FLOAT):
            return scalar
        if kind is not None and const is not None:
            return self.rw.const(const.numpy().astype(kind.dtype.numpy))
        return self.insert("CastLike", [scalar, self.input(i)])

    def insert(self, op_type: str, inputs: Sequence[Any], **attrs: Any) -> str:
        """Insert an op of one result before this one."""
        return str(self.rw.insert(op_type, inputs, attrs))

    def change(self, *, type: str | None = None, inputs: Sequence[str] | None = None, **attrs: Any) -> None:
        """Change the op: its type, operands, and single attributes (None takes one away)."""
        kept = {k: v for k, v in {**self.op.attrs, **attrs}.items() if v is not None}
        trimmed = None if inputs is None else _trimmed(inputs)
        self.rw.update(self.op_id, type=type, inputs=trimmed, attrs=kept)

    def replace(self, build: Callable[[], str | Sequence[str]]) -> None:
        """Let what ``build`` inserts take the place, and the names of the results, of the op."""
        self.rw.commit([self.op_id], [o for o in self.op.outputs if o], build)

    def refuse(self, reason: str, hint: str | None = None) -> NoReturn:
        raise UnsupportedError("opset-upgrade", f"cannot be brought to the internal opset: {reason}",
                               node=self.op.label, hint=hint)  # fmt: skip


def _trimmed(inputs: Sequence[str]) -> list[str]:
    names = list(inputs)
    while names and not names[-1]:
        names.pop()
    return names


@functools.cache
def versions() -> dict[str, tuple[int, ...]]:
    """The versions of every op of ai.onnx, oldest first."""
    from onnx import defs

    found: dict[str, set[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, set()).add(schema.since_version)
    return {name: tuple(sorted(numbers)) for name, numbers in sorted(found.items())}


#: Ops that have been withdrawn, with the version since when; files of later opsets are still read as the last form.
WITHDRAWN = {"Scatter": 11, "Upsample": 10}


def since(op_type: str, opset: int) -> int | None:
    """The version of an op that a model of an opset means; None for no op of ai.onnx."""
    end = WITHDRAWN.get(op_type, opset + 1)
    return max((v for v in versions().get(op_type, ()) if v <= opset and v < end), default=None)


def next_version(op_type: str, version: int, last: int) -> int | None:
    """The version that follows, up to ``last``."""
    return min((v for v in versions().get(op_type, ()) if version < v <= last), default=None)
