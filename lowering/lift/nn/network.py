"""What the functions that lift layers work with: blobs, their shapes, and MIL ops that stand for a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from coregraft.lowering.lift.lifter import Lifter
from coregraft.lowering.lift.nn.registry import table
from coregraft.lowering.lift.nn.weights import weights
from coregraft.lowering.lift.spec import Block, MilOp, Ref, Slot
from coregraft.rewriter.errors import InputError
from coregraft.rewriter.shapes import infer_op_types
from coregraft.rewriter.types import Const, Dim, DType, TensorType


@dataclass(frozen=True, slots=True)
class Blob:
    """A value by its MIL name. (A blob of the network may stand for several in turn.)"""

    name: str


#: An operand of a MIL op: blobs, or anything that becomes a constant; None leaves the operand out.
Operand = Any


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its kind, the message with its parameters, and the names of its blobs."""

    kind: str
    name: str
    params: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def label(self) -> str:
        return f'{self.kind} "{self.name}"'

    @staticmethod
    def of(message: Any) -> Layer:
        """A layer from its message.

        Raises:
            InputError: ``package-broken``: it is of no kind.
        """
        kind = message.WhichOneof("layer")
        if kind is None:
            raise InputError("package-broken", "a layer has no kind", node=message.name)
        return Layer(kind, message.name, getattr(message, kind), tuple(message.input), tuple(message.output))


