"""Models that are broken in one place: an error that a user can read, or a conversion; no exception of Python's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper, numpy_helper, parser

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


def other_bytes(g: onnx.GraphProto, p: Picker) -> None:
    if g.initializer:
        tensor = p.of(g.initializer)
        raw = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
        tensor.raw_data = p.of([raw[:-1], raw + b"\0", b"", raw[::-1]])


def other_dims(g: onnx.GraphProto, p: Picker) -> None:
    if g.initializer:
        dims = p.of(g.initializer).dims
        dims[:] = p.of([[*dims, p.of(SIZES)], [1] * 70, [2**40] * 1000, [-d for d in dims], list(dims)[1:]])


def another_element_type(g: onnx.GraphProto, p: Picker) -> None:
    if g.initializer:
        p.of(g.initializer).data_type = p.of([0, 1, 7, 8, 9, 10, 16, 22, 99, -1])


def external_bytes(g: onnx.GraphProto, p: Picker) -> None:
    if g.initializer:
        tensor = p.of(g.initializer)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key in p.of([[], ["location"], ["location", "offset"], ["location", "length"], ["location", "location"]]):
            tensor.external_data.add(key=key, value=p.of(["", "w", "../w", "/dev/zero", "-1", "1e3", "9" * 5000, "\0"]))


def a_sparse_constant(g: onnx.GraphProto, p: Picker) -> None:
    if g.initializer:
        tensor = p.of(g.initializer)
        indices = TensorProto(data_type=p.of([1, 7, 7, 7]), dims=[1], raw_data=bytes(8))
        values = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[p.of([1, 1, 2])], raw_data=bytes(4))
        g.sparse_initializer.add(values=values, indices=indices, dims=p.of([tensor.dims, [2**20] * 2, [1] * 70, [-1]]))
        if p.of([True, False]):
            g.initializer.remove(tensor)


def an_attribute_of_another_name_or_kind_than_it_says(g: onnx.GraphProto, p: Picker) -> None:
    node = _node(g, p, lambda n: n.attribute)
    if node.attribute:
        a = p.of(node.attribute)
        what = p.of(["type", "name", "twice", "reference", "tensor"])
        if what == "type":
            a.type = p.of(range(15))
        elif what == "name":
            a.name = p.of(["", "nothing"])
        elif what == "twice":
            node.attribute.add().CopyFrom(a)
        elif what == "reference":
            a.ref_attr_name = "x"
        else:
            a.CopyFrom(AttributeProto(name=a.name, type=AttributeProto.TENSOR, t=TensorProto(data_type=1, dims=[-1])))


def notes_about_nothing(g: onnx.GraphProto, p: Picker) -> None:
    """Quantisation annotations and value types of values that are not there, and of some that are."""
    names = [*(o for n in g.node for o in n.output), "nothing", ""]
    annotation = g.quantization_annotation.add(tensor_name=p.of(names))
    annotation.quant_parameter_tensor_names.add(key=p.of(["SCALE_TENSOR", ""]), value=p.of(names))
    if p.of(names):
        g.value_info.append(helper.make_tensor_value_info(p.of(names[:-1]), p.of([1, 7, 9]), p.of([None, [7], []])))


BREAKAGES: Sequence[Breakage] = (
    an_attribute_of_another_kind, an_attribute_of_another_value, no_attribute, an_operand_less, an_operand_left_out,
    another_operand, another_op, an_op_less, another_constant, another_input, another_size, other_bytes, other_dims,
    another_element_type, external_bytes, a_sparse_constant, an_attribute_of_another_name_or_kind_than_it_says,
    notes_about_nothing,
)  # fmt: skip


@st.composite
def broken(draw: Draw) -> onnx.ModelProto:
    model = copy.deepcopy(to_model(draw(graphs(max_ops=4, inputs=STATIC))))
    p = Picker(draw)
    p.of(BREAKAGES)(model.graph, p)
    return model


@exploring(160)
@given(broken())
def test_one_error_or_none(model: onnx.ModelProto) -> None:
    for road in (_convert, _rewrite):
        try:
            road(model)
        except CoregraftError as error:
            assert error.code and error.message


# -------------------------------------------------------------------- a few bytes that ask for much


def _model(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    weights = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _with_functions(*bodies: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """A model that calls ``F0``; the functions are called F0, F1, …, and take one value."""
    model = _model(helper.make_node("F0", ["x"], ["y"], domain="d"))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    for i, body in enumerate(bodies):
        model.functions.append(helper.make_function("d", f"F{i}", ["a"], ["b"], list(body), imports))
    model.opset_import.append(imports[1])
    return model


def _call(i: int, a: str = "a", b: str = "b") -> onnx.NodeProto:
    return helper.make_node(f"F{i}", [a], [b], domain="d")


def _summed(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """The nodes compute ``big``, of which only the sum is wanted."""
    total = helper.make_node("ReduceMax", ["big"], ["sum"], keepdims=0)
    return _model(*nodes, total, helper.make_node("Add", ["x", "sum"], ["y"]), **constants)


def _dims(*names: str) -> onnx.ModelProto:
    model = _model(helper.make_node("Flatten", ["x"], ["y"], axis=0))
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, names, strict=True):
        dim.dim_param = name
    return model


def _loop(**operands: Any) -> onnx.ModelProto:
    body = parser.parse_graph("b (int64 i, bool c, float s) => (bool d, float t) { d = Identity(c) t = Neg(s) }")
    node = helper.make_node("Loop", ["n" if "n" in operands else "", "c", "s"], ["big"], body=body)
    return _summed(node, **operands, c=True, s=np.float32(1))


HUGE = np.array([2**20, 2**20])
ONE = np.ones(1, np.float32)
GREEDY: dict[str, onnx.ModelProto] = {
    "a function that calls itself": _with_functions([_call(0)]),
    "functions that call each other": _with_functions([_call(1)], [_call(0)]),
    "functions that double": _with_functions(
        *([_call(i + 1, b="t"), _call(i + 1, a="t")] for i in range(40)), [helper.make_node("Neg", ["a"], ["b"])]
    ),
    "a long chain of functions": _with_functions(
        *([_call(i + 1)] for i in range(300)), [helper.make_node("Neg", ["a"], ["b"])]
    ),
    "a huge fill": _summed(helper.make_node("ConstantOfShape", ["s"], ["big"]), s=HUGE),
    "a huge expansion": _summed(helper.make_node("Expand", ["w", "s"], ["big"]), w=ONE, s=HUGE),
    "a huge tiling": _summed(helper.make_node("Tile", ["w", "s"], ["big"]), w=ONE, s=HUGE[:1] * 2**20),
    "a huge padding": _summed(helper.make_node("Pad", ["w", "s"], ["big"]), w=ONE, s=HUGE),
    "a huge range": _summed(
        helper.make_node("Range", ["a", "b", "c"], ["big"]), a=np.float32(0), b=np.float32(1e15), c=np.float32(1)
    ),
    "a huge one-hot": _summed(
        helper.make_node("OneHot", ["i", "s", "w"], ["big"]), i=HUGE[:1] * 0, s=2**45, w=np.ones(2, np.float32)
    ),
    "a loop of many turns": _loop(n=2**40),
    "a loop without end": _loop(),
    "a window beyond all bounds": _model(
        helper.make_node("Unsqueeze", ["x", "a"], ["z"]),
        helper.make_node("MaxPool", ["z"], ["y"], kernel_shape=[2**40], pads=[2**40, 2**40]), a=np.array([0]),
    ),
    "a formula that doubles with each factor": _dims(*("*".join(f"({c}{i} + 1)" for i in range(60)) for c in "ab")),
    "a formula that is none": _dims("((" * 200, "__import__('os')"),
    "a formula of a huge number": _dims("9" * 5000, "2**99999999"),
    "an ellipsis too many": _model(helper.make_node("Einsum", ["x"], ["y"], equation="...i...j->ij")),
    "an equation of many letters": _model(helper.make_node("Einsum", ["x"], ["y"], equation="i" * 100_000)),
    "a permutation of many": _model(helper.make_node("Transpose", ["x"], ["y"], perm=list(range(100_000)))),
}  # fmt: skip


@pytest.mark.parametrize("what", GREEDY)
def test_little_that_asks_for_much(what: str) -> None:
    """An error, or a model, within seconds: a model that never ended would be noticed by whoever waits."""
    for road in (_convert, _rewrite):
        try:
            road(GREEDY[what])
        except CoregraftError as error:
            assert error.code and error.message


def test_fields_of_many_entries_that_say_nothing() -> None:
    model = _model(helper.make_node("Relu", ["x"], ["y"]))
    for i in range(20_000):
        model.metadata_props.add(key=f"k{i % 7}", value="v")
        model.opset_import.add(domain=f"d{i}", version=1)
    for i in range(2_000):
        model.graph.value_info.add(name=f"v{i}")
    model.training_info.add(algorithm=model.graph, initialization=model.graph)
    model.training_info[0].update_binding.add(key="x", value="nothing")
    _convert(model)
    _rewrite(model)


def _convert(model: onnx.ModelProto) -> None:
    convert(model, fallback="error")


def _rewrite(model: onnx.ModelProto) -> Graph:
    return PassManager(rewrite_pipeline()).run(load(model)).graph
