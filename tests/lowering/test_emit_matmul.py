"""Products against onnxruntime: every rank, integers, and what may be folded into a linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.dialect import DOMAIN
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Const, DType, TensorType
from tests.lowering.agreement import agree, by_runtime, mil_op
from tests.lowering.fold_harness import case, lowered
from tests.lowering.mil_numpy import op_types, run_mil

_RNG = np.random.default_rng(14)


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return _RNG.standard_normal(shape).astype(dtype)


SHAPES = [
    ((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (2, 4, 5)),
    ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (2, 4, 5)), ((2, 3, 4), (4,)), ((2, 2, 3, 4), (4,)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
@pytest.mark.parametrize("constant", [(), (1,)])
def test_matmul(a: tuple[int, ...], b: tuple[int, ...], constant: tuple[int, ...]) -> None:
    assert "matmul" in agree(case("MatMul", floats(*a), floats(*b), constant=constant))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_matmul_of_integers(dtype: Any) -> None:
    x, y = (_RNG.integers(-50, 50, shape).astype(dtype) for shape in ((2, 3, 4), (4, 5)))
    assert agree(case("MatMul", x, y)) == ["matmul"]


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("c", [None, (5,), (1, 5), (1, 1), (), (3, 1), (3, 5)], ids=str)
@pytest.mark.parametrize("constant", [(1, 2), (2,), ()], ids=str)
def test_gemm(trans_a: int, trans_b: int, c: Any, constant: tuple[int, ...]) -> None:
    x, w = floats(*((4, 3) if trans_a else (3, 4))), floats(*((5, 4) if trans_b else (4, 5)))
    addend = None if c is None else floats(*c)
    operands = [x, w] if addend is None else [x, w, addend]
    constant = tuple(i for i in constant if i < len(operands))
    for alpha, beta in ((1.0, 1.0), (0.5, 2.0)):
        attrs: dict[str, Any] = {"transA": trans_a, "transB": trans_b, "alpha": alpha, "beta": beta}
        ops = agree(case("Gemm", *operands, constant=constant, **attrs))
        row = c is None or c in ((5,), (1, 5), (1, 1), ())
        foldable = 1 in constant and row and (c is None or 2 in constant)
        assert ("linear" in ops) == foldable
        assert not foldable or ops == ["transpose", "linear"][1 - trans_a :]


def test_gemm_shares_the_weight_that_needs_no_change() -> None:
    w = floats(5, 4)
    op = mil_op(by_runtime(case("Gemm", floats(3, 4), w, floats(5), constant=(1, 2), transB=1, beta=3.0)), "linear")
    np.testing.assert_array_equal(op.weight.val, w)
    assert op.weight.name == "x1"


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, 3.0)])
def test_gemm_of_integers_is_a_matmul(alpha: float, beta: float) -> None:
    a, b, c = (_RNG.integers(-9, 9, shape).astype(np.int32) for shape in ((3, 4), (4, 5), (5,)))
    want = (int(alpha) * (a @ b) + int(beta) * c,)
    ops = agree(case("Gemm", a, b, c, constant=(1, 2), alpha=alpha, beta=beta, want=want))
    assert "matmul" in ops
    assert "linear" not in ops
    with pytest.raises(UnsupportedError, match=r"0\.5"):
        lowered(case("Gemm", a, b, c, alpha=0.5, want=want))


def _linear(x: Any, w: Any, bias: Any, *, constant: bool = True) -> tuple[Any, list[str]]:
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET, DOMAIN: 1})
    feeds = {"x": x}
    g.add_input("x", TensorType(DType.of(x.dtype), x.shape))
    for name, values in (("w", w), ("b", bias)):
        if values is None:
            continue
        if constant:
            g.add_value(name, const=Const.of(values))
        else:
            g.add_input(name, TensorType(DType.of(values.dtype), values.shape))
            feeds[name] = values
    g.add_value("y", TensorType(DType.of(x.dtype), (*x.shape[:-1], w.shape[0])))
    g.add_op(Op("Linear", ("x", "w") if bias is None else ("x", "w", "b"), ("y",), domain=DOMAIN, name="op"))
    g.set_outputs(["y"])
    program = lower_graph(g, targets.get("iOS15")).program
    return run_mil(program, feeds)["y"], op_types(program)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_linear(rank: int, biased: bool, constant: bool) -> None:
    x, w, bias = floats(*(2, 3, 2, 3, 4)[5 - rank :]), floats(5, 4), floats(5) if biased else None
    y, ops = _linear(x, w, bias, constant=constant)
    np.testing.assert_allclose(y, x @ w.T + (0 if bias is None else bias), rtol=1e-5, atol=1e-5)
    assert (ops == ["linear"]) == (rank <= 3 and constant)


def test_linear_of_integers_is_a_matmul() -> None:
    x, w = np.arange(8, dtype=np.int32).reshape(2, 4), np.arange(12, dtype=np.int32).reshape(3, 4)
    y, ops = _linear(x, w, None)
    np.testing.assert_array_equal(y, x @ w.T)
    assert ops == ["matmul"]


@pytest.mark.parametrize("equation", ["nchw,nwhu->nchu", "b c h q, b q h k -> b c h k"])
def test_the_einsum_that_core_ml_has(equation: str) -> None:
    assert agree(case("Einsum", floats(2, 3, 4, 5), floats(2, 5, 4, 6), equation=equation)) == ["einsum"]


def test_other_einsums_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="no einsum"):
        lowered(by_runtime(case("Einsum", floats(2, 3, 4), floats(2, 4, 5), equation="bij,bjk->bik")))