@dataclass
class Network:
    """Lifts the layers of a network, or of a branch or loop within one.

    Attributes:
        l: what the ops are added to.
        blobs: what each blob of the network holds now.
        types: type by MIL name, of all networks.
        values: type by ONNX value, of all networks.
    """

    l: Lifter
    blobs: dict[str, Blob] = field(default_factory=dict)
    types: dict[str, TensorType] = field(default_factory=dict)
    values: dict[str, TensorType] = field(default_factory=dict)

    def child(self) -> Network:
        """A network whose ops go to a body; it sees the blobs of this one, and keeps what it writes to itself."""
        return Network(self.l.child(), dict(self.blobs), self.types, self.values)

    def run(self, messages: Sequence[Any], live: frozenset[str]) -> None:
        """Lift layers in their order.

        Args:
            live: blobs that are read after the last layer.
        """
        found = [Layer.of(message) for message in messages]
        for i, layer in enumerate(found):
            if layer.kind in ("branch", "loop"):
                later = needed(found[i + 1 :], live)
                table()[layer.kind](self, Layer(layer.kind, layer.name, (layer.params, later), layer.inputs, ()))
            else:
                table()[layer.kind](self, layer)

    # ---------------------------------------------------------------- blobs

    def x(self, layer: Layer, i: int = 0) -> Blob:
        """An input of a layer.

        Raises:
            InputError: ``package-broken``: the layer has none, or nothing has written it.
        """
        if i >= len(layer.inputs):
            raise InputError("package-broken", f"the layer has no input {i}", node=layer.label)
        return self.read(layer, layer.inputs[i])

    def xs(self, layer: Layer) -> list[Blob]:
        """All inputs of a layer."""
        return [self.read(layer, name) for name in layer.inputs]

    def read(self, layer: Layer, name: str) -> Blob:
        """What a blob holds now.

        Raises:
            InputError: ``package-broken``.
        """
        if name not in self.blobs:
            raise InputError("package-broken", f'blob "{name}" is read before it is written', node=layer.label)
        return self.blobs[name]

    def write(self, layer: Layer, blob: Blob, i: int = 0) -> None:
        """Let an output of a layer be a blob."""
        self.blobs[layer.outputs[i]] = blob

    def shape(self, layer: Layer, blob: Blob) -> tuple[Dim, ...]:
        """The sizes of a blob; None where one is not known.

        Raises:
            UnsupportedError: ``lift-op-unsupported``: not even the rank is known.
        """
        kind = self.types.get(blob.name)
        if kind is None or kind.shape is None:
            self.refuse(layer, "the rank of its input cannot be told")
        return tuple(d if isinstance(d, int) else None for d in kind.shape)

    def rank(self, layer: Layer, blob: Blob) -> int:
        return len(self.shape(layer, blob))

    def sizes(self, layer: Layer, blob: Blob) -> tuple[int, ...]:
        """The sizes of a blob, all of them known.

        Raises:
            UnsupportedError: ``lift-op-unsupported``.
        """
        shape = self.shape(layer, blob)
        found = tuple(d for d in shape if d is not None and isinstance(d, int))
        if len(found) != len(shape):
            self.refuse(layer, "a size of its input is not fixed")
        return found

    # ---------------------------------------------------------------- ops

    def op(self, layer: Layer, kind: str, dtype: DType = DType.FLOAT, /, **operands: Operand) -> Blob:
        """Run a MIL op: its result, under a name of its own. ``dtype`` is that of the result."""
        return self.ops(layer, kind, [dtype], **operands)[0]

    def give(self, layer: Layer, kind: str, dtype: DType = DType.FLOAT, /, **operands: Operand) -> None:
        """Run a MIL op whose result is that of the layer, made a float if it is none."""
        self.give_all(layer, kind, [dtype], **operands)

    def give_all(self, layer: Layer, kind: str, dtypes: Sequence[DType], /, **operands: Operand) -> None:
        """Run a MIL op whose results are those of the layer, in order; results without an output are dropped."""
        names = [layer.outputs[i] if i < len(layer.outputs) else layer.name for i in range(len(dtypes))]
        found = self.ops(layer, kind, dtypes, names, **operands)
        for i, (blob, dtype) in enumerate(zip(found[: len(layer.outputs)], dtypes, strict=False)):
            self.write(layer, blob if dtype is DType.FLOAT else self.floats(layer, blob, layer.outputs[i]), i)

    def ops(
        self, layer: Layer, kind: str, dtypes: Sequence[DType], names: Sequence[str] = (), /, **operands: Operand
    ) -> list[Blob]:
        """Run a MIL op: its results."""
        hints = names or [f"{layer.outputs[0] if layer.outputs else layer.name}/{kind}"] * len(dtypes)
        slots = tuple(Slot(self.fresh(hint), TensorType(dtype)) for hint, dtype in zip(hints, dtypes, strict=True))
        inputs = {key: _refs(value) for key, value in operands.items() if value is not None}
        results = tuple(slot.name for slot in slots)
        mark = self.l.graph.graph.get("next_id", 0)
        found = self.l.run(Block((), (MilOp(kind, layer.name, inputs, slots),), results))
        self._infer(mark)
        for slot, value in zip(slots, found, strict=True):
            kind_found = self.l.graph.tensor_type(value)
            assert kind_found is not None  # a result has an element type at least
            self.learn(slot.name, value, kind_found)
        return [Blob(slot.name) for slot in slots]

    def learn(self, name: str, value: str, kind: TensorType) -> None:
        """Note the type of a MIL value."""
        self.types[name] = self.values[value] = kind
        if self.l.graph.const(value) is None:
            self.l.bind(Slot(name, kind), value)

    def const(self, layer: Layer, value: Any, name: str = "") -> Blob:
        """A constant blob."""
        const = value if isinstance(value, Const) else Const.of(np.asarray(value, np.float32))
        fresh = self.fresh(name or f"{layer.name}/const")
        op = MilOp("const", layer.name, {"val": (const,)}, (Slot(fresh, const.type),))
        self.l.run(Block((), (op,), ()))
        self.types[fresh] = const.type
        return Blob(fresh)

    def weights(self, layer: Layer, message: Any, shape: Sequence[int]) -> Const:
        """The weights in a message; see :func:`coregraft.lowering.lift.nn.weights.weights`."""
        if layer.params.DESCRIPTOR.fields_by_name.get("int8DynamicQuantize") and layer.params.int8DynamicQuantize:
            self.refuse(layer, "it quantises its input at run time in a way that is not documented")
        return weights(layer, message, shape)

    def floats(self, layer: Layer, blob: Blob, name: str = "") -> Blob:
        """A blob as floats, which is what networks know."""
        return self.ops(layer, "cast", [DType.FLOAT], [name or f"{layer.name}/float"], x=blob)[0]

    def integers(self, layer: Layer, blob: Blob) -> Blob:
        """A blob of whole numbers as int32."""
        return self.op(layer, "cast", DType.INT32, x=blob)

    def truths(self, layer: Layer, blob: Blob) -> Blob:
        """A blob as booleans: what is not 0 is true."""
        return self.op(layer, "cast", DType.BOOL, x=blob)

    def value(self, blob: Blob) -> str:
        """The ONNX value of a blob."""
        return self.l.resolve(blob.name)

    # ---------------------------------------------------------------- doubts

    def refuse(self, layer: Layer, reason: str) -> NoReturn:
        """Give up on a layer.

        Raises:
            UnsupportedError: ``lift-op-unsupported``.
        """
        self.l.refuse(_stand_in(layer), reason)

    def undefined(self, layer: Layer, text: str) -> None:
        """Note that it is left open what the layer does; ``text`` ends with what is assumed."""
        self.l.undefined(_stand_in(layer), text)

    def warn(self, layer: Layer, text: str) -> None:
        self.l.warn(_stand_in(layer), text)

    def fresh(self, hint: str) -> str:
        """A MIL name that no network has, taken from now on."""
        name, n = hint, 1
        while name in self.types:
            n += 1
            name = f"{hint}#{n}"
        self.types[name] = TensorType(DType.FLOAT)
        return name

    def _infer(self, mark: int) -> None:
        """Type the values of the ops added since ``mark``."""
        graph = self.l.graph
        for op_id in range(mark, graph.graph.get("next_id", 0)):
            op = graph.op(op_id)
            for operand in op.operands:
                if graph.type_of(operand) is None and operand in self.values:
                    graph.add_value(operand, self.values[operand])
            for value, kind in zip(op.outputs, infer_op_types(graph, op_id), strict=False):
                if value and isinstance(kind, TensorType):
                    graph.add_value(value, kind)
                    self.values[value] = kind


