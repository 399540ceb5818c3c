"""Seeded inputs: what an input is taken to hold, and that the draw is legal and repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.onnx_io.text import parse
from coregraft.verification.inputs import draw, given, kinds

TEXT = """
input input_ids: int64[2,6]
input attention_mask: int64[2,6]
input position_ids: int64[1,6]
input token_type_ids: int64[2,6]
input image: float[1,3,4,5]
input audio: float[1,100]
input "x:0": float[2,3]
input valid: bool[6]
input lens: int64[2]
const table: float[50,4] = normal(seed=1)
u = Unsqueeze(input_ids, [1])
c = Cast(u, to=6)
e = Gather(table, c)
output e
"""


def test_kinds_by_name_dtype_and_use() -> None:
    found = {name: kind.name for name, kind in kinds(parse(TEXT)).items()}
    assert found == {
        "input_ids": "ids",
        "attention_mask": "mask",
        "position_ids": "positions",
        "token_type_ids": "segments",
        "image": "image",
        "audio": "audio",
        "x:0": "values",
        "valid": "mask",
        "lens": "lengths",
    }


def test_ids_stay_inside_the_table_they_index() -> None:
    g = parse(TEXT)
    assert kinds(g)["input_ids"].high == 50
    drawn = [draw(g, seed)["input_ids"] for seed in range(30)]
    assert max(d.max() for d in drawn) < 50
    assert max(d.max() for d in drawn) >= 40


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("input t: float[4,7]\ninput i: int64[4,3]\ny = GatherElements(t, i, axis=1)\noutput y\n", 0, 7),
        ("input t: float[4,7]\ninput i: int64[4,3]\ny = GatherElements(t, i, axis=-2)\noutput y\n", 0, 4),
        ("input t: float[6,7]\ninput i: int64[5,2]\ny = GatherND(t, i)\noutput y\n", 0, 6),
        ("input t: float[2,7]\ninput i: int64[2,1]\ny = GatherND(t, i, batch_dims=1)\noutput y\n", 0, 7),
        ("input t: float[4,7]\ninput i: int64[4,3]\ninput u: float[4,3]\n"
         "y = ScatterElements(t, i, u, axis=1)\noutput y\n", 0, 7),
        ("input t: float[4,7]\ninput i: int64[3,1]\ninput u: float[3,7]\ny = ScatterND(t, i, u)\noutput y\n", 0, 4),
        ("input t: float[3,5]\ninput i: int64[3]\nl, p = SoftmaxCrossEntropyLoss(t, i)\noutput l\n", 0, 5),
        ("input t: int64[4]\ninput i: int64[4]\ny = Mod(t, i)\noutput y\n", 1, 10),
        ("input t: int64[4]\ninput i: int64[4,1]\ns = Squeeze(i, [1])\ny = Div(t, s)\noutput y\n", 1, 10),
        ("input t: float[6,2,3]\ninput i: int32[2]\nconst w: float[1,4,3] = normal(seed=1)\n"
         "const r: float[1,4,4] = normal(seed=2)\ny = RNN(t, w, r, _, i, hidden_size=4)\noutput y\n", 1, 7),
    ],
    ids=["gather-elements", "gather-elements-negative-axis", "gather-nd", "gather-nd-batch", "scatter-elements",
         "scatter-nd", "loss", "mod", "div", "sequence-lengths"],
)  # fmt: skip
def test_integers_are_drawn_where_the_op_is_defined(text: str, low: int, high: int) -> None:
    g = parse(text)
    assert (kinds(g)["i"].low, kinds(g)["i"].high) == (low, high)
    drawn = [draw(g, seed)["i"] for seed in range(30)]
    assert (min(d.min() for d in drawn), max(d.max() for d in drawn)) == (low, high - 1)


def test_draws_have_the_right_types_and_repeat() -> None:
    g = parse(TEXT)
    a, b, c = draw(g, 3), draw(g, 3), draw(g, 4)
    for name in g.inputs:
        kind = g.tensor_type(name)
        assert kind is not None
        assert (a[name].shape, a[name].dtype) == (kind.static_shape, kind.dtype.numpy)
        np.testing.assert_array_equal(a[name], b[name])
    assert not np.array_equal(a["x:0"], c["x:0"])


def test_no_row_is_masked_out_whole() -> None:
    g = parse(TEXT)
    for seed in range(20):
        assert draw(g, seed)["attention_mask"].any(-1).all()


def test_symbolic_inputs_cannot_be_drawn() -> None:
    with pytest.raises(CoregraftError) as caught:
        draw(parse("input x: float[N]\ny = Relu(x)\noutput y\n"))
    assert caught.value.code == "input-undrawable"


@pytest.mark.parametrize(
    "arrays", [{}, {"x": np.zeros((2, 3)), "z": np.zeros(1)}, {"x": np.zeros((3, 2))}, {"q": np.zeros((2, 3))}]
)
def test_given_inputs_are_checked(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    g = parse("input x: float[2,3]\ny = Relu(x)\noutput y\n")
    with pytest.raises(CoregraftError) as caught:
        given(g, arrays)
    assert caught.value.code == "inputs-mismatch"


def test_given_inputs_are_cast() -> None:
    g = parse("input x: float[2]\ny = Relu(x)\noutput y\n")
    assert given(g, {"x": np.array([1, 2])})["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("input x: float[1,3,8,8]\nconst w: float[4,3,3,3] = normal(seed=1)\ns = Sub(x, 0.5)\nd = Div(s, 0.2)\n"
         "y = Conv(d, w)\noutput y\n", "image"),
        ("input x: float[1,8,8,3]\nconst w: float[4,3,3,3] = normal(seed=1)\nt = Transpose(x, perm=[0, 3, 1, 2])\n"
         "y = Conv(t, w)\noutput y\n", "image"),
        ("input x: float[1,8,8,8]\nconst w: float[4,8,3,3] = normal(seed=1)\ny = Conv(x, w)\noutput y\n", "values"),
        ("input x: float[1,3,8,8]\ny = Relu(x)\noutput y\n", "values"),
        ("input x: float[1,3,8,8]\ninput z: float[1,3,8,8]\nconst w: float[4,3,3,3] = normal(seed=1)\n"
         "s = Add(x, z)\ny = Conv(s, w)\noutput y\n", "values"),
    ],
    ids=["normalised", "channels-last", "features", "no-convolution", "two-inputs"],
)  # fmt: skip
def test_an_image_is_known_by_its_use(text: str, kind: str) -> None:
    assert kinds(parse(text))["x"].name == kind


def test_distances_are_positive() -> None:
    g = parse("input edge_dist: float[50]\ny = Reciprocal(edge_dist)\noutput y\n")
    assert draw(g)["edge_dist"].min() > 0
