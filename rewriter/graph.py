"""The one graph type: an ONNX graph as a bipartite networkx ``DiGraph`` without any state of its own.

Op nodes are ints, never reused; value nodes are strings. All that is known of a node lives in its
networkx attribute dict, so ``copy()``, ``subgraph()``, ``reverse()`` and every networkx algorithm work:

* ``g.nodes[17]["op"]`` is a frozen :class:`Op`; ``g.nodes[17]["pos"]`` its place in the program order.
* ``g.nodes["t3"]["type"]`` is a :data:`ValueType` or None; ``["const"]`` a :class:`Const` or None.
* ``g.graph`` holds model-level facts. Everything in it is immutable and is replaced, never edited, since
  networkx copies it shallowly.

An edge value -> op means "is used by", op -> value means "defines". Operand order and repetition live in the
op's tuples; adjacency says who uses what. Only :class:`~coregraft.rewriter.rewriter.Rewriter` mutates a graph
that a pass is looking at; the building methods here are for loaders and authors.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any

import networkx as nx

from coregraft.rewriter.errors import GraphError
from coregraft.rewriter.types import Const, TensorType, ValueType

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Floats(tuple[float, ...]):
    """A FLOATS attribute. A plain tuple of ints is INTS, of strings STRINGS; this one is for empty lists too."""

    __slots__ = ()


class Strings(tuple["str | bytes", ...]):
    """A STRINGS attribute (see :class:`Floats`)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class AttrRef:
    """An attribute inside a function body that takes the value of the caller's attribute ``name``."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class RawAttr:
    """An attribute kept as its serialized ``AttributeProto``: sparse tensors, type protos and other rarities."""

    proto: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an op comes from: the pass and rule that made it, and the names of the source ops it stands for."""

    pass_name: str
    rule: str
    replaced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. Frozen: a change is a new ``Op`` put in its place.

    ``attrs`` maps a name to an int, float, str or bytes, :class:`Const`, :class:`Graph` (a body), a tuple of
    one of these, or one of the classes above. An attribute that is absent has its schema default
    (:func:`coregraft.rewriter.schema.attr` resolves it). ``""`` in ``inputs`` is an omitted optional operand.
    ``captures`` lists the outer values that the bodies read, sorted.
    """

    type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    domain: str = ""
    name: str = ""
    overload: str = ""
    captures: tuple[str, ...] = ()
    origin: Origin | None = None
    meta: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)

    @property
    def key(self) -> tuple[str, str]:
        """(domain, type), the key of every registry of ours."""
        return self.domain, self.type

    @property
    def label(self) -> str:
        """The op for a message: ``Conv "/layer1/conv"``."""
        kind = f"{self.domain}.{self.type}" if self.domain else self.type
        return f'{kind} "{self.name or ",".join(o for o in self.outputs if o)}"'

    @property
    def operands(self) -> tuple[str, ...]:
        """The distinct values the op reads, captures included, in order of first use."""
        distinct = dict.fromkeys(self.inputs + self.captures)
        distinct.pop("", None)
        return tuple(distinct)

    def bodies(self) -> Iterator[tuple[str, Graph]]:
        """The graphs among the attributes, by attribute name."""
        for name, value in self.attrs.items():
            if isinstance(value, Graph):
                yield name, value


class Graph(nx.DiGraph):  # type: ignore[misc]  # networkx is untyped
    """An ONNX graph; see the module docstring. ``Graph()`` is empty and valid."""

    # ---------------------------------------------------------------- model-level facts

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values that the caller must feed, in order (initializers listed as inputs left out)."""
        return tuple(v for v in self.graph.get("inputs", ()) if self.nodes[v]["const"] is None)

    @property
    def outputs(self) -> Mapping[str, str]:
        """Public output name -> the value it is read from, in order."""
        return self.graph.get("outputs", _EMPTY)  # type: ignore[no-any-return]

    @property
    def opsets(self) -> Mapping[str, int]:
        """Operator-set version by domain (``""`` is ai.onnx)."""
        return self.graph.get("opsets", _EMPTY)  # type: ignore[no-any-return]

    @property
    def functions(self) -> Mapping[tuple[str, str, str], Any]:
        """Model-local functions by (domain, name, overload)."""
        return self.graph.get("functions", _EMPTY)  # type: ignore[no-any-return]

    def set_inputs(self, names: Iterable[str]) -> None:
        self.graph["inputs"] = tuple(names)

    def set_outputs(self, outputs: Mapping[str, str] | Iterable[str]) -> None:
        """Set the outputs: a mapping public name -> value, or names that are both."""
        pairs = outputs if isinstance(outputs, Mapping) else {name: name for name in outputs}
        self.graph["outputs"] = MappingProxyType(dict(pairs))

    def set_opsets(self, opsets: Mapping[str, int]) -> None:
        self.graph["opsets"] = MappingProxyType(dict(opsets))

    def copy(self, as_view: bool = False) -> Graph:
        """As networkx has it: node data is copied, the frozen things in it are shared."""
        duplicate: Graph = super().copy(as_view)
        return duplicate

    # ---------------------------------------------------------------- reading

    def op(self, op_id: int) -> Op:
        return self._node[op_id]["op"]  # type: ignore[no-any-return]

    def ops(self) -> Iterator[tuple[int, Op]]:
        """All (id, op) pairs in no promised order; see :meth:`topological`."""
        return iter([(node, data["op"]) for node, data in self._node.items() if type(node) is int])

    def all_ops(self) -> Iterator[Op]:
        """The ops of the graph and of the bodies in it, in no promised order."""
        for _, op in self.ops():
            yield op
            for _, body in op.bodies():
                yield from body.all_ops()

    def values(self) -> Iterator[str]:
        """All value names, in order of insertion."""
        return (node for node in self._node if type(node) is str)

    def type_of(self, value: str) -> ValueType | None:
        return self._node[value]["type"]  # type: ignore[no-any-return]

    def tensor_type(self, value: str) -> TensorType | None:
        """The type of a value when it is a tensor of known dtype, else None."""
        kind = self._node[value]["type"]
        return kind if isinstance(kind, TensorType) else None

    def const(self, value: str) -> Const | None:
        """The constant a value holds (an initializer), else None."""
        return self._node[value]["const"] if value else None

    def producer(self, value: str) -> int | None:
        """The op that defines a value; None for inputs, constants and captured values."""
        for op_id in self._pred[value]:
            return op_id  # type: ignore[no-any-return]
        return None

    def source(self, value: str) -> str:
        """What a value is a copy of: the operand of the first Identity of the chain that leads to it, or itself."""
        while (op_id := self.producer(value)) is not None and self.op(op_id).key == ("", "Identity"):
            value = self.op(op_id).inputs[0]
        return value

    def users(self, value: str) -> list[int]:
        """The ops that read a value (in a body of theirs, too), in program order."""
        readers = self._succ[value]
        return sorted(readers, key=self.order_key) if len(readers) > 1 else list(readers)

    def public_names(self, value: str) -> list[str]:
        """The names under which a value is a graph output; empty when it is not."""
        return [name for name, source in self.outputs.items() if source == value]

    def is_output(self, value: str) -> bool:
        """Whether a value is a graph output, under whatever name."""
        return value in self.outputs.values()

    def order_key(self, op_id: int) -> tuple[int, int]:
        """Sort key of the program order: the place, then the id. New ops take the place of what they replace."""
        return self._node[op_id]["pos"], op_id

    def topological(self) -> list[int]:
        """Op ids in dependency order, the program order breaking ties: deterministic, and exactly the file's
        order for a graph as loaded.

        Raises:
            GraphError: ``graph-cycle``, naming an op on the cycle.
        """
        pred, succ = self._pred, self._succ
        program = sorted([(data["pos"], node) for node, data in self._node.items() if type(node) is int])
        done: set[int] = set()
        for _, op_id in program:
            if not done.issuperset(chain.from_iterable(map(pred.__getitem__, pred[op_id]))):
                break
            done.add(op_id)
        else:  # the program order is one of dependencies, as it nearly always is
            return [op_id for _, op_id in program]
        waiting: dict[int, int] = {}
        ready: list[tuple[int, int]] = []
        for node, data in self._node.items():
            if type(node) is int:
                waiting[node] = count = sum(1 for value in pred[node] if pred[value])
                if not count:
                    ready.append((data["pos"], node))
        heapq.heapify(ready)
        order: list[int] = []
        while ready:
            op_id = heapq.heappop(ready)[1]
            order.append(op_id)
            for value in succ[op_id]:
                for user in succ[value]:
                    waiting[user] -= 1
                    if not waiting[user]:
                        heapq.heappush(ready, (self._node[user]["pos"], user))
        if len(order) != len(waiting):
            stuck = min(set(waiting) - set(order))
            raise GraphError("graph-cycle", "the graph has a cycle", node=self.op(stuck).label)
        return order

    def free_values(self) -> list[str]:
        """Values read but not defined here (in a body: the outer values it captures), sorted."""
        inputs = set(self.graph.get("inputs", ()))
        read = {v for v in self.values() if self._succ[v]} | set(self.outputs.values())
        return sorted(v for v in read if not self._pred[v] and v not in inputs and self._node[v]["const"] is None)

    # ---------------------------------------------------------------- building

    def add_value(self, name: str, type: ValueType | None = None, const: Const | None = None) -> str:
        """Add a value, or complete what is known of one that is there.

        Args:
            name: unique within the graph and, by ONNX's rule, not used by an outer scope either.
            type: its type; taken from ``const`` when that is given.
            const: its content, which makes the value an initializer.
        """
        kind = const.type if type is None and const is not None else type
        data = self._node.get(name)
        if data is None:
            self.add_node(name, type=kind, const=const)
            return name
        if kind is not None:
            data["type"] = kind
        if const is not None:
            data["const"] = const
        return name

    def add_input(self, name: str, type: ValueType) -> str:
        """Add a value and append it to the graph's inputs."""
        self.add_value(name, type)
        self.set_inputs([*self.graph.get("inputs", ()), name])
        return name

    def add_op(self, op: Op, pos: int | None = None) -> int:
        """Add an op and the edges to its operands and results; values not there yet are created untyped.

        Raises:
            GraphError: ``value-redefined`` when an output already has a producer, or is a constant or an input.
        """
        op_id: int = self.graph.get("next_id", 0)
        self.graph["next_id"] = op_id + 1
        for output in op.outputs:
            if output and output in self._node and (self._pred[output] or self._node[output]["const"] is not None):
                raise GraphError("value-redefined", f'value "{output}" is defined twice', node=op.label)
        self.add_node(op_id, op=op, pos=op_id if pos is None else pos)
        self._connect(op_id, op)
        return op_id

    def set_op(self, op_id: int, op: Op) -> None:
        """Put another op in the place of an op; its edges follow, values that lose their producer stay."""
        self._node[op_id]["op"] = op
        gone = [(v, op_id) for v in self._pred[op_id] if v not in op.inputs and v not in op.captures]
        gone += [(op_id, v) for v in self._succ[op_id] if v not in op.outputs]
        if gone:
            self.remove_edges_from(gone)
        self._connect(op_id, op)

    def fresh_name(self, hint: str) -> str:
        """A value name that the graph does not have, made from ``hint``; the same for the same history."""
        if hint and hint not in self._node:
            return hint
        n: int = self.graph.get("fresh", 0) + 1
        while f"{hint}_{n}" in self._node:
            n += 1
        self.graph["fresh"] = n
        return f"{hint}_{n}"

    def _connect(self, op_id: int, op: Op) -> None:
        read, made = self._pred[op_id], self._succ[op_id]
        for value in (*op.inputs, *op.captures):
            if value and value not in read:
                self._ensure(value)
                self.add_edge(value, op_id)
        for value in op.outputs:
            if value and value not in made:
                self._ensure(value)
                self.add_edge(op_id, value)

    def _ensure(self, value: str) -> None:
        if value not in self._node:
            self.add_node(value, type=None, const=None)