def reads(layer: Layer) -> frozenset[str]:
    """The blobs that a layer needs to be there, for its own networks too."""
    p = layer.params
    if layer.kind == "branch":
        nested = [(p.ifBranch.layers, frozenset[str]()), (p.elseBranch.layers, frozenset[str]())]
    elif layer.kind == "loop":
        var = frozenset([p.conditionVar]) if p.conditionVar else frozenset[str]()
        nested = [(list(p.conditionNetwork.layers), var), (list(p.bodyNetwork.layers), frozenset[str]())]
    else:
        nested = []
    return frozenset(layer.inputs).union(*(needed([Layer.of(m) for m in ms], live) for ms, live in nested))


def needed(found: Sequence[Layer], live: frozenset[str]) -> frozenset[str]:
    """The blobs that must be there before some layers, if ``live`` are to be there after them."""
    for layer in reversed(found):
        live = (live - frozenset(layer.outputs)) | reads(layer)
    return live


def _refs(value: Operand) -> tuple[Ref, ...]:
    if isinstance(value, Blob):
        return (value.name,)
    if isinstance(value, list) and value and all(isinstance(item, Blob) for item in value):
        return tuple(item.name for item in value)
    if isinstance(value, Const):
        return (value,)
    if isinstance(value, str):
        return (Const.of(np.array(value, object)),)
    array = np.asarray(value)
    if array.dtype.kind in "iu" or not array.size:
        array = array.astype(np.int32)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    return (Const.of(array),)


def _stand_in(layer: Layer) -> MilOp:
    return MilOp(layer.kind, layer.name, {}, ())
