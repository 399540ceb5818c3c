"""Values in several roles at once, and names that are one name to Core ML: converted, lifted, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.types import Array
from tests.lowering.packages import FORMATS, assert_agrees

SQUARE = np.random.default_rng(3).standard_normal((2, 2)).astype(np.float32)
IF = "If(c) <then_branch = t () => (float[2,2] p) {{ {} }}, else_branch = e () => (float[2,2] q) {{ {} }}>"
LOOP = (
    "y, z = Loop(n, , x, x) <body = b (int64 i, bool k, float[2,2] s, float[2,2] r) => ({}) "
    "{{ t = Add(s, r) u = Identity(t) l = Identity(k) }}>"
)
X = "(float[2,2] x) => (float[2,2] y)"
XC = "(float[2,2] x, bool c) => (float[2,2] y)"
XY = "(float[2,2] x) => (float[2,2] y, float[2,2] z)"

BODIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "one operand twice": (X, "y = Sub(x, x)", {}),
    "one operand in every place": (X, "y = Gemm<transA=1>(x, x, x)", {}),
    "data that are weights, too": ("(float[2,2,3,3] x) => (float[2,2,1,1] y)", "y = Conv(x, x)", {}),
    "attention over itself": (X, "t = Transpose(x) s = MatMul(x, t) p = Softmax(s) y = MatMul(p, x)", {}),
    "an input that is an output": ("(float[2,2] x) => (float[2,2] x, float[2,2] y)", "y = Relu(x)", {}),
    "an input that is two outputs": (XY, "y = Identity(x) z = Identity(x)", {}),
    "one computation, two outputs": (XY, "y = Relu(x) z = Relu(x)", {}),
    "an output that is used": (XY, "y = Relu(x) z = Sub(y, x)", {}),
    "a constant that is an output": ("(float[2,2] x) => (float[2,2] y, float[2,2] w)", "y = Mul(x, w)", {"w": SQUARE}),
    "a constant of two ops": (
        "(float[1,2,2,1] x) => (float[1,2,2,1] y, float[1,2,2,2] z)",
        "y = Conv(x, v) r = Reshape(v, s) z = Mul(x, r)", {"v": SQUARE.reshape(2, 2, 1, 1), "s": np.array([2, 2])},
    ),
    "one vector for all parameters": (
        "(float[1,2,3] x) => (float[1,2,3] y)", "y = BatchNormalization(x, v, v, v, v)",
        {"v": np.array([0.5, 2], np.float32)},
    ),
    "weights that are recurrent weights": (
        "(float[3,1,2] x) => (float[3,1,1,2] y)", "y = GRU<hidden_size=2>(x, v, v)",
        {"v": np.random.default_rng(4).standard_normal((1, 6, 2)).astype(np.float32)},
    ),
    "one sequence for several recurrent ops": (
        "(float[3,1,2] x) => (float[3,1,1,2] y, float[3,2,1,2] z)",
        "a = LSTM<hidden_size=2>(x, v, v) b = LSTM<hidden_size=2>(x, w, v) y = Add(a, b) "
        "z = LSTM<hidden_size=2, direction=\"bidirectional\">(x, u, u)",
        {
            "v": np.random.default_rng(4).standard_normal((1, 8, 2)).astype(np.float32),
            "w": np.random.default_rng(5).standard_normal((1, 8, 2)).astype(np.float32),
            "u": np.random.default_rng(6).standard_normal((2, 8, 2)).astype(np.float32),
        },
    ),
    "only the last of three results": (
        "(float[3,1,2] x) => (float[1,1,2] c)", ", , c = LSTM<hidden_size=2>(x, v, v)",
        {"v": np.random.default_rng(4).standard_normal((1, 8, 2)).astype(np.float32)},
    ),
    "only the second half": ("(float[4,2] x) => (float[2,2] y)", ", y = Split<axis=0>(x)", {}),
    "a condition that is an output": (
        "(float[2,2] x, bool c) => (float[2,2] y, bool c)", f"y = {IF.format('p = Neg(x)', 'q = Abs(x)')}", {},
    ),
    "branches that compute nothing": (XC, f"a = Relu(x) y = {IF.format('p = Identity(a)', 'q = Identity(x)')}", {}),
    "branches with names of one another": (
        XC, f"y = {IF.format('h = Neg(x) p = Exp(h)', 'h = Abs(x) q = Neg(h)')}", {},
    ),
    "a value used in the branch and after it": (
        XC, f"a = Relu(x) b = {IF.format('p = Sub(a, x)', 'q = Mul(a, a)')} y = Add(b, a)", {},
    ),
    "a constant of both branches": (XC, f"y = {IF.format('p = Mul(x, v)', 'q = Sub(v, x)')}", {"v": SQUARE}),
    "a turn that yields one value twice": (XY, LOOP.format("bool l, float[2,2] t, float[2,2] u"), {"n": np.array(3)}),
    "a turn that swaps its values": (XY, LOOP.format("bool k, float[2,2] r, float[2,2] s"), {"n": np.array(3)}),
    "a sequence scanned with itself": (
        X, "y = Scan<num_scan_inputs=2, body = b (float[2] s, float[2] r) => (float[2] o) { o = Mul(s, r) }>(x, x)", {},
    ),
}  # fmt: skip


def model_of(text: str, constants: Mapping[str, Array]) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model


def feeds_of(model: onnx.ModelProto, seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for info in model.graph.input:
        kind = info.type.tensor_type
        values = generator.standard_normal([d.dim_value for d in kind.shape.dim])
        feeds[info.name] = np.asarray(values > 0 if kind.elem_type == onnx.TensorProto.BOOL else values, np.float32)
        if kind.elem_type == onnx.TensorProto.BOOL:
            feeds[info.name] = feeds[info.name].astype(bool)
    return feeds


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("what", BODIES)
def test_values_in_several_roles(what: str, format: str) -> None:
    signature, body, constants = BODIES[what]
    model = model_of(f"{signature} {{ {body} }}", constants)
    assert_agrees(load(model), [feeds_of(model, seed) for seed in (0, 1)], format)


NAMES: dict[str, tuple[str, str, str, str, str, str]] = {
    "alike but for a sign": ("a.b", "a_b", "a/b", "a:b", "a-b", "a b"),
    "numbers": ("1", "2", "var_1", "var_2", "1_1", "var_1_1"),
    "of other alphabets": ("é", "è", "名", "字", "\u200b", " "),
    "words of Core ML": ("tensor", "bool", "state", "program", "func", "true"),
    "what is made of words of Core ML": ("bool", "bool_workaround", "fp16", "fp16_workaround", "int32", "int32."),
    "words of Python and sympy": ("main", "self", "S", "I", "lambda", "pi"),
    "what conversion appends": ("x", "x_cast_fp16", "x_to_fp16", "y_0", "x_1", "op_0"),
    "numbered as duplicates would be": ("a", "a_1", "a.1", "a_1_1", "a__1", "a.2"),
    "signs only": ("/", "//", "_", "__", "/_", "."),
    "long": ("x" * 300, "x" * 301, "y" * 3000, "y" * 3001, "z" * 300, "z" * 301),
    "of two cases": ("X", "x", "Y", "y", "Z", "z"),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("what", NAMES)
def test_names_that_are_one_name_to_core_ml(what: str, format: str) -> None:
    x, w, y, z, a, b = NAMES[what]
    nodes = [
        helper.make_node("Mul", [x, w], [a], name=x), helper.make_node("Sub", [x, w], [b], name=w),
        helper.make_node("Add", [a, b], [y], name=y), helper.make_node("Sub", [a, b], [z]),
    ]  # fmt: skip
    infos = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in (x, w, y, z)}
    graph = helper.make_graph(nodes, "g", [infos[x], infos[w]], [infos[y], infos[z]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert_agrees(load(model), [feeds_of(model, 0)], format)


def test_hundreds_of_outputs() -> None:
    model = model_of("(float[2] x) => (float[2] y0) { y0 = Neg(x) }", {})
    for i in range(1, 200):
        model.graph.node.append(helper.make_node("Add", ["x", f"y{i - 1}"], [f"y{i}"]))
        model.graph.output.append(helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.FLOAT, [2]))
    assert_agrees(load(model), [feeds_of(model, 0)], "mlprogram", tolerance=1e-4)
