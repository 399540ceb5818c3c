"""``--dim`` and ``--shape``: names, formulas, inputs without names or rank, and every conflict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import GraphError, UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.shapes.dims import pin_dims, symbolic_dims
from coregraft.rewriter.types import Const, DType, TensorType

F = DType.FLOAT


def model(**inputs: Any) -> Graph:
    """Inputs by name (a shape, or None for no rank); each goes through a Relu to an output ``<name>_out``."""
    g = Graph()
    for name, shape in inputs.items():
        g.add_input(name, TensorType(F, shape))
        g.add_op(Op("Relu", (name,), (f"{name}_out",)))
    g.set_outputs([f"{name}_out" for name in inputs])
    g.set_opsets({"": 24})
    return g


def shapes(g: Graph) -> dict[str, Any]:
    return {str(v): g.tensor_type(v).shape for v in g.values()}  # type: ignore[union-attr]


def failure(
    g: Graph, dims: dict[str, int] | None = None, shapes: dict[str, tuple[int, ...]] | None = None
) -> UsageError:
    with pytest.raises(UsageError) as caught:
        pin_dims(g, dims or {}, shapes or {})
    return caught.value


def test_a_name_is_fixed_everywhere() -> None:
    g = model(x=("batch", 3, "height"), y=("batch", "seq"))
    pin_dims(g, {"batch": 2, "height": 9}, {})
    assert shapes(g) == {"x": (2, 3, 9), "x_out": (2, 3, 9), "y": (2, "seq"), "y_out": (2, "seq")}


def test_formulas_follow() -> None:
    g = model(x=("batch", "seq"), y=("batch", "2*seq + 1"), z=("batch*seq",))
    assert symbolic_dims(g) == ("batch", "seq")
    pin_dims(g, {"seq": 4}, {})
    assert shapes(g)["y_out"] == ("batch", 9)
    assert shapes(g)["z_out"] == ("4*batch",)


@pytest.mark.parametrize("name", ["batch-size", "p2o.DynamicDimension.0", "time steps", "unk__7"])
def test_odd_names(name: str) -> None:
    """Exporters put anything there; what looks like a formula over names that no input has is a name."""
    g = model(x=(name, 4))
    assert symbolic_dims(g) == (name,)
    pin_dims(g, {name: 3}, {})
    assert shapes(g)["x_out"] == (3, 4)


def test_whole_shapes() -> None:
    g = model(x=(None, 3, "?", -1), y=None, z=("n", "n"))
    pin_dims(g, {}, {"x": (1, 3, 8, 9), "y": (5,), "z": (2, 2)})
    assert shapes(g)["x_out"] == (1, 3, 8, 9)
    assert shapes(g)["y_out"] == (5,)
    assert shapes(g)["z_out"] == (2, 2)


def test_a_shape_fixes_the_names_it_meets() -> None:
    g = model(x=("batch", "seq"), y=("batch", "seq + 1"))
    pin_dims(g, {}, {"x": (2, 5)})
    assert shapes(g)["y_out"] == (2, 6)


def test_types_inside_are_inferred_anew() -> None:
    g = model(x=("batch", 6))
    g.add_value("target", const=Const.of(np.array([-1, 3])))
    g.add_op(Op("Reshape", ("x_out", "target"), ("folded",)))
    g.add_op(Op("Mystery", ("folded",), ("strange",), domain="vendor"))
    g.set_outputs(["folded", "strange"])
    g.add_value("folded", TensorType(F, ("stale", 3)))
    g.add_value("strange", TensorType(F, ("batch", "2*batch", "other")))
    pin_dims(g, {"batch": 4}, {})
    assert shapes(g)["folded"] == (8, 3)
    assert shapes(g)["strange"] == (4, 8, "other")


def test_nothing_to_pin_infers_only() -> None:
    g = model(x=("batch", 3))
    pin_dims(g, {}, {})
    assert shapes(g)["x_out"] == ("batch", 3)


def test_unknown_names_list_the_known_ones() -> None:
    error = failure(model(x=("batch", "seq")), {"bach": 1})
    assert error.code == "dim-unknown"
    assert error.exit_code == 2
    assert error.hint is not None and "batch, seq" in error.hint
    hint = failure(model(x=(None, 3)), {"batch": 1}).hint
    assert hint is not None and "--shape" in hint


def test_an_unknown_input_lists_the_known_ones() -> None:
    error = failure(model(x=("n",), y=("n",)), shapes={"z": (1,)})
    assert error.code == "input-unknown"
    assert error.hint is not None and "x, y" in error.hint


@pytest.mark.parametrize(
    ("dims", "given", "part"),
    [
        ({"n": 0}, {}, "cannot be 0"),
        ({}, {"x": (1, 0)}, "positive"),
        ({}, {"x": (2, 3, 4)}, "3 sizes"),
        ({"n": 2}, {"x": (3, 3)}, 'dim "n" cannot be both 2 and 3'),
        ({}, {"x": (2, 4)}, "is 3, not 4"),
        ({"n": 2}, {"y": (5,)}, r"n \+ 1 = 3, not 5"),
    ],
)
def test_conflicts(dims: dict[str, int], given: dict[str, tuple[int, ...]], part: str) -> None:
    with pytest.raises(UsageError, match=part) as caught:
        pin_dims(model(x=("n", 3), y=("n + 1",)), dims, given)
    assert caught.value.code == "shape-conflict"


def test_sizes_that_an_op_cannot_take() -> None:
    g = model(x=("n", "width"))
    g.add_value("w", const=Const.of(np.ones((8, 2), np.float32)))
    g.add_op(Op("MatMul", ("x_out", "w"), ("y",), name="dense"))
    g.set_outputs(["y"])
    error = failure(g, {"width": 9})
    assert error.code == "shape-conflict"
    assert error.node == 'MatMul "dense"'


def test_a_model_that_was_wrong_before_is_not_the_caller_s_fault() -> None:
    g = model(x=("n", 9))
    g.add_value("w", const=Const.of(np.ones((8, 2), np.float32)))
    g.add_op(Op("MatMul", ("x_out", "w"), ("y",)))
    g.set_outputs(["y"])
    with pytest.raises(GraphError) as caught:
        pin_dims(g, {"n": 2}, {})
    assert (caught.value.code, caught.value.node) == ("shape-mismatch", 'MatMul "y"')


def test_bodies_are_pinned_too() -> None:
    branch = Graph()
    branch.add_op(Op("Mystery", ("x",), ("a",), domain="vendor"))
    branch.add_value("a", TensorType(F, ("n", 2)))
    branch.set_outputs(["a"])
    g = model(x=("n", 3), c=())
    g.add_input("flag", TensorType(DType.BOOL, ()))
    attrs = {"then_branch": branch, "else_branch": branch.copy()}
    op_id = g.add_op(Op("If", ("flag",), ("y",), attrs, captures=("x",)))
    g.set_outputs(["y"])
    pin_dims(g, {"n": 6}, {})
    assert g.tensor_type("y") == TensorType(F, (6, 2))
    assert g.op(op_id).attrs["then_branch"].tensor_type("a").shape == (6, 2)
    assert branch.tensor_type("a").shape == ("n", 2)  # type: ignore[union-attr]
