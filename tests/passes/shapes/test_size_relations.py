"""What complete-shapes finds is so in every run that gives the results their declared shapes.

Graphs are drawn whose sizes depend on two numbers that arrive at run time. Every pair of numbers is tried in
onnxruntime; of the runs that succeed one is picked, whose result shape is declared. All runs with that result shape
must then have the shapes that were worked out, whatever the numbers were.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from coregraft.lowering import targets
from coregraft.rewriter.execute import Runner, UnrunnableError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.types import Const, DType, TensorType

#: What each of the two numbers is tried as.
NUMBERS = (-1, 0, 1, 2, 3, 4, 6)
FLOAT = DType.FLOAT


@dataclass
class Sketch:
    """A graph in the making: ``floats`` are its tensors so far, ``ints`` the vectors that may be shapes."""

    g: Graph = field(default_factory=Graph)
    floats: list[str] = field(default_factory=list)
    ints: list[str] = field(default_factory=list)

    def op(self, kind: str, *inputs: str | list[int], count: int = 1, **attrs: Any) -> list[str]:
        names = tuple(i if isinstance(i, str) else self.const(i) for i in inputs)
        outputs = tuple(self.g.fresh_name("t") for _ in range(count))
        self.g.add_op(Op(kind, names, outputs, attrs))
        return list(outputs)

    def const(self, values: list[int]) -> str:
        return self.g.add_value(self.g.fresh_name("c"), const=Const.of(np.array(values, np.int64)))


def _start() -> Sketch:
    s = Sketch()
    s.g.set_opsets({"": 24})
    s.g.add_input("x", TensorType(FLOAT, (2, 3)))
    s.g.add_input("z", TensorType(FLOAT, (4,)))
    for name in ("p", "q"):
        s.g.add_input(name, TensorType(DType.INT64, (1,)))
    s.floats, s.ints = ["x", "z"], ["p", "q", *s.op("Concat", "p", "q", axis=0)]
    return s


Draw = Callable[[st.SearchStrategy[Any]], Any]


def _grow(s: Sketch, draw: Draw) -> None:
    """Add one op."""
    x, n = draw(st.sampled_from(s.floats[-3:])), draw(st.sampled_from(s.ints[-4:]))
    axis = draw(st.integers(-2, 2))
    match draw(st.sampled_from(_KINDS)):
        case "join":
            s.ints += s.op("Concat", n, draw(st.sampled_from(s.ints)), axis=0)
        case "pick":
            s.ints += s.op("Gather", n, [draw(st.integers(0, 1))], axis=0)
        case "measure":
            s.ints += s.op("Shape", x)
        case "fixed":
            s.ints += s.op("Concat", n, [draw(st.integers(-1, 3))], axis=0)
        case "Range":
            limit = s.op("Squeeze", n)[0]
            zero = s.g.add_value(s.g.fresh_name("c"), const=Const.of(np.array(0, np.int64)))
            one = s.g.add_value(s.g.fresh_name("c"), const=Const.of(np.array(1, np.int64)))
            s.floats += s.op("Cast", *s.op("Range", zero, limit, one), to=1)
        case "ConstantOfShape":
            s.floats += s.op("ConstantOfShape", n)
        case "Expand" | "Reshape" | "Tile" as kind:
            s.floats += s.op(kind, x, n)
        case "Slice":
            s.floats += s.op("Slice", x, [0], *s.op("Gather", n, [0], axis=0), [axis])
        case "Pad":
            ends = s.op("Concat", [draw(st.integers(-1, 2))], *s.op("Gather", n, [0], axis=0), axis=0)[0]
            axes = s.const([axis])
            s.floats += s.op("Pad", x, ends, "", axes)
        case "fixed Pad":
            s.floats += s.op("Pad", x, [1, draw(st.integers(-2, 2))], "", s.const([axis]))
        case "ReduceSum" as kind:
            over = [axis] if draw(st.booleans()) else s.op("Gather", n, [0], axis=0)[0]
            s.floats += s.op(kind, x, over, keepdims=draw(st.integers(0, 1)))
        case "Add" | "Mul" as kind:
            s.floats += s.op(kind, x, draw(st.sampled_from(s.floats)))
        case "Concat":
            s.floats += s.op("Concat", x, draw(st.sampled_from(s.floats)), axis=axis)
        case "Split":
            s.floats += s.op("Split", x, count=2, axis=axis, num_outputs=2)
        case "Unsqueeze" as kind:
            s.floats += s.op(kind, x, [axis])
        case "Squeeze" as kind:
            s.floats += s.op(kind, x, [axis]) if draw(st.booleans()) else s.op(kind, x)
        case "Flatten":
            s.floats += s.op("Flatten", x, axis=axis)
        case "fixed Reshape":
            s.floats += s.op("Reshape", x, draw(st.lists(st.sampled_from([-1, 0, 2, 3]), min_size=1, max_size=3)))
        case "Gather":
            s.floats += s.op("Gather", x, [0, 0, 0], axis=axis)
        case "MatMul":
            s.floats += s.op("MatMul", x, draw(st.sampled_from(s.floats)))
        case "Transpose" | "Relu" as kind:
            s.floats += s.op(kind, x)


_KINDS = [
    "join", "pick", "measure", "fixed", "Range", "ConstantOfShape", "Expand", "Reshape", "Tile", "Slice", "Pad",
    "fixed Pad", "ReduceSum", "Add", "Mul", "Concat", "Split", "Unsqueeze", "Squeeze", "Flatten", "fixed Reshape",
    "Gather", "MatMul", "Transpose", "Relu",
]  # fmt: skip


@st.composite
def graphs(draw: Draw) -> Graph:
    """A graph of a few ops after a start that a run-time number sizes; its last tensor is the output."""
    s = _start()
    for _ in range(draw(st.integers(2, 9))):
        _grow(s, draw)
    s.g.set_outputs(s.op("Relu", s.floats[-1]))
    return s.g


Shapes = dict[str, tuple[int, ...]]


def _runs(g: Graph) -> list[Shapes]:
    """The shapes of all values in each run that succeeds, for all numbers."""
    made = [v for v in g.values() if g.producer(v) is not None]
    try:
        runner = Runner(g, made)
    except UnrunnableError:
        return []
    x, z = np.ones((2, 3), np.float32), np.ones(4, np.float32)
    found = []
    for p, q in itertools.product(NUMBERS, NUMBERS):
        try:
            values = runner.run({"x": x, "z": z, "p": np.array([p]), "q": np.array([q])})
        except UnrunnableError:
            continue
        shapes = {name: value.shape for name, value in values.items()} | {"x": x.shape, "z": z.shape}
        if all(_is_by_the_book(op, shapes) for _, op in g.ops()):
            found.append(shapes)
    return found


def _is_by_the_book(op: Op, shapes: Shapes) -> bool:
    """Whether onnxruntime does with an op what ONNX says: it does not reduce empty tensors along negative axes."""
    if op.type == "Concat":
        return _joins(op, shapes)
    return op.type != "ReduceSum" or 0 not in shapes[op.inputs[0]]


def _joins(concat: Op, shapes: Shapes) -> bool:
    """Whether the operands of a Concat fit; onnxruntime takes empty ones that do not."""
    axis = concat.attrs["axis"]
    rest = [np.delete(shapes[v], axis).tolist() for v in concat.inputs if v in shapes]
    return all(dims == rest[0] for dims in rest)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(graphs(), st.integers(0, 48))
def test_what_is_found_holds_in_every_run(g: Graph, which: int) -> None:
    (result,) = g.outputs.values()
    runs = [shapes for shapes in _runs(g) if 0 not in shapes[result]]
    assume(runs)
    declared = runs[which % len(runs)][result]
    g.nodes[result]["type"] = TensorType(FLOAT, declared)
    after = PassManager(["infer-shapes", "complete-shapes"], targets.get("iOS17")).run(g).graph
    for shapes in (s for s in runs if s[result] == declared):
        for value, shape in shapes.items():
            kind = after.tensor_type(value)
            if kind is not None and kind.shape is not None:
                assert len(kind.shape) == len(shape), value
                assert all(not isinstance(d, int) or d == n for d, n in zip(kind.shape, shape, strict=True)), value
