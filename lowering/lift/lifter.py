"""What the functions that lift ops work with: operands looked up, ONNX ops added, fp16 rounded behind their back.

Values keep their MIL names. Both of MIL's float types are carried as FLOAT: nothing is computed in half precision.
With ``fp16="simulate"`` the lifter rounds each fp16 value once, after the op that computes it; with ``"exact"`` never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import numpy as np

from coregraft.lowering.lift.registry import table
from coregraft.lowering.lift.spec import Block, MilOp, Ref, Slot
from coregraft.rewriter.errors import InputError, UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.target import ORDER
from coregraft.rewriter.types import Array, Const, DType, TensorType

Fp16 = Literal["simulate", "exact"]
#: An operand of an ONNX op: a value, an array to become a constant, or None for one that is left out.
Operand = str | Array | np.generic | None


@dataclass(slots=True)
class Known:
    """What is known of a MIL value: its type, its constant, and its ONNX value once there is one."""

    type: TensorType | None
    value: str | None = None
    const: Const | None = None


@dataclass
class Session:
    """What all lifters of one program share: the options, the warnings so far, and the names in use."""

    opset: str
    strict: bool = False
    fp16: Fp16 = "simulate"
    warnings: dict[str, None] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def fresh(self, hint: str) -> str:
        """A value or op name that no graph of the program has."""
        name, n = hint, 0
        while name in self.taken:
            n += 1
            name = f"{hint}_{n}"
        self.taken.add(name)
        return name


class Lifter:
    """Builds the graph of one block.

    Attributes:
        graph: the ONNX graph so far.
        session: options and warnings of the program.
    """

    def __init__(self, session: Session, parent: Lifter | None = None) -> None:
        self.graph = Graph()
        self.session = session
        self._parent = parent
        self._known: dict[str, Known] = {}
        self._literals: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._raw: dict[str, str] = {}
        self._current: MilOp | None = None

    # ---------------------------------------------------------------- operands

    def has(self, op: MilOp, key: str) -> bool:
        """Whether an operand is there."""
        return bool(op.inputs.get(key))

    def values(self, op: MilOp, key: str) -> list[str]:
        """The ONNX values of a parameter that takes several."""
        return [self._value_of(ref) for ref in op.inputs.get(key, ())]

    def value(self, op: MilOp, key: str) -> str | None:
        """The ONNX value of an operand; None when it is absent."""
        refs = op.inputs.get(key, ())
        if len(refs) > 1:
            self.refuse(op, f'it has several values for "{key}"')
        return self._value_of(refs[0]) if refs else None

    def operand(self, op: MilOp, key: str) -> str:
        """The ONNX value of an operand that the op must have.

        Raises:
            InputError: ``package-broken``.
        """
        found = self.value(op, key)
        if found is None:
            raise InputError("package-broken", f'the op has no operand "{key}"', node=op.label)
        return found

    def index(self, op: MilOp, key: str) -> str:
        """As :meth:`operand`, as INT64: what ONNX wants of shapes, axes and counts."""
        known = self.const(op, key)
        if known is not None:
            return self.literal(np.asarray(known, np.int64))
        return self.emit("Cast", [self.operand(op, key)], {"to": int(DType.INT64)})

    def const(self, op: MilOp, key: str) -> Any:
        """An operand that is known when the package is compiled: an array, or a number or string where it is a
        scalar; None when it is absent or computed. Floats come as float32."""
        refs = op.inputs.get(key, ())
        const = self.constant(refs[0]) if len(refs) == 1 else None
        if const is None:
            return None
        array = carried(const).numpy()
        return array.item() if array.ndim == 0 else array

    def held(self, op: MilOp, key: str) -> Const | None:
        """As :meth:`const`, as the constant itself, whose values may still be on disk; None when it is computed."""
        refs = op.inputs.get(key, ())
        const = self.constant(refs[0]) if len(refs) == 1 else None
        return None if const is None else carried(const)

    def constant(self, ref: Ref) -> Const | None:
        """The constant that a reference means, as it is stored; None when it is computed."""
        return ref if isinstance(ref, Const) else self._lookup(ref)[1].const

    def need(self, op: MilOp, key: str) -> Any:
        """As :meth:`const`, for an operand that must be there and constant.

        Raises:
            UnsupportedError: ``lift-op-unsupported``.
        """
        found = self.const(op, key)
        if found is None:
            self.refuse(op, f'its "{key}" is {"computed at run time" if self.has(op, key) else "absent"}')
        return found

    def ints(self, op: MilOp, key: str) -> tuple[int, ...]:
        """A constant list of integers; see :meth:`need`."""
        return tuple(int(v) for v in np.asarray(self.need(op, key)).ravel())

    def type(self, op: MilOp, key: str) -> TensorType:
        """The type that MIL declares of an operand (FLOAT16 where it says fp16).

        Raises:
            InputError: ``package-broken``: the operand is absent or no tensor.
        """
        refs = op.inputs.get(key, ())
        found = self.ref_type(refs[0]) if refs else None
        if found is None:
            raise InputError("package-broken", f'the op has no tensor as "{key}"', node=op.label)
        return found

    def ref_type(self, ref: Ref) -> TensorType | None:
        """The type that MIL declares of a value; None where it is no tensor."""
        return ref.type if isinstance(ref, Const) else self._lookup(ref)[1].type

    def rank(self, op: MilOp, key: str) -> int:
        """The rank of an operand.

        Raises:
            UnsupportedError: ``lift-op-unsupported`` where MIL does not know it.
        """
        rank = self.type(op, key).rank
        if rank is None:
            self.refuse(op, f'the rank of "{key}" is not known')
        return rank

    def shape(self, op: MilOp, key: str) -> tuple[int, ...]:
        """The shape of an operand, in numbers.

        Raises:
            UnsupportedError: ``lift-op-unsupported`` where a size is not known.
        """
        shape = self.type(op, key).static_shape
        if shape is None:
            self.refuse(op, f'the shape of "{key}" is not fixed')
        return shape

    # ---------------------------------------------------------------- results

    def out(self, op: MilOp, i: int = 0) -> str:
        """The name under which result ``i`` is to be defined."""
        return self._raw[op.outputs[i].name]

    def out_type(self, op: MilOp, i: int = 0) -> TensorType:
        """The type that MIL declares of a result.

        Raises:
            InputError: ``package-broken``: it is no tensor.
        """
        found = op.outputs[i].type
        if found is None:
            raise InputError("package-broken", f'result "{op.outputs[i].name}" is no tensor', node=op.label)
        return found

    def emit(
        self,
        type: str,
        inputs: Sequence[Operand],
        attrs: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None,
        domain: str = "",
    ) -> str:
        """Add an ONNX op; the name of its first result.

        Args:
            type: op type, in its form at the internal opset.
            inputs: values, arrays (which become constants), None for an operand left out.
            attrs: attributes; those that are None are left out. A body (``Graph``) is captured from as it needs.
            outputs: names to define: from :meth:`out`, or of one's own from :meth:`fresh`. One fresh name if None.
        """
        label = self._current.name if self._current is not None else type
        names = tuple(outputs) if outputs is not None else (self.session.fresh(f"{label}/{type}"),)
        values = tuple("" if v is None else v if isinstance(v, str) else self.literal(v) for v in inputs)
        while values and not values[-1]:
            values = values[:-1]
        kept = {k: v for k, v in (attrs or {}).items() if v is not None}
        captures = sorted({v for body in kept.values() if isinstance(body, Graph) for v in body.free_values()})
        name = self.session.fresh(f"{label}.{type}")
        self.graph.add_op(Op(type, values, names, kept, domain, name, captures=tuple(captures)))
        return names[0]

    def emit_many(
        self, type: str, inputs: Sequence[Operand], count: int, attrs: Mapping[str, Any] | None = None
    ) -> list[str]:
        """As :meth:`emit`, for an op with ``count`` results, all under fresh names."""
        names = [self.fresh(type) for _ in range(count)]
        self.emit(type, inputs, attrs, names)
        return names

    def fresh(self, hint: str) -> str:
        """A value name that is free in the entire program."""
        return self.session.fresh(f"{self._current.name}/{hint}" if self._current is not None else hint)

    def literal(self, array: Array | np.generic) -> str:
        """A constant value holding an array; equal ones are shared."""
        const = carried(Const.of(np.asarray(array)))
        values = const.numpy()
        key = (const.dtype.name, const.shape, values.tobytes())
        if const.dtype is DType.STRING or key not in self._literals:
            name = self.session.fresh(f"const_{const.dtype.name.lower()}")
            self._literals[key] = self.graph.add_value(name, const=const)
            return name
        return self._literals[key]

    def define(self, op: MilOp, const: Const, i: int = 0) -> None:
        """Make result ``i`` a constant: for ops that are computed when the package is compiled."""
        self._known[op.outputs[i].name] = Known(op.outputs[i].type, None, const)

    # ---------------------------------------------------------------- doubts

    def warn(self, op: MilOp, text: str) -> None:
        """Note something that whoever compares numbers should know."""
        self.session.warnings[f"{op.label}: {text}"] = None

    def undefined(self, op: MilOp, text: str) -> None:
        """Note that Core ML leaves open what the op does here; ``text`` ends with what is assumed.

        Raises:
            UnsupportedError: ``lift-undefined`` in strict mode.
        """
        if self.session.strict:
            raise UnsupportedError("lift-undefined", text, node=op.label)
        self.warn(op, text)

    def refuse(self, op: MilOp, reason: str) -> NoReturn:
        """Give up on the op.

        Raises:
            UnsupportedError: ``lift-op-unsupported``.
        """
        raise UnsupportedError("lift-op-unsupported", f"{op.type} cannot be lifted: {reason}", node=op.label)

    def since(self, target: str) -> bool:
        """Whether the program's op set is that of a deployment target, or a newer one."""
        return ORDER.index(opset_target(self.session.opset)) >= ORDER.index(target)

    # ---------------------------------------------------------------- blocks

    def child(self) -> Lifter:
        """A lifter for the body of an If or Loop; it sees the values of this one."""
        return Lifter(self.session, self)

    def input(self, hint: str, type: TensorType) -> str:
        """Add an input to the graph (of a body); its name."""
        name = self.session.fresh(hint)
        self.graph.add_input(name, carried_type(type))
        return name

    def run(self, block: Block, arguments: Sequence[str] = ()) -> list[str]:
        """Lift a block's ops into the graph: the values of its results.

        Args:
            arguments: ONNX values for the block's inputs.
        """
        for slot, value in zip(block.inputs, arguments, strict=True):
            self._known[slot.name] = Known(slot.type, value)
        for op in block.ops:
            self._lift(op)
        return [self._value_of(name) for name in block.outputs]

    def bind(self, slot: Slot, value: str) -> None:
        """Let a MIL name mean an ONNX value of this graph from here on."""
        self._known[slot.name] = Known(slot.type, value)

    def rebind(self, op: MilOp, key: str, value: str) -> None:
        """Give a state (operand ``key``) another value, for all that comes later.

        Raises:
            UnsupportedError: ``lift-op-unsupported``: the state belongs to an outer block.
        """
        ref = op.inputs[key][0]
        owner, known = self._lookup(str(ref))
        if owner is not self:
            self.refuse(op, "it writes a state within a branch or loop")
        self._known[str(ref)] = Known(known.type, value)

    def round(self, value: str, name: str | None = None) -> str:
        """A FLOAT value rounded to what fp16 can hold."""
        half = self.emit("Cast", [value], {"to": int(DType.FLOAT16)})
        return self.emit("Cast", [half], {"to": int(DType.FLOAT)}, None if name is None else [name])

    @property
    def simulates(self) -> bool:
        """Whether fp16 values are rounded."""
        return self.session.fp16 == "simulate"

    def resolve(self, name: str) -> str:
        """The ONNX value that a MIL name means now."""
        return self._value_of(name)

    def _lift(self, op: MilOp) -> None:
        if op.type == "const":
            const = op.inputs["val"][0] if op.inputs.get("val") else None
            if not isinstance(const, Const) or len(op.outputs) != 1:
                raise InputError("package-broken", "a const op has no value", node=op.label)
            self._known[op.outputs[0].name] = Known(op.outputs[0].type or const.type, None, const)
            return
        lifting = table()[op.type]
        self._current = op
        rounded: list[tuple[str, str]] = []
        for slot in op.outputs:
            name = raw = self.session.fresh(slot.name)
            if self.simulates and not lifting.moves and slot.type is not None and slot.type.dtype is DType.FLOAT16:
                raw = self.session.fresh(f"{slot.name}/exact")
                rounded.append((raw, name))
            self._known[slot.name] = Known(slot.type, name)
            self._raw[slot.name] = raw
        lifting.lift(self, op)
        for raw, name in rounded:
            if raw in self.graph:
                self.round(raw, name)
        for slot in op.outputs:
            self._settle(op, slot)
        self._current = None

    def _settle(self, op: MilOp, slot: Slot) -> None:
        known = self._known[slot.name]
        if known.const is not None or known.value is None:
            return
        if known.value not in self.graph or self.graph.producer(known.value) is None:
            raise InputError("package-broken", f'result "{slot.name}" is not defined', node=op.label)
        if slot.type is not None:
            self.graph.add_value(known.value, carried_type(slot.type))

    def _lookup(self, name: str) -> tuple[Lifter, Known]:
        scope: Lifter | None = self
        while scope is not None:
            known = scope._known.get(name)
            if known is not None:
                return scope, known
            scope = scope._parent
        node = self._current.label if self._current is not None else name
        raise InputError("package-broken", f'value "{name}" is used before it is defined', node=node)

    def _value_of(self, ref: Ref) -> str:
        if isinstance(ref, Const):
            return self.literal(ref.numpy())
        owner, known = self._lookup(ref)
        if known.value is None:
            assert known.const is not None  # a name is either a value or a constant
            const = carried(known.const)
            known.value = owner.graph.add_value(self.session.fresh(ref), const=const)
        return known.value


def carried(const: Const) -> Const:
    """The constant as the graph holds it: fp16 and other small floats as FLOAT, still on disk where it was."""
    if not const.dtype.is_float or const.dtype in (DType.FLOAT, DType.DOUBLE):
        return const
    return Const(DType.FLOAT, const.shape, lambda: const.numpy().astype(np.float32))


def carried_type(type: TensorType) -> TensorType:
    """The type as the graph holds it; see :func:`carried`."""
    if not type.dtype.is_float or type.dtype in (DType.FLOAT, DType.DOUBLE):
        return type
    return TensorType(DType.FLOAT, type.shape)


#: Deployment target by the name that its op set has in a program.
_OPSETS = {"CoreML5": "iOS15", "CoreML6": "iOS16", "CoreML7": "iOS17", "CoreML8": "iOS18", "CoreML9": "iOS26"}


def opset_target(opset: str) -> str:
    """The deployment target that brought an op set.

    Raises:
        UnsupportedError: ``lift-opset-unknown``.
    """
    if opset not in _OPSETS:
        hint = f"one of {', '.join(_OPSETS)} is understood"
        raise UnsupportedError("lift-opset-unknown", f'the op set "{opset}" is not known', hint=hint)
    return _OPSETS[opset]
