"""Result types of ops of ai.onnx.ml: the op decides, whatever version is stamped and whatever the model declares."""

from __future__ import annotations

from typing import Any

import pytest

from coregraft.rewriter.graph import Floats, Graph, Op, Strings
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import DType, TensorType

LABELS = {"classlabels_int64s": (0, 1, 2)}


def typed(op_type: str, shape: tuple[int, ...], attrs: dict[str, Any], results: int, version: int) -> list[Any]:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, shape))
    names = tuple(f"y{i}" for i in range(results))
    for name in names:
        g.add_value(name, TensorType(DType.FLOAT, (1, 1)) if name != "y0" or results == 1 else None)
    g.add_op(Op(op_type, ("x",), names, domain="ai.onnx.ml", attrs=attrs))
    g.set_outputs(names)
    g.set_opsets({"": 24, "ai.onnx.ml": version})
    infer_shapes(g)
    return [(kind.dtype, kind.shape) for name in names if (kind := g.tensor_type(name)) is not None]


@pytest.mark.parametrize("version", [1, 3])
def test_trees(version: int) -> None:
    assert typed("TreeEnsembleClassifier", (4, 6), LABELS, 2, version) == [
        (DType.INT64, (4,)),
        (DType.FLOAT, (4, 3)),
    ]
    named = {"classlabels_strings": Strings(["a", "b"])}
    assert typed("TreeEnsembleClassifier", (4, 6), named, 2, version)[0] == (DType.STRING, (4,))
    assert typed("TreeEnsembleRegressor", (4, 6), {"n_targets": 2}, 1, version) == [(DType.FLOAT, (4, 2))]
    assert typed("TreeEnsembleRegressor", (6,), {"n_targets": 2}, 1, version) == [(DType.FLOAT, (1, 2))]


@pytest.mark.parametrize(
    ("op_type", "attrs", "shape"),
    [
        ("LinearRegressor", {"targets": 3, "coefficients": Floats([1.0] * 18)}, (4, 3)),
        ("LinearRegressor", {"coefficients": Floats([1.0] * 6)}, (4, 1)),
        ("SVMRegressor", {"coefficients": Floats([1.0])}, (4, 1)),
        ("Scaler", {"offset": Floats([0.0]), "scale": Floats([1.0])}, (4, 6)),
        ("Normalizer", {"norm": "L2"}, (4, 6)),
        ("Imputer", {"imputed_value_floats": Floats([0.0])}, (4, 6)),
    ],
)
def test_one_result(op_type: str, attrs: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert typed(op_type, (4, 6), attrs, 1, 1) == [(DType.FLOAT, shape)]


def test_labels_of_a_support_vector_machine() -> None:
    labels, scores = typed("SVMClassifier", (4, 6), {"classlabels_ints": (0, 1, 2)}, 2, 1)
    assert labels == (DType.INT64, (4,))
    assert scores[0] is DType.FLOAT and len(scores[1]) == 2


@pytest.mark.parametrize(("shape", "wanted"), [((4, 6), (4, 2)), ((6,), (1, 2))])
def test_chosen_features_whatever_is_declared(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, shape))
    g.add_input("chosen", TensorType(DType.INT64, (1, 2)))
    g.add_value("y", TensorType(DType.FLOAT, (4, 6)))
    g.add_op(Op("ArrayFeatureExtractor", ("x", "chosen"), ("y",), domain="ai.onnx.ml"))
    g.set_outputs(("y",))
    g.set_opsets({"": 24, "ai.onnx.ml": 1})
    infer_shapes(g)
    kind = g.tensor_type("y")
    assert kind is not None and kind.shape == wanted
