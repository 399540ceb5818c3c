"""LabelEncoder, and what prepares features, against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_label_encoder import DecomposeLabelEncoder
from coregraft.rewriter.graph import Floats, Strings
from coregraft.rewriter.types import Const

RULE = DecomposeLabelEncoder()
ML = "ai.onnx.ml"
KEYS = {
    "int64s": ((3, -5, 8), np.array([[3, 8], [4, -5]])),
    "floats": (Floats([0.5, -1.0]), np.array([0.5, 2.0, -1.0])),
}


@pytest.mark.parametrize("keys", ["int64s", "floats"])
@pytest.mark.parametrize("values", ["int64s", "floats"])
def test_tables(harness: Any, keys: str, values: str) -> None:
    table, elements = KEYS[keys]
    x = elements.astype(np.int64 if keys == "int64s" else np.float32)
    given = tuple(range(10, 10 + len(table)))
    attrs: dict[str, Any] = {
        f"keys_{keys}": table,
        f"values_{values}": given if values == "int64s" else Floats([v + 0.5 for v in given]),
        "default_int64": 99,
        "default_float": -0.25,
    }
    g, feeds = harness.graph("LabelEncoder", [x], domain=ML, **attrs)
    harness.same(RULE, g, feeds)


def test_not_a_number_is_a_key(harness: Any) -> None:
    x = np.array([np.nan, 1.0, 2.0], np.float32)
    nan = float("nan")
    g, feeds = harness.graph("LabelEncoder", [x], domain=ML, keys_floats=Floats([nan, 1.0]), values_int64s=(7, 8))
    harness.same(RULE, g, feeds)


def test_tables_that_are_tensors(harness: Any) -> None:
    x = np.array([1.0, 2.0, 3.0], np.float64)
    attrs = {
        "keys_tensor": Const.of(np.array([1.0, 3.0])),
        "values_tensor": Const.of(np.array([0.1, 0.2])),
        "default_tensor": Const.of(np.array([0.9])),
    }
    g, feeds = harness.graph("LabelEncoder", [x], domain=ML, **attrs)
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"keys_int64s": (1, 2), "values_strings": Strings(["a", "b"])}, "strings"),
        ({"keys_int64s": (1, 1), "values_int64s": (1, 2)}, "one is there twice"),
        ({"keys_floats": Floats([1.0]), "values_int64s": (1,)}, "of the type of its keys"),
    ],
)
def test_declines(harness: Any, attrs: dict[str, Any], reason: str) -> None:
    g, _ = harness.graph("LabelEncoder", [np.array([1, 2])], domain=ML, **attrs)
    harness.declines(RULE, g, reason)
