"""What a rule sees of a match: views of values and ops, the match itself, and a reason for not matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import Array, Const, Dim, DType


class NoMatch:
    """A falsy reason for not matching; the text is put together only when somebody asks."""

    __slots__ = ("args", "text")

    def __init__(self, text: str, *args: object) -> None:
        self.text = text
        self.args = args

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return self.text.format(*self.args)


def declined(result: Any) -> bool:
    """Whether a rule answered with no rewrite: nothing, False, or a reason."""
    return result is None or result is False or isinstance(result, NoMatch)


class ValueView:
    """A value of the graph as a rule sees it; read-only."""

    __slots__ = ("graph", "name")

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    @property
    def dtype(self) -> DType | None:
        kind = self.graph.tensor_type(self.name)
        return None if kind is None else kind.dtype

    @property
    def shape(self) -> tuple[Dim, ...] | None:
        kind = self.graph.tensor_type(self.name)
        return None if kind is None else kind.shape

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        kind = self.graph.tensor_type(self.name)
        return None if kind is None else kind.static_shape

    @property
    def rank(self) -> int | None:
        kind = self.graph.tensor_type(self.name)
        return None if kind is None else kind.rank

    @property
    def const(self) -> Const | None:
        return self.graph.const(self.name)

    @property
    def is_const(self) -> bool:
        return self.graph.const(self.name) is not None

    @property
    def is_scalar(self) -> bool:
        """A constant with exactly one element, of any rank."""
        const = self.graph.const(self.name)
        return const is not None and const.size == 1

    @property
    def is_output(self) -> bool:
        return self.graph.is_output(self.name)

    @property
    def users(self) -> list[OpView]:
        return [OpView(self.graph, op_id) for op_id in self.graph.users(self.name)]

    @property
    def producer(self) -> OpView | None:
        op_id = self.graph.producer(self.name)
        return None if op_id is None else OpView(self.graph, op_id)

    def array(self) -> Array:
        """The content of a constant, read-only.

        Raises:
            ValueError: the value is not constant; a rule's ``where`` must have asked first.
        """
        const = self.graph.const(self.name)
        if const is None:
            raise ValueError(f'value "{self.name}" is not constant')
        return const.numpy()

    def scalar(self) -> Any:
        """The one element of a scalar constant, as a Python number."""
        return self.array().reshape(()).item()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ValueView) and other.name == self.name and other.graph is self.graph

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"ValueView({self.name!r})"


class OpView:
    """An op of the graph as a rule sees it; read-only."""

    __slots__ = ("graph", "id")

    def __init__(self, graph: Graph, op_id: int) -> None:
        self.graph = graph
        self.id = op_id

    @property
    def op(self) -> Op:
        return self.graph.op(self.id)

    @property
    def type(self) -> str:
        return self.op.type

    @property
    def domain(self) -> str:
        return self.op.domain

    @property
    def label(self) -> str:
        return self.op.label

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes that are written out, as keywords for a builder."""
        return dict(self.op.attrs)

    def attr(self, name: str) -> Any:
        """An attribute's value, else its schema default, else None."""
        return attr(self.op, name)

    @property
    def inputs(self) -> list[ValueView | None]:
        return [ValueView(self.graph, v) if v else None for v in self.op.inputs]

    @property
    def outputs(self) -> list[ValueView | None]:
        return [ValueView(self.graph, v) if v else None for v in self.op.outputs]

    def __repr__(self) -> str:
        return f"OpView({self.label})"


@dataclass(frozen=True)
class Match:
    """A place where a pattern holds. Captures, named ops and captured attributes are attributes of it."""

    graph: Graph
    root_id: int
    op_ids: tuple[int, ...]
    outputs: tuple[str, ...]
    bindings: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.bindings[name]
        except KeyError:
            raise AttributeError(f"the pattern has no capture {name!r}") from None

    @property
    def root(self) -> OpView:
        return OpView(self.graph, self.root_id)

    @property
    def output(self) -> ValueView:
        """The first output of the pattern."""
        return ValueView(self.graph, self.outputs[0])

    def no(self, text: str, *args: object) -> NoMatch:
        """A reason for not rewriting here; ``{}`` in the text take the arguments."""
        return NoMatch(text, *args)
