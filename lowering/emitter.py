"""What an emitter works with: the values of the graph as MIL vars, and the checks that keep emitters honest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from coregraft.lowering.names import Names
from coregraft.lowering.partial import forget_part
from coregraft.lowering.registry import Lowering
from coregraft.lowering.sizes import Size, is_known, sizes_of
from coregraft.rewriter import schema
from coregraft.rewriter.errors import CoregraftError, UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.target import ORDER, Target, unhonoured
from coregraft.rewriter.types import Array, Const, DType, TensorType

#: What Core ML computes in, by ONNX element type (H4.01). Anything absent cannot be lowered.
CANONICAL: dict[DType, DType] = {
    DType.FLOAT: DType.FLOAT, DType.DOUBLE: DType.FLOAT, DType.BFLOAT16: DType.FLOAT,
    DType.FLOAT16: DType.FLOAT16, DType.BOOL: DType.BOOL,
    DType.INT64: DType.INT32, DType.INT32: DType.INT32, DType.INT16: DType.INT32, DType.INT8: DType.INT32,
    DType.UINT64: DType.INT32, DType.UINT32: DType.INT32, DType.UINT16: DType.INT32, DType.UINT8: DType.INT32,
    DType.INT4: DType.INT32, DType.UINT4: DType.INT32, DType.INT2: DType.INT32, DType.UINT2: DType.INT32,
}  # fmt: skip

#: coremltools' spelling of the canonical element types (``mb.cast(dtype=…)``).
MIL_NAMES: dict[DType, str] = {DType.FLOAT: "fp32", DType.FLOAT16: "fp16", DType.INT32: "int32", DType.BOOL: "bool"}

_INT32 = np.iinfo(np.int32)
#: What coremltools raises when it does not take what it is given.
BUILDER_ERRORS = (
    ValueError, TypeError, NotImplementedError, AssertionError, LookupError, AttributeError, ArithmeticError,
)  # fmt: skip

#: Emits an op that its lowering refuses, or that has none; the error says why.
Fallback = Callable[["Emitter", Op, UnsupportedError], Sequence[Any]]
#: Refusals that concern one op and not the model: another rung can take the op.
_REFUSALS = frozenset({"op-no-lowering", "attribute-unsupported", "op-unsupported", "const-needed"})


def canonical(dtype: DType, where: str, *, fp16: bool = True) -> DType:
    """The element type Core ML computes in for an ONNX one; ``fp16``: whether the format has fp16 values at all.

    Raises:
        UnsupportedError: ``dtype-unsupported``: strings, complex numbers, 8- and 4-bit floats.
    """
    found = CANONICAL.get(dtype)
    if found is None:
        raise UnsupportedError(
            "dtype-unsupported", f"Core ML has no {dtype.name.lower()} tensors", node=where,
            hint="fold the value away or cast it to a float or integer type before conversion",
        )  # fmt: skip
    return DType.FLOAT if found is DType.FLOAT16 and not fp16 else found


def canonical_array(array: Array, where: str, *, fp16: bool = True) -> Array:
    """An array in the element type Core ML computes in; the same object when it already is.

    ``INT64_MAX`` and ``INT64_MIN``, ONNX's "to the end", become the limits of int32.

    Raises:
        UnsupportedError: ``dtype-unsupported``; ``int64-overflow`` for an integer that int32 cannot hold.
    """
    wanted = canonical(DType.of(array.dtype), where, fp16=fp16)
    if array.dtype == wanted.numpy:
        return array
    if wanted is not DType.INT32:
        with np.errstate(over="ignore"):  # fp64 beyond fp32 is inf by the rules of the cast
            return array.astype(wanted.numpy)
    if array.dtype.itemsize >= 4 and array.size:
        inside = (array >= _INT32.min) & (array <= _INT32.max)
        if array.dtype == np.int64:
            limits = np.iinfo(np.int64)
            inside |= (array == limits.max) | (array == limits.min)
        if not inside.all():
            raise UnsupportedError(
                "int64-overflow", f"{array[~inside].ravel()[0]} does not fit into int32, Core ML's widest integer",
                node=where, hint="use a smaller constant, or a float if it is a quantity",
            )  # fmt: skip
        array = np.clip(array, _INT32.min, _INT32.max)
    return array.astype(np.int32)


@dataclass(slots=True)
class _Scope:
    """A graph that is being emitted: the function itself, or a body inside an op's block."""

    graph: Graph
    vars: dict[str, Any] = field(default_factory=dict)


