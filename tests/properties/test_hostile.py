"""Models that are broken in one place: an error that a user can read, or a conversion; no exception of Python's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, helper, numpy_helper

from coregraft.lowering.convert import convert
from coregraft.passes.pipelines import rewrite_pipeline
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.onnx_io.save import to_model
from tests.properties.sketch import Draw
from tests.properties.strategies import INPUTS, exploring, graphs

STATIC = [shape for shape in INPUTS if "N" not in shape]
SIZES = (0, -1, 1, 3, 7, 100, 2**31 - 1, 2**31, 2**62, -(2**63))
#: Changes one thing of a model; nothing when the model has no such thing.
Breakage = Callable[[onnx.GraphProto, "Picker"], None]


class Picker:
    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def of(self, choices: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(choices)))


def _node(g: onnx.GraphProto, p: Picker, having: Callable[[onnx.NodeProto], Any] = lambda n: True) -> Any:
    found = [n for n in g.node if having(n)]
    return p.of(found) if found else onnx.NodeProto()


def an_attribute_of_another_kind(g: onnx.GraphProto, p: Picker) -> None:
    node = _node(g, p, lambda n: n.attribute)
    if node.attribute:
        a = p.of(node.attribute)
        a.CopyFrom(helper.make_attribute(a.name, p.of([3, 1.5, "x", [1, 2], [1.5], ["x"]])))


def an_attribute_of_another_value(g: onnx.GraphProto, p: Picker) -> None:
    node = _node(g, p, lambda n: n.attribute)
    if node.attribute:
        a = p.of(node.attribute)
        if a.type == AttributeProto.INT:
            a.i = p.of(SIZES)
        elif a.type == AttributeProto.INTS:
            a.ints[:] = p.of([[], [*a.ints, 1], list(a.ints)[1:], [p.of(SIZES), *list(a.ints)[1:]]])
        elif a.type == AttributeProto.FLOAT:
            a.f = p.of([0.0, -1.0, float("nan"), float("inf")])
        elif a.type == AttributeProto.STRING:
            a.s = p.of([b"", b"nonsense", b"\xff\xfe"])


def no_attribute(g: onnx.GraphProto, p: Picker) -> None:
    node = _node(g, p, lambda n: n.attribute)
    if node.attribute:
        node.attribute.remove(p.of(node.attribute))


def an_operand_less(g: onnx.GraphProto, p: Picker) -> None:
    node = _node(g, p, lambda n: n.input)
    if node.input:
        del node.input[p.of(range(len(node.input)))]


def an_operand_left_out(g: onnx.GraphProto, p: Picker) -> None:
    node = _node(g, p, lambda n: n.input)
    if node.input:
        node.input[p.of(range(len(node.input)))] = ""


def another_operand(g: onnx.GraphProto, p: Picker) -> None:
    node = _node(g, p, lambda n: n.input)
    if node.input:
        names = [*(i.name for i in g.input), *(t.name for t in g.initializer), *(o for n in g.node for o in n.output)]
        node.input[p.of(range(len(node.input)))] = p.of(names)


def another_op(g: onnx.GraphProto, p: Picker) -> None:
    _node(g, p).op_type = p.of(["Relu", "Concat", "Gather", "If", "Loop", "Nothing", ""])


def an_op_less(g: onnx.GraphProto, p: Picker) -> None:
    if g.node:
        del g.node[p.of(range(len(g.node)))]


def another_constant(g: onnx.GraphProto, p: Picker) -> None:
    if not g.initializer:
        return
    tensor = p.of(g.initializer)
    a = numpy_helper.to_array(tensor)
    other = p.of([a[:0] if a.ndim else a[None], a.T[None], a.astype("float64"), a.astype("int64"), a.astype(bool)])
    tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))


def another_input(g: onnx.GraphProto, p: Picker) -> None:
    kind = p.of(g.input).type.tensor_type
    if p.of([True, False]):
        kind.elem_type = p.of([7, 9, 10, 11, 8, 16])
    else:
        kind.shape.dim.add().dim_value = p.of(SIZES)


def another_size(g: onnx.GraphProto, p: Picker) -> None:
    dims = p.of([*g.input, *g.output]).type.tensor_type.shape.dim
    if dims:
        p.of(dims).dim_value = p.of(SIZES)


BREAKAGES: Sequence[Breakage] = (
    an_attribute_of_another_kind, an_attribute_of_another_value, no_attribute, an_operand_less, an_operand_left_out,
    another_operand, another_op, an_op_less, another_constant, another_input, another_size,
)  # fmt: skip


@st.composite
def broken(draw: Draw) -> onnx.ModelProto:
    model = copy.deepcopy(to_model(draw(graphs(max_ops=4, inputs=STATIC))))
    p = Picker(draw)
    p.of(BREAKAGES)(model.graph, p)
    return model


@exploring(100)
@given(broken())
def test_one_error_or_none(model: onnx.ModelProto) -> None:
    for road in (_convert, _rewrite):
        try:
            road(model)
        except CoregraftError as error:
            assert error.code and error.message


def _convert(model: onnx.ModelProto) -> None:
    convert(model, fallback="error")


def _rewrite(model: onnx.ModelProto) -> Graph:
    return PassManager(rewrite_pipeline()).run(load(model)).graph
