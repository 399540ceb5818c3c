"""Type rules against onnxruntime: real shapes, then every dim a name and the formulas put to the test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.shapes import dim_expr, infer_shapes
from coregraft.rewriter.shapes.site import _RULES, Site, rule, rule_for, tensor
from coregraft.rewriter.types import Const, DType, TensorType

Array = np.ndarray[Any, Any]


@dataclass
class Case:
    """An op; arrays in ``feeds`` are run-time operands, those in ``consts`` follow them and are constant."""

    op_type: str
    feeds: list[Array]
    consts: list[Array | None]
    attrs: dict[str, Any]
    outputs: int = 1
    domain: str = ""

    def graph(self, symbolic: bool) -> tuple[Graph, dict[str, int]]:
        g = Graph()
        sizes: dict[str, int] = {}
        names = []
        for i, array in enumerate(self.feeds):
            shape: tuple[int | str, ...] = array.shape
            if symbolic:
                shape = tuple(f"x{i}_{axis}" if d > 1 else d for axis, d in enumerate(array.shape))
                sizes |= {f"x{i}_{axis}": d for axis, d in enumerate(array.shape)}
            names.append(g.add_input(f"x{i}", TensorType(DType.of(array.dtype), shape)))
        for i, const in enumerate(self.consts):
            names.append("" if const is None else g.add_value(f"c{i}", const=Const.of(const)))
        g.add_op(Op(self.op_type, tuple(names), tuple(f"y{i}" for i in range(self.outputs)), self.attrs, self.domain))
        g.set_outputs([f"y{i}" for i in range(self.outputs)])
        g.set_opsets({"": 24, **({self.domain: 1} if self.domain else {})})
        return g, sizes


def f(*shape: int) -> Array:
    return np.linspace(0.1, 0.9, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def i64(*values: Any) -> Array:
    return np.array(values, np.int64)


def make(op_type: str, *feeds: Array, consts: Any = (), outputs: int = 1, domain: str = "", **attrs: Any) -> Case:
    return Case(op_type, list(feeds), list(consts), attrs, outputs, domain)


def cases() -> Iterator[Case]:
    x = f(2, 3, 8, 9)
    for op_type in ("Relu", "Softmax", "Erf", "Sigmoid", "Identity", "Floor", "HardSwish", "Gelu", "LpNormalization"):
        yield make(op_type, x)
    yield make("Clip", x, consts=[np.float32(0), np.float32(6)])
    yield make("Add", x, f(3, 1, 9))
    yield make("Pow", x, f(1, 1))
    yield make("Mul", f(4, 1), f(1, 5))
    yield make("Less", x, f(9))
    yield make("Where", x > 0.5, f(8, 9), f(3, 1, 1))
    yield make("Max", x, f(9), f(8, 1))
    yield make("IsNaN", x)
    yield make("Not", x > 0.5)
    yield make("Cast", x, to=7)
    yield make("CastLike", x, i64(1))
    yield make("Dropout", x, outputs=2)
    yield make("BatchNormalization", x, consts=[f(3)] * 4)
    yield make("LayerNormalization", x, consts=[f(8, 9), f(8, 9)], axis=-2, outputs=3)
    yield make("PRelu", x, f(3, 1, 1))
    yield make("Shape", x)
    yield make("Shape", x, start=1, end=-1)
    yield make("Size", x)
    yield make("Reshape", x, consts=[i64(2, 3, -1)])
    yield make("Reshape", x, consts=[i64(0, -1, 9)])
    yield make("Reshape", x, consts=[i64(-1)])
    yield make("Reshape", f(2, 0), consts=[i64(0, 5)], allowzero=1)
    yield make("Transpose", x, perm=(0, 2, 3, 1))
    yield make("Transpose", x)
    yield make("Unsqueeze", x, consts=[i64(0, -1)])
    yield make("Squeeze", f(1, 3, 1), consts=[i64(0, -1)])
    yield make("Squeeze", f(1, 3, 1))
    yield make("Flatten", x)
    yield make("Flatten", x, axis=-1)
    yield make("Concat", x, f(2, 5, 8, 9), axis=1)
    yield make("Concat", x, f(2, 3, 8, 1), axis=-1)
    yield make("Split", x, consts=[i64(2, 6)], axis=2, outputs=2)
    yield make("Split", x, axis=-1, num_outputs=2, outputs=2)
    yield make("Slice", x, consts=[i64(1, -3), i64(7, 2**31 - 1), i64(2, 3)])
    yield make("Slice", x, consts=[i64(-1), i64(-(2**63)), i64(2), i64(-1)])
    yield make("Slice", x, consts=[i64(1), i64(100), i64(-1), i64(3)])
    yield make("Slice", x, consts=[i64(0), i64(-2), i64(3)])
    yield make("Gather", x, consts=[i64(1)], axis=1)
    yield make("Gather", x, consts=[np.array(1)], axis=2)
    yield make("Gather", x, i64([0, 1], [1, 0]), axis=-1)
    yield make("GatherND", f(5), consts=[i64(2)])
    yield make("GatherND", x, consts=[i64([0, 1], [1, 0])])
    yield make("GatherND", f(2, 3, 4), i64([[1]], [[0]]), batch_dims=1)
    yield make("Expand", f(3, 1), consts=[i64(2, 1, 4)])
    yield make("Tile", x, consts=[i64(1, 2, 1, 3)])
    yield make("ConstantOfShape", consts=[i64(2, 3)], value=Const.of(i64(7)))
    yield make("ConstantOfShape", consts=[i64(2, 3)])
    yield make("Range", consts=[np.array(2), np.array(11), np.array(3)])
    yield make("Range", consts=[np.array(9), np.array(-1), np.array(-4)])
    yield make("Range", consts=[np.float32(0), np.float32(1), np.float32(0.3)])
    yield make("Pad", x, consts=[i64(0, 0, 1, 2, 0, 0, 3, 4)])
    yield make("Pad", x, consts=[i64(1, -2), None, i64(-1)])
    yield make("Trilu", x)
    yield make("CumSum", x, consts=[np.array(1)])
    yield from products()
    yield from windows()
    yield make("FusedMatMul", f(2, 4, 3), f(2, 5, 4), domain="com.microsoft", transA=1, transB=1)
    yield make("Gelu", x, domain="com.microsoft")
    yield make("SkipLayerNormalization", f(2, 3, 4), f(2, 3, 4), consts=[f(4)], domain="com.microsoft")


def products() -> Iterator[Case]:
    x = f(2, 3, 8, 9)
    for op_type in ("ReduceMean", "ReduceMax", "ReduceL2", "ReduceLogSumExp"):
        yield make(op_type, x, consts=[i64(1, -1)])
        yield make(op_type, x, consts=[i64(2)], keepdims=0)
        yield make(op_type, x)
    yield make("ReduceSum", x, keepdims=0)
    yield make("ReduceSum", x, noop_with_empty_axes=1)
    yield make("ArgMax", x, axis=-2)
    yield make("ArgMin", x, axis=1, keepdims=0)
    yield make("MatMul", x, f(9, 4))
    yield make("MatMul", f(8), f(2, 8, 3))
    yield make("MatMul", f(5, 1, 2, 8), f(3, 8, 4))
    yield make("MatMul", f(5, 4, 8), f(8))
    yield make("MatMulInteger", np.ones((2, 3), np.uint8), np.ones((3, 4), np.uint8))
    yield make("Gemm", f(4, 3), f(5, 4), consts=[f(5)], transA=1, transB=1)
    yield make("QuantizeLinear", x, consts=[np.float32(0.1), np.int8(3)])
    yield make("QuantizeLinear", x, consts=[np.float32(0.1)])
    yield make("DequantizeLinear", (x * 9).astype(np.int8), consts=[np.float32(0.1), np.int8(3)])
    yield make("Einsum", f(2, 3), f(3, 4), equation="ab,bc->ac")
    yield make("TopK", x, consts=[i64(2)], axis=1, outputs=2)
    yield make("OneHot", i64(1, 2), consts=[np.array(5), f(2)])


def windows() -> Iterator[Case]:
    x = f(2, 4, 11, 13)
    w = f(6, 4, 3, 3)
    yield make("Conv", x, consts=[w])
    yield make("Conv", x, consts=[w], strides=(2, 3), pads=(1, 0, 2, 1), dilations=(2, 1))
    yield make("Conv", x, consts=[w], auto_pad="SAME_UPPER", strides=(2, 2))
    yield make("Conv", x, consts=[w], auto_pad="VALID", strides=(2, 2))
    yield make("Conv", x, consts=[f(4, 1, 3, 3)], group=4)
    yield make("Conv", f(1, 2, 20), consts=[f(3, 2, 5)], strides=(4,))
    yield make("ConvTranspose", x, consts=[f(4, 3, 3, 3)], strides=(2, 2), output_padding=(1, 0), pads=(1, 1, 0, 1))
    yield make("ConvTranspose", x, consts=[f(4, 3, 3, 3)], strides=(2, 2), auto_pad="SAME_UPPER", group=2)
    yield make("ConvTranspose", x, consts=[f(4, 3, 3, 3)], strides=(2, 2), output_shape=(23, 26))
    for ceil_mode in (0, 1):
        for pads in ((0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 1, 0)):
            attrs: dict[str, Any] = {"kernel_shape": (3, 2), "strides": (2, 3), "pads": pads, "ceil_mode": ceil_mode}
            yield make("AveragePool", x, **attrs)
            yield make("MaxPool", x, outputs=2, **attrs)
            attrs = {"kernel_shape": (2, 2), "strides": (3, 3), "pads": (1, 1, 1, 1), "ceil_mode": ceil_mode}
            yield make("MaxPool", f(1, 1, 6, 7), **attrs)
    yield make("LpPool", x, kernel_shape=(2, 2), auto_pad="SAME_LOWER", strides=(2, 2))
    yield make("GlobalAveragePool", x)
    yield make("Resize", x, consts=[None, np.array([1, 1, 2, 3], np.float32)])
    yield make("Resize", x, consts=[None, np.array([1, 1, 0.5, 0.7], np.float32)], mode="linear")
    yield make("Resize", x, consts=[None, None, i64(5, 6)], axes=(2, -1))
    yield make("Resize", x, consts=[None, None, i64(5, 6)], axes=(2, 3), keep_aspect_ratio_policy="not_larger")
    yield make("DepthToSpace", x, blocksize=2)
    yield make("SpaceToDepth", f(1, 2, 4, 6), blocksize=2)
    for onesided in (0, 1):
        yield make("STFT", f(1, 32, 1), consts=[np.array(4), f(16), np.array(16)], onesided=onesided)
        yield make("STFT", f(1, 32, 1), consts=[np.array(8), f(16)], onesided=onesided)
    yield make("STFT", f(1, 32, 1), consts=[np.array(4), None, np.array(16)])
    yield make("GridSample", f(1, 2, 4, 6), f(1, 5, 7, 2))


CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.op_type)
def test_real_shapes_and_formulas(case: Case) -> None:
    g, _ = case.graph(symbolic=False)
    feeds = {f"x{i}": array for i, array in enumerate(case.feeds)}
    real = run(g, feeds)
    infer_shapes(g)
    for name, array in zip(g.outputs, real, strict=True):
        assert g.tensor_type(name) == TensorType(DType.of(array.dtype), array.shape)
    g, sizes = case.graph(symbolic=True)
    infer_shapes(g)
    for name, array in zip(g.outputs, real, strict=True):
        kind = g.tensor_type(name)
        assert kind is not None
        assert kind.dtype is DType.of(array.dtype)
        if kind.shape is None:
            continue
        assert len(kind.shape) == array.ndim
        for dim, size in zip(kind.shape, array.shape, strict=True):
            value = dim_expr.evaluate(dim, sizes) if isinstance(dim, str) else dim
            assert value in (None, size), (kind, array.shape)


def run(g: Graph, feeds: dict[str, Array]) -> list[Array]:
    import onnxruntime as ort

    model = to_model(g)
    model.ir_version = 10
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)  # type: ignore[no-any-return]


#: What a symbolic shape must come to, where "unknown" would not do.
FORMULAS = [
    (make("Conv", f(2, 4, 11, 13), consts=[f(6, 4, 3, 3)], strides=(2, 2), pads=(1, 1, 1, 1)),
     ("x0_0", 6, "(x0_2 + 1)//2", "(x0_3 + 1)//2")),
    (make("ConvTranspose", f(2, 4, 11, 13), consts=[f(4, 3, 2, 2)], strides=(2, 2)), ("x0_0", 3, "2*x0_2", "2*x0_3")),
    (make("Reshape", f(2, 3, 4), consts=[i64(0, -1)]), ("x0_0", "x0_1*x0_2")),
    (make("Reshape", f(2, 12, 4), consts=[i64(0, 0, 2, -1)]), ("x0_0", "x0_1", 2, "x0_2//2")),
    (make("Flatten", f(2, 3, 4)), ("x0_0", "x0_1*x0_2")),
    (make("Concat", f(2, 3), f(2, 4), axis=1), ("x0_0", "x0_1 + x1_1")),
    (make("Slice", f(2, 9), consts=[i64(1), i64(2**31 - 1), i64(1)]), ("x0_0", "x0_1 - 1")),
    (make("Slice", f(2, 9), consts=[i64(0), i64(-2), i64(1)]), ("x0_0", "x0_1 - 2")),
    (make("Slice", f(2, 9), consts=[i64(0), i64(5), i64(1)]), ("x0_0", "min(5, x0_1)")),
    (make("Pad", f(2, 9), consts=[i64(0, 1, 0, 2)]), ("x0_0", "x0_1 + 3")),
    (make("Tile", f(2, 9), consts=[i64(1, 3)]), ("x0_0", "3*x0_1")),
    (make("Split", f(2, 8), axis=1, num_outputs=2, outputs=2), ("x0_0", "(x0_1 + 1)//2")),
    (make("Resize", f(1, 2, 3, 4), consts=[None, np.array([1, 1, 2, 0.5], np.float32)]),
     (1, "x0_1", "2*x0_2", "x0_3//2")),
    (make("MatMul", f(2, 3, 4), f(4, 5)), ("x0_0", "x0_1", "x1_1")),
]  # fmt: skip


@pytest.mark.parametrize(("case", "shape"), FORMULAS, ids=[c.op_type for c, _ in FORMULAS])
def test_formulas(case: Case, shape: tuple[int | str, ...]) -> None:
    g, _ = case.graph(symbolic=True)
    infer_shapes(g)
    assert g.tensor_type("y0").shape == shape  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "case",
    [
        make("Add", f(2, 3), f(2, 4)), make("MatMul", f(2, 3), f(4, 5)), make("Gemm", f(2, 3), f(4, 5)),
        make("Reshape", f(2, 3), consts=[i64(4, 2)]), make("Reshape", f(2, 3), consts=[i64(4, -1)]),
        make("Conv", f(1, 4, 5, 5), consts=[f(2, 3, 3, 3)]),
        make("Conv", f(1, 3, 5, 5), consts=[f(2, 3, 3, 3)], pads=(1, 1)),
        make("MaxPool", f(1, 5, 5), kernel_shape=(2, 2)),
        make("AveragePool", f(1, 1, 5, 5), kernel_shape=(2, 2), strides=(1,)),
        make("ConvTranspose", f(1, 3, 5, 5), consts=[f(3, 2, 3, 3)], output_padding=(1,)),
        make("Transpose", f(2, 3), perm=(0, 1, 2)), make("Expand", f(2, 3), consts=[i64(2, 2)]),
        make("Slice", f(2, 3), consts=[i64(0), i64(1, 1), i64(0, 1)]), make("Transpose", f(2, 3), perm=(0, 0)),
        make("Reshape", f(2, 3), consts=[i64(-1, -1)]), make("Reshape", f(2, 3), consts=[i64(2, -3)]),
        make("Conv", f(1, 3, 5, 5), consts=[f(2, 3, 3, 3)], strides=(0, 1)),
        make("Conv", f(1, 3, 5, 5), consts=[f(2, 3, 3, 3)], dilations=(1, 0)),
        make("MaxPool", f(1, 1, 5, 5), kernel_shape=(0, 2)),
        make("Einsum", f(2, 3), equation="...i...->i"), make("Einsum", f(2, 3), f(3), equation="ij,....j->ij"),
    ],
    ids=lambda c: c.op_type,
)  # fmt: skip
def test_shapes_that_cannot_go_together_are_noticed(case: Case) -> None:
    from coregraft.rewriter.shapes import Inference

    g, _ = case.graph(symbolic=False)
    inference = Inference(g)
    inference.run()
    (mismatch,) = inference.mismatches
    assert mismatch.op == f'{case.op_type} "y0"'
    assert mismatch.problem


def test_formulas_of_too_many_terms_are_no_shape() -> None:
    g = Graph()
    dims = tuple(" + ".join(f"n{i}_{j}" for j in range(40)) for i in range(12))
    g.add_input("x", TensorType(DType.FLOAT, dims))
    g.add_op(Op("Flatten", ("x",), ("y",), {"axis": 0}))
    g.set_outputs(["y"])
    infer_shapes(g)
    kind = g.tensor_type("y")
    assert kind is not None and kind.shape in (None, (1, None))


def test_unknown_dims_do_not_pass_for_equal_ones() -> None:
    g = Graph()
    for name in ("a", "b"):
        g.add_input(name, TensorType(DType.FLOAT, (None, "n", 3)))
    g.add_op(Op("Add", ("a", "b"), ("y",)))
    g.set_outputs(["y"])
    infer_shapes(g)
    assert g.tensor_type("y").shape == (None, "n", 3)  # type: ignore[union-attr]


def test_older_forms_are_left_to_onnx() -> None:
    pad = Op("Pad", ("x",), ("y",), {"pads": (1, 1)})
    assert rule_for(pad, 24) is not None
    assert rule_for(pad, 10) is None
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (4,)))
    g.add_op(pad)
    g.set_outputs(["y"])
    g.set_opsets({"": 10})
    infer_shapes(g)
    assert g.tensor_type("y") == TensorType(DType.FLOAT, (6,))


def test_a_rule_for_an_op_of_ones_own() -> None:
    @rule("test.domain::Halve")
    def halve(site: Site) -> list[TensorType]:
        shape = site.shape(0) or []
        return [tensor(site.dtype(0), [d if d is None else d // 2 for d in shape])]

    try:
        g = Graph()
        g.add_input("x", TensorType(DType.FLOAT, ("n", 8)))
        g.add_op(Op("Halve", ("x",), ("y",), domain="test.domain"))
        g.set_outputs(["y"])
        infer_shapes(g)
        assert g.tensor_type("y") == TensorType(DType.FLOAT, ("n//2", 4))
        with pytest.raises(ValueError, match="already"):
            rule("test.domain::Halve")(halve)
    finally:
        del _RULES["test.domain", "Halve"]
