"""Parameters of custom layers: what values they take, and how a model holds those that nobody declared."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from coregraft.custom_layers.parameters import MAX_TEXT, ParameterSpec, decoded, held, unregistered, value_of
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.types import Const


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("bool", True, True), ("bool", 1, True), ("bool", 0, False), ("int", -(2**31), -(2**31)), ("int", 7, 7),
        ("float", 2, 2.0), ("float", float("inf"), float("inf")), ("string", b"\xc3\xa4", "ä"), ("string", "x", "x"),
        ("ints", [1, 2], (1, 2)), ("ints", (), ()), ("floats", (1, 0.5), (1.0, 0.5)),
        ("strings", [b"a", "b"], ("a", "b")),
    ],
)  # fmt: skip
def test_values_that_fit(kind: str, value: Any, wanted: Any) -> None:
    found = value_of(ParameterSpec("p", kind), value, "here")
    assert found == wanted and type(found) is type(wanted)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bool", 2), ("bool", 1.0), ("int", True), ("int", 1.0), ("int", 2**31), ("int", -(2**31) - 1), ("float", True),
        ("float", "1"), ("string", 1), ("string", b"\xff"), ("ints", 1), ("ints", "12"), ("ints", [1, True]),
        ("ints", [0.5]), ("floats", [float("nan")]), ("floats", [float("inf")]), ("strings", [1]),
    ],
)  # fmt: skip
def test_values_that_do_not(kind: str, value: Any) -> None:
    with pytest.raises(UnsupportedError) as error:
        value_of(ParameterSpec("p", kind), value, "here")
    assert error.value.code == "custom-layer-mismatch"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, None), (0.5, None), ("x", None), (b"x", None), ((1, 2), "[Int]"), ((0.5, 1.0), "[Double]"),
        (("a", b"b"), "[String]"), ((), "[Double]"),
    ],
)  # fmt: skip
def test_what_nobody_declared_comes_back_as_it_was(value: Any, kind: str | None) -> None:
    text, found = unregistered(value)
    assert found == kind
    plain = tuple(v.decode() if isinstance(v, bytes) else v for v in value) if isinstance(value, tuple) else value
    assert decoded(text) == (plain.decode() if isinstance(plain, bytes) else plain)


def test_a_tensor_comes_back_as_it_was() -> None:
    array = np.array([[1.0, 2.0], [3.0, 4.5]], np.float32)
    text, kind = unregistered(Const.of(array))
    assert kind == "TensorParameter" and json.loads(text)["shape"] == [2, 2]
    np.testing.assert_array_equal(decoded(text), array)


@pytest.mark.parametrize("text", ["[1, 2", "{}", '{"shape": [1]}', '{"other": 1}', "x", ""])
def test_a_text_that_is_no_list_or_tensor_stays_one(text: str) -> None:
    assert decoded(text) == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (2**31, "32 bits"), (b"\xff", "UTF-8"), ((1, None), "list of them"), (None, "list of them"),
        ((float("inf"),), "infinity"), (Const.of(np.array([np.nan])), "infinity"),
        (Const.of(np.zeros(MAX_TEXT // 4 + 1)), "larger"),
    ],
)  # fmt: skip
def test_what_a_layer_cannot_hold(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        unregistered(value)


def test_the_text_of_a_list_is_the_same_every_time() -> None:
    assert held((1, 2)) == "[1,2]" and held({"b": 1, "a": 2}) == '{"a":2,"b":1}'
