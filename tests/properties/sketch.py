"""A graph under construction: values in scope, and ops added one by one, typed by our own inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from coregraft.rewriter.execute import ANY_DIM
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.shapes import infer_op_types
from coregraft.rewriter.types import Const, DType, TensorType

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]
#: No value has more elements: graphs are many, and small.
MOST_ELEMENTS = 600
MAX_RANK = 5


class Sketch:
    """Draws a graph.

    Attributes:
        values: float values in scope that an op may read, oldest first.
        masks: bool values in scope.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.g = Graph()
        self.g.set_opsets({"": 24})
        self.values: list[str] = []
        self.masks: list[str] = []
        self._made = 0
        self._pool: dict[tuple[int, ...], list[str]] = {}

    # ---------------------------------------------------------------- choosing

    def pick(self, choices: Sequence[T]) -> T:
        chosen: T = self.draw(st.sampled_from(choices))
        return chosen

    def flip(self) -> bool:
        return bool(self.draw(st.booleans()))

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def value(self, fits: Callable[[tuple[int, ...]], bool] = lambda shape: True) -> str | None:
        """A value in scope whose shape is all numbers and fits; None when there is none."""
        return self._recent([v for v in self.values if (s := self.static(v)) is not None and fits(s)])

    def any_value(self, rank: int = 0) -> str | None:
        """A value in scope of at least a rank, whose dims may be symbols."""
        return self._recent([v for v in self.values if len(self.type(v).shape or ()) >= rank])

    def _recent(self, found: Sequence[str]) -> str | None:
        """The newest one half of the time, so that steps make chains; else one of the few before it."""
        return self.pick([*found[-4:], *[found[-1]] * 3]) if found else None

    def like(self, value: str) -> str:
        """A value of the same shape: another one when there is one."""
        return self.pick([v for v in self.values if self.type(v) == self.type(value)] or [value])

    def operand_for(self, value: str) -> str:
        """A second operand of an elementwise op that keeps the shape of ``value``."""
        if self.flip():
            return self.like(value)
        shape = tuple(d if isinstance(d, int) and self.flip() else 1 for d in self.type(value).shape or ())
        return self.normal(shape[self.integer(0, len(shape)) :])

    def draw_order(self, *operands: str) -> tuple[str, ...]:
        """The operands, or the operands backwards."""
        return operands if self.flip() else operands[::-1]

    # ---------------------------------------------------------------- what is known

    def type(self, value: str) -> TensorType:
        kind = self.g.tensor_type(value)
        assert kind is not None and kind.shape is not None, f"{value} has no type"
        return kind

    def static(self, value: str) -> tuple[int, ...] | None:
        return self.type(value).static_shape

    def shape(self, value: str) -> tuple[int, ...]:
        """The shape with the size that symbols have when the graph is run."""
        return tuple(d if isinstance(d, int) else ANY_DIM for d in self.type(value).shape or ())

    # ---------------------------------------------------------------- making

    def name(self, stem: str = "v") -> str:
        self._made += 1
        return f"{stem}{self._made}"

    def input(self, shape: Sequence[int | str], dtype: DType = DType.FLOAT) -> str:
        name = self.g.add_input(self.name("x"), TensorType(dtype, tuple(shape)))
        (self.masks if dtype is DType.BOOL else self.values).append(name)
        return name

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        return self.g.add_value(self.name("c"), None, Const.of(np.asarray(array, dtype)))

    def ints(self, values: Sequence[int] | int) -> str:
        return self.const(values, np.int64)

    def normal(self, shape: Sequence[int], scale: float = 1.0, mean: float = 0.0) -> str:
        """A constant of random numbers; now and then one that other ops read, too."""
        shape = tuple(shape)
        shared = self._pool.setdefault((*shape, int(scale * 1000), int(mean * 1000)), [])
        if shared and self.flip():
            return self.pick(shared)
        rng = np.random.default_rng(self._made)
        shared.append(self.const(rng.standard_normal(shape) * scale + mean))
        return shared[-1]

    def positive(self, shape: Sequence[int]) -> str:
        rng = np.random.default_rng(self._made)
        return self.const(rng.uniform(0.5, 2.0, tuple(shape)))

    def weight(self, shape: Sequence[int]) -> str:
        """Random weights that keep the magnitude of what they are applied to."""
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        return self.normal(shape, scale=round(max(fan_in, 1) ** -0.5, 3))

    def op(self, type: str, inputs: Sequence[str], n_outputs: int = 1, **attrs: Any) -> list[str]:
        """Add an op; its results are not in scope until :meth:`keep` puts them there."""
        outputs = [self.name() for _ in range(n_outputs)]
        clean = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items() if v is not None}
        captures = tuple(sorted({v for b in clean.values() if isinstance(b, Graph) for v in b.free_values()}))
        op_id = self.g.add_op(Op(type, tuple(inputs), tuple(outputs), clean, name=f"n{self._made}", captures=captures))
        for output, kind in zip(outputs, infer_op_types(self.g, op_id), strict=True):
            self.g.add_value(output, kind)
        return outputs

    def make(self, type: str, *inputs: str, **attrs: Any) -> str:
        """Add an op of one result that is not in scope."""
        return self.op(type, inputs, **attrs)[0]

    def keep(self, *results: str) -> bool:
        """Put results in scope, unless they are too large for the ops to come."""
        for value in results:
            kind = self.g.tensor_type(value)
            if kind is None or kind.shape is None or int(np.prod(self.shape(value))) > MOST_ELEMENTS:
                continue
            if kind.rank is not None and kind.rank <= MAX_RANK:
                if kind.dtype is DType.FLOAT:
                    self.values.append(value)
                elif kind.dtype is DType.BOOL:
                    self.masks.append(value)
        return True

    def body(self, source: str, steps: Callable[[Graph], str]) -> Graph:
        """A branch that reads ``source`` of this graph; ``steps`` adds its ops and returns its result."""
        body = Graph()
        body.set_outputs([steps(body)])
        body.add_value(source, self.g.type_of(source))
        return body
