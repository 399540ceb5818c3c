"""What makes an angle of positions, one op each, and what an angle is no longer one of positions behind."""

import pytest

from coregraft.passes.precision._angles import angles_of_positions
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import DType, TensorType

HEAD = """input p: int64[2,4]
input t: float[2,4]
const f: float[4,4] = normal(seed=1)
a = Cast(p, to=1)
"""
#: Of the float positions ``a``.
WAYS = (
    "Add(a, t)", "Cast(a, to=11)", "Concat(a, t, axis=0)", "Div(a, 7.0)", "Expand(a, [3,2,4])", "Flatten(a)",
    "Gather(a, [1])", "Identity(a)", "MatMul(a, f)", "Mul(a, 0.5)", "Neg(a)", "Reshape(a, [8])", "Slice(a, [0], [1])",
    "Split(a, num_outputs=1)", "Sub(t, a)", "Tile(a, [1,2])", "Transpose(a)", "Unsqueeze(a, [0])",
)  # fmt: skip


def angles(lines: str) -> list[str]:
    """The types of the ops found, in order of the graph."""
    g = PassManager("infer-shapes").run(parse(f"{HEAD}{lines}\noutput y")).graph
    found = angles_of_positions(g)
    return [g.op(i).type for i in g.topological() if i in found]


@pytest.mark.parametrize("way", WAYS)
def test_ways(way: str) -> None:
    assert angles(f"b = {way}\ny = Sin(b)") == ["Cast", way.partition("(")[0], "Sin"]


@pytest.mark.parametrize("kind", ["Cos", "Sin", "Tan"])
def test_functions_of_angles(kind: str) -> None:
    assert angles(f"y = {kind}(a)") == ["Cast", kind]
    assert angles(f"b = {kind}(a)\ny = Relu(b)") == ["Cast", kind]


def test_a_range_and_a_squeeze() -> None:
    lines = "r = Range(0.0, 9.0, 1.0)\nb = Unsqueeze(r, [0])\nc = Squeeze(b, [0])\ny = Cos(c)"
    assert angles(lines) == ["Range", "Unsqueeze", "Squeeze", "Cos"]


@pytest.mark.parametrize("way", ["Relu(a)", "Sin(a)", "Exp(a)", "Softmax(a)", "ReduceSum(a)"])
def test_the_angle_of_something_else(way: str) -> None:
    """An op of another kind on the way: what comes of it is as large as the network made it."""
    assert "Mul" not in angles(f"b = {way}\nc = Mul(b, 30.0)\ny = Sin(c)")


def test_ops_of_other_domains() -> None:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (2,)))
    g.add_op(Op("Sin", ("x",), ("y",), domain="mine"))
    g.set_outputs(["y"])
    assert angles_of_positions(g) == set()