class Emitter:
    """The state of one lowering, handed to every emitter.

    Attributes:
        mb: coremltools' MIL builder; ops go to the block that is open.
        target: what is lowered for.
        names: the names given out so far.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        table: Mapping[tuple[str, str], Lowering],
        names: Names,
        fallback: Fallback | None = None,
    ) -> None:
        from coremltools.converters.mil.mil import Builder

        self.mb: Any = Builder
        self.target = target
        self.names = names
        self._table = table
        self._fallback = fallback
        self._scopes = [_Scope(graph)]
        self._reserved: dict[str, str] = {}

    # ---------------------------------------------------------------- what an emitter asks

    def var(self, name: str) -> Any:
        """The MIL var of an ONNX value; None for an omitted operand. A constant is emitted at its first use and shared.

        Raises:
            UnsupportedError: ``int64-overflow`` or ``dtype-unsupported`` for a constant Core ML cannot hold.
        """
        if not name:
            return None
        for scope in reversed(self._scopes):
            if name in scope.vars:
                return scope.vars[name]
            if name in scope.graph.nodes and scope.graph.const(name) is not None:
                break  # a constant of a body may have the name of a value around it
        const = self._holder(name)[1]
        if const is None:
            raise CoregraftError("lowering-order", f'value "{name}" is used before it is emitted', node=name)
        array = canonical_array(const.numpy(), name, fp16=self.target.has_fp16)
        content = np.ascontiguousarray(array) if array.ndim else array[()]
        var = self.mb.const(val=content, name=self.names.take(name))
        self.bind(name, var)  # in the innermost scope: a const inside a block cannot be seen outside of it
        return var

    def const(self, name: str) -> Array | None:
        """The content of a value, in ONNX's own element type, when it is known at compile time; else None."""
        if not name:
            return None
        const = self._holder(name)[1]
        return None if const is None else const.numpy()

    def need_const(self, op: Op, i: int, what: str) -> Array | None:
        """The content of operand ``i``, None when it is omitted.

        Raises:
            UnsupportedError: ``const-needed`` when it is computed at run time.
        """
        if i >= len(op.inputs) or not op.inputs[i]:
            return None
        array = self.const(op.inputs[i])
        if array is None:
            raise UnsupportedError(
                "const-needed", f"{what} must be known at compile time", node=op.label,
                hint="it depends on the data: make it a constant, or compute it before the model",
            )  # fmt: skip
        return array

    def type(self, name: str) -> TensorType:
        """The type of a value as the graph has it (ONNX element type, shape maybe with unknown dims).

        Raises:
            UnsupportedError: ``type-unknown`` for a value without a tensor type.
        """
        found = self._holder(name)[0].graph.tensor_type(name)
        if found is None:
            raise type_unknown(name)
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value: what the graph says of it, else what MIL made of it.

        Raises:
            UnsupportedError: ``shape-unknown`` when a dim is not a number.
        """
        kind = self.type(name)
        if kind.static_shape is not None:
            return kind.static_shape
        var = self._bound(name)
        sizes = [] if var is None else _merged(kind, var)
        if var is None or not all(map(is_known, sizes)):
            raise _shape_unknown(name, kind)
        return tuple(sizes)

    def sizes(self, name: str) -> list[Size]:
        """The sizes of a value that has been emitted: numbers as far as graph or MIL know them, else loose ones."""
        kind = self.type(name)
        return _merged(kind, self.var(name)) if kind.static_shape is None else list(kind.static_shape)

    def known_sizes(self, name: str, axes: Sequence[int]) -> list[int]:
        """The sizes of a value on some axes; those of the others may depend on the data.

        Raises:
            UnsupportedError: ``shape-unknown``.
        """
        sizes = self.sizes(name)
        found = [sizes[axis] for axis in axes]
        if not all(map(is_known, found)):
            raise _shape_unknown(name, self.type(name))
        return found

    def rank(self, name: str) -> int:
        """The rank of a value.

        Raises:
            UnsupportedError: ``shape-unknown``.
        """
        kind = self.type(name)
        if kind.rank is not None:
            return kind.rank
        var = self._bound(name)
        if var is None:
            raise _shape_unknown(name, kind)
        return len(var.shape)

    def producer(self, name: str) -> Op | None:
        """The op that defines a value; None for inputs and constants."""
        graph = self._holder(name)[0].graph
        op_id = graph.producer(name)
        return None if op_id is None else graph.op(op_id)

    def dtype(self, name: str) -> DType:
        """The element type that a value has in Core ML: FLOAT, FLOAT16, INT32 or BOOL."""
        return self.canonical(self.type(name).dtype, name)

    def canonical(self, dtype: DType, where: str) -> DType:
        """The element type Core ML computes in for an ONNX one: FLOAT, FLOAT16, INT32 or BOOL.

        Raises:
            UnsupportedError: ``dtype-unsupported``.
        """
        return canonical(dtype, where, fp16=self.target.has_fp16)

    def attr(self, op: Op, name: str) -> Any:
        """The value of an attribute, else its schema default, else None."""
        return schema.attr(op, name)

    def name(self, op: Op, i: int = 0) -> str:
        """The MIL name of result ``i`` of an op: the same at every call."""
        output = op.outputs[i] if i < len(op.outputs) else ""
        if not output:
            return self.names.take(f"{op.name or op.type}_{i}")
        found = self._reserved.get(output)
        if found is None:
            found = self._reserved[output] = self.names.take(output)
        return found

    def since(self, target: str) -> bool:
        """Whether MIL ops of a deployment target may be used; never true of a newer one in a neuralnetwork."""
        if self.target.format == "neuralnetwork":
            return False
        return ORDER.index(self.target.name) >= ORDER.index(target)

    @property
    def opset(self) -> Any:
        """The MIL opset (a ``coremltools.target``)."""
        return mil_opset(self.target)

    def refuse(self, op: Op, reason: str, hint: str | None = None) -> NoReturn:
        """Give up on an op.

        Raises:
            UnsupportedError: ``op-unsupported``, always.
        """
        raise UnsupportedError("op-unsupported", f"{op.label}: {reason}", node=op.label, hint=hint)

    def body(self, graph: Graph, arguments: Sequence[Any] = ()) -> list[Any]:
        """Emit a body (of If, Loop, Scan) into the block that is open, and return the vars of its outputs in order.

        Args:
            graph: the body; it sees the values of the graphs around it.
            arguments: the vars of its inputs.
        """
        with self._entered(graph):
            for name, var in zip(graph.inputs, arguments, strict=True):
                self.bind(name, var)
            self.run()
            return [self.var(value) for value in graph.outputs.values()]

    # ---------------------------------------------------------------- the machine

    def reserve(self, value: str, name: str) -> None:
        """Fix the MIL name of a value before it is emitted."""
        self._reserved[value] = name

    def emitted(self) -> Mapping[str, Any]:
        """The vars of the values of the outermost graph that have been emitted so far."""
        return MappingProxyType(dict(self._scopes[0].vars))

    def bind(self, name: str, var: Any) -> None:
        """Make a MIL var the content of a value of the graph that is being emitted."""
        self._scopes[-1].vars[name] = var

    def run(self) -> None:
        """Emit every op of the innermost graph in topological order.

        Raises:
            UnsupportedError: as :meth:`emit`. All ops that are refused are named at once; those that depend on one
                are not tried.
        """
        graph = self._scopes[-1].graph
        refusals: list[UnsupportedError] = []
        lost: set[str] = set()
        for op_id in graph.topological():
            op = graph.op(op_id)
            if not lost.isdisjoint(op.operands):
                lost.update(filter(None, op.outputs))
                continue
            try:
                self.emit(op)
            except UnsupportedError as error:
                if error.code not in _REFUSALS:
                    raise
                refusals.append(error)
                lost.update(filter(None, op.outputs))
        if refusals:
            raise _together(refusals)

    def emit(self, op: Op) -> None:
        """Emit one op and check the result against the graph.

        Raises:
            UnsupportedError: ``op-no-lowering``; ``attribute-unsupported``; ``lowering-failed`` when coremltools
                does not take what the emitter gave it; and what the emitter raises.
            CoregraftError: ``lowering-type-mismatch``, a bug in the emitter.
        """
        try:
            result = self._lowering(op).emit(self, op)
        except UnsupportedError as error:
            if self._fallback is None or error.code not in _REFUSALS:
                raise
            result = self._fallback(self, op, error)  # what the emitter has left behind is dead code
        except BUILDER_ERRORS as error:
            raise UnsupportedError("lowering-failed", f"{op.label}: {error}", node=op.label) from error
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        for i, output in enumerate(op.outputs):
            if not output:
                continue
            var = results[i] if i < len(results) else None
            if var is None:
                graph = self._scopes[-1].graph
                if graph.users(output) or graph.public_names(output):
                    raise _mismatch(op, f"result {i} was not emitted")
                continue
            self._check(op, output, var)
            if var.name not in self.names and var.op is not None and len(var.op.outputs) > 1:
                var.set_name(self.name(op, i))  # the builder derives the names of several results from the op's
            forget_part(var)
            self.bind(output, var)

    def _bound(self, name: str) -> Any:
        """The var of a value that has been emitted, else None."""
        return next((scope.vars[name] for scope in reversed(self._scopes) if name in scope.vars), None)

    def _lowering(self, op: Op) -> Lowering:
        found = self._table.get(op.key)
        if found is None:
            raise UnsupportedError("op-no-lowering", f"{op.label} has no lowering for {self.target}", node=op.label)
        if wrong := unhonoured(op, found.attrs):
            name, value = min(wrong.items())
            problem = f"{op.label}: {name}={value!r} is not honoured for {self.target}"
            raise UnsupportedError("attribute-unsupported", problem, node=op.label)
        return found

    def _check(self, op: Op, output: str, var: Any) -> None:
        kind = self._scopes[-1].graph.tensor_type(output)
        if kind is None:
            return
        wanted = MIL_NAMES[self.canonical(kind.dtype, op.label)]
        found = mil_dtype(var)
        if found != wanted:
            raise _mismatch(op, f'"{output}" is {found} in MIL and {wanted} in the graph')
        if kind.shape is None:
            return
        shape = tuple(var.shape)
        if len(shape) != len(kind.shape) or any(
            isinstance(want, int) and isinstance(have, (int, np.integer)) and int(have) != want
            for have, want in zip(shape, kind.shape, strict=True)
        ):
            raise _mismatch(op, f'"{output}" has shape {shape} in MIL and is {kind} in the graph')

    def _holder(self, name: str) -> tuple[_Scope, Const | None]:
        """The scope that defines a value, and its content if it is a constant."""
        for scope in reversed(self._scopes):
            graph = scope.graph
            if name not in graph.nodes:
                continue
            const = graph.const(name)
            if const is not None or name in scope.vars or graph.producer(name) is not None:
                return scope, const
        for scope in reversed(self._scopes):  # an input that is not bound yet, or a value nobody defines
            if name in scope.graph.nodes:
                return scope, None
        raise CoregraftError("lowering-order", f'value "{name}" does not exist', node=name)

    @contextmanager
    def _entered(self, graph: Graph) -> Iterator[None]:
        self._scopes.append(_Scope(graph))
        reserved = dict(self._reserved)
        try:
            yield
        finally:
            self._scopes.pop()
            self._reserved = reserved


def _merged(kind: TensorType, var: Any) -> list[Size]:
    """What the graph knows of the sizes of a value, and of those that it does not, what MIL made of them."""
    found = sizes_of(var)
    return [want if isinstance(want, int) else have for want, have in zip(kind.shape or found, found, strict=True)]


def type_unknown(name: str) -> UnsupportedError:
    """The refusal of a value whose type nobody knows: what makes it is an op that nobody knows, mostly."""
    return UnsupportedError(
        "type-unknown", f'the type of "{name}" is not known, or it is no tensor', node=name,
        hint="say it in the model's value info, or register the op that makes it as a custom layer",
    )  # fmt: skip


def _shape_unknown(name: str, kind: TensorType) -> UnsupportedError:
    return UnsupportedError(
        "shape-unknown", f'the shape of "{name}" is not known at compile time: {kind}', node=name,
        hint="it depends on the data, or an input dim is not pinned (--dim NAME=VALUE)",
    )  # fmt: skip


def _together(refusals: Sequence[UnsupportedError]) -> UnsupportedError:
    """One error for all refusals of a graph."""
    first = refusals[0]
    if len(refusals) == 1:
        return first
    text = f"{len(refusals)} ops cannot be lowered: {'; '.join(error.message for error in refusals)}"
    return UnsupportedError(first.code, text, node=first.node, hint=first.hint)


def _mismatch(op: Op, what: str) -> CoregraftError:
    return CoregraftError("lowering-type-mismatch", f"{op.label}: {what}", node=op.label)


def mil_dtype(var: Any) -> str:
    """coremltools' name of the element type of a var (``fp32``, ``int32``, …)."""
    from coremltools.converters.mil.mil import types

    return str(types.builtin_to_string(var.dtype))


@functools.cache
def mil_opset(target: Target) -> Any:
    """The MIL opset that a target is built with: its own, or iOS 13's for a neuralnetwork."""
    import coremltools

    return coremltools.target.iOS13 if target.format == "neuralnetwork" else coremltools.target[target.name]
