"""Shape ops, tensors made from shapes, and Pad against ONNX's reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering import targets
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.types import Const, DType, TensorType
from tests.lowering.fold_harness import Case, assert_right, case, find_op, folded, graph_of, mil_ops, reference

_RNG = np.random.default_rng(11)
_X = _RNG.standard_normal((2, 3, 4)).astype(np.float32)
_I = _RNG.integers(-9, 9, (2, 3, 4)).astype(np.int32)
_B = _I > 0
_IMAGE = _RNG.standard_normal((1, 2, 4, 5)).astype(np.float32)

SHAPE = [
    *[case("Reshape", x, np.array(s), constant=(1,)) for x in (_X, _I, _B) for s in ((6, 4), (0, -1), (1, 2, 3, 2, 2))],
    case("Reshape", np.ones((1, 1), np.float32), np.zeros(0, np.int64), constant=(1,)),
    case("Reshape", np.float32(3), np.array([1, 1]), constant=(1,)),
    *[case("Flatten", _X, axis=a) for a in (0, 1, 2, 3, -1)], case("Flatten", np.float32(1), axis=0),
    case("Squeeze", _X[:, :1, :1], np.array([1]), constant=(1,)), case("Squeeze", _X[:1, :1]),
    case("Squeeze", _X[:1, :1], np.array([-3, -2]), constant=(1,)),
    *[case("Squeeze", x[:1, :1, :1]) for x in (_X, _I, _B)], case("Squeeze", _X),
    *[case("Unsqueeze", x, np.array(a), constant=(1,)) for x in (_X, _B) for a in ((0,), (-1, 1), (4, 0))],
    case("Unsqueeze", np.float32(2), np.array([0]), constant=(1,)),
    case("Transpose", _X), case("Transpose", _B, perm=[1, 2, 0]), case("Transpose", _I, perm=[0, 1, 2]),
    *[case("Expand", x[:, :1], np.array(s), constant=(1,))
      for x in (_X, _I, _B) for s in ((2, 3, 4), (5, 2, 3, 1), (1,))],
    case("Expand", np.float32(2), np.array([2, 3]), constant=(1,)),
    *[case("Tile", x, np.array(r), constant=(1,)) for x in (_X, _I, _B) for r in ((1, 2, 3), (1, 1, 1))],
    case("Identity", _X), case("Dropout", _X),
    case("Dropout", _X, np.float32(0.3), np.array(False), constant=(1, 2), outputs=2),
    case("Dropout", _X, np.float32(0), np.array(True), constant=(1, 2), seed=1),
    case("Dropout", _X, np.float32(0), np.array(True), constant=(1,), outputs=2),
]  # fmt: skip
MADE = [
    case("Shape", _X), case("Shape", _X, start=1), case("Shape", _X, start=-2, end=-1), case("Size", _X),
    case("ConstantOfShape", np.array([2, 3]), constant=(0,)),
    *[case("EyeLike", _X[0], k=k) for k in (0, 1, -1)], *[case("EyeLike", _X[0], k=1, dtype=d) for d in (7, 9)],
    *[case("Range", *map(np.float32, r), constant=(0, 1, 2)) for r in ((0, 5, 1), (5, 0, -2), (0.5, 3, 0.7))],
    *[case("Range", d(2), d(9), d(3)) for d in (np.int32, np.float32)],
    *[case("Trilu", x, np.array(k), constant=(1,), upper=u)
      for x in (_X, _I, _B) for k in (-1, 0, 2, 9) for u in (0, 1)],
    case("Trilu", np.full((2, 2), np.inf, np.float32)),
    *[case("OneHot", np.array([[1, -1], [0, 5]]), np.array(3), v, constant=(1,), axis=a)
      for v in (np.array([0, 1], np.float32), np.array([5, -2], np.int32)) for a in (-1, 0, 1)],
    case("OneHot", np.array([1.0, 2.0], np.float32), np.array(3), np.array([0, 1], np.float32), constant=(1, 2)),
    case("OneHot", np.array([-1, 3]), np.array([3]), np.array([True, False]), constant=(1, 2),
         want=[np.array([[1, 1, 0], [1, 1, 1]], bool)]),
    case("OneHot", np.array(1), np.array(3), np.array([0, 1], np.float32), constant=(1, 2)),
]  # fmt: skip
_PADS = {
    "plain": (0, 0, 1, 2, 0, 0, 2, 1), "channels": (0, 1, 0, 0, 1, 1, 0, 0), "negative": (0, 0, -1, 2, 0, -1, 0, -1),
}  # fmt: skip
PADS = [
    *[case("Pad", x, np.array(p), constant=(1,), mode=m)
      for x in (_IMAGE, _IMAGE.astype(np.int32)) for p in _PADS.values() for m in ("constant", "edge", "wrap")],
    *[case("Pad", x, np.array(_PADS[k]), constant=(1,), mode="reflect")
      for x in (_IMAGE, _IMAGE.astype(np.int32)) for k in ("plain", "negative")],
    case("Pad", _X, np.array([1, 2, 0, 0, 0, 1]), constant=(1,), mode="reflect"),
    case("Pad", _X, np.array([0, 5, 0, 7]), None, np.array([1, -1]), constant=(1, 3), mode="wrap"),
    case("Pad", _X[0], np.array([0, 6, 0, 7]), constant=(1,), mode="edge"),
    case("Pad", _X, np.array([1, 2]), np.float32(9), np.array([-2]), constant=(1, 2, 3)),
    case("Pad", _X, np.array([1, 0, 2, 0, 0, 1]), np.float32(9), constant=(1,)),
    case("Pad", _I, np.array([1, 0, 2, 0, 0, 1]), np.int32(7), constant=(1, 2)),
    case("Pad", _B, np.array([1, 0, 2, 0, 0, 1]), constant=(1,)),
    case("Pad", _B, np.array([0, 1, 0, 0, 0, 0]), constant=(1,), mode="edge"),
    case("Pad", _X, np.zeros(6, np.int64), constant=(1,)),
    case("Pad", _X.astype(np.float16), np.array([0, 0, 1, 0, 0, 1]), np.float16(2), constant=(1, 2)),
]  # fmt: skip


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("c", [*SHAPE, *MADE, *PADS], ids=str)
def test_matches_onnx(c: Case, target: str) -> None:
    assert_right(c, target)


def _blocks(op: str, dtype: Any, **attrs: Any) -> Case:
    shape = (2, 8, 2, 3) if op == "DepthToSpace" else (2, 2, 4, 6)
    return case(op, np.arange(96).reshape(shape).astype(dtype), blocksize=2, **attrs)


@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
@pytest.mark.parametrize("mode", ["DCR", "CRD", None])
def test_blocks(mode: str | None, target: str) -> None:
    op, attrs = ("DepthToSpace", {"mode": mode}) if mode else ("SpaceToDepth", {})
    assert_right(_blocks(op, np.int32, **attrs), target)
    assert_right(_blocks(op, np.float32, **attrs), target, folds=False)


def test_blocks_of_pixels_are_one_op() -> None:
    made = [mil_ops(_blocks("DepthToSpace", np.float32, mode=m)) for m in ("DCR", "CRD")]
    assert made == [["depth_to_space"], ["pixel_shuffle"]]
    assert mil_ops(_blocks("SpaceToDepth", np.float32)) == ["space_to_depth"]


@pytest.mark.parametrize(("wanted", "allowzero"), [((0, -1), 0), ((-1, 4), 0), ((6, 4), 1)])
def test_reshape_of_an_operand_that_inference_did_not_know(wanted: tuple[int, ...], allowzero: int) -> None:
    c = case("Reshape", _X, np.array(wanted), constant=(1,), allowzero=allowzero)
    g = graph_of(c, fed=(0,))
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, (None, None))
    program = lower_graph(g, targets.get("iOS17"))
    assert program.outputs[0].shape == reference(c)[0].shape


@pytest.mark.parametrize("step", [0.3, 3.0])
def test_range_whose_length_a_rounded_division_decides_is_refused(step: float) -> None:
    g = graph_of(case("Range", np.float32(0), np.float32(3), np.float32(step)), fed=(1,))
    g.nodes["y0"]["type"] = TensorType(DType.FLOAT, ("n",))
    with pytest.raises(UnsupportedError, match=r"how a division by .* is rounded"):
        lower_graph(g, targets.get("iOS17"))


@pytest.mark.parametrize(
    ("mode", "pads", "expected"),
    [
        ("constant", (1, 1, 1, 1, 1, 1, 1, 1), ["pad"]),
        ("reflect", (0, 0, 1, 1, 0, 0, 1, 1), ["pad"]),
        ("edge", (0, 0, 0, 1, 0, 0, 0, 1), ["pad"]),
        ("edge", (0, 1, 0, 0, 0, 0, 0, 0), ["gather"]),
        ("wrap", (0, 0, 0, 1, 0, 0, 0, 0), ["gather"]),
    ],
)
def test_pad_is_native_where_it_says_the_same(mode: str, pads: tuple[int, ...], expected: list[str]) -> None:
    assert mil_ops(case("Pad", _IMAGE, np.array(pads), constant=(1,), mode=mode)) == expected


def test_constant_of_shape_takes_no_room() -> None:
    fill = case("ConstantOfShape", np.array([2, 3]), value=Const.of(np.array([7], np.int64)), want=[np.full((2, 3), 7)])
    np.testing.assert_array_equal(folded(fill)[0], fill.want[0] if fill.want else 0)


def test_constants() -> None:
    for key, value, want in (
        ("value", Const.of(np.array([1.5], np.float64)), np.array([1.5])),
        ("value_float", 2.5, np.float32(2.5)), ("value_ints", (1, 2), np.array([1, 2])), ("value_int", 3, np.int64(3)),
    ):  # fmt: skip
        found = folded(Case("Constant", (), {key: value}, want=(np.asarray(want),)))[0]
        assert found is not None
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    "c",
    [
        case("Dropout", _X, np.float32(0.5), np.array(True), constant=(1, 2), want=[_X]),
        case("Unsqueeze", _X, np.array([0, 1, 2]), constant=(1,)),
        case("Expand", _X[0], np.array([1, 1, 1, 1, 3, 4]), constant=(1,)),
        case("Tile", _X, np.array([1, 0, 1]), constant=(1,)),
        case("ConstantOfShape", np.array([0, 2]), constant=(0,)),
        case("Shape", _X, start=2, end=1),
        case("Squeeze", _X, np.array([1]), constant=(1,), want=[_X]),
        case("Pad", _X, np.array([0, 0, -4, 0, 0, 0]), constant=(1,), want=[_X]),
        case("Pad", _X, np.zeros(6, np.int64), constant=(1,), mode="sideways", want=[_X]),
    ],
    ids=str,
)
def test_refused(c: Case) -> None:
    with pytest.raises(UnsupportedError) as error:
        folded(c)
    assert error.value.code == "op-unsupported"


def test_trilu_keeps_no_infinity_times_zero() -> None:
    assert find_op(case("Trilu", _X), "select").b.val == 0
