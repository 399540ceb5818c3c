"""Tree ensemble regressors as matrix products, against onnxruntime's trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_tree_ensemble_regressor import DecomposeTreeEnsembleRegressor
from coregraft.rewriter.graph import Floats
from coregraft.rewriter.types import Const

RULE = DecomposeTreeEnsembleRegressor()

#: Two trees: x0 <= 0.5 ? 1 : (x1 <= -1 ? 2 : 4), and a lone leaf of 10 for the second target.
ATTRS: dict[str, Any] = {
    "nodes_treeids": (0, 0, 0, 0, 0, 1),
    "nodes_nodeids": (0, 1, 2, 3, 4, 0),
    "nodes_featureids": (0, 0, 1, 0, 0, 0),
    "nodes_values": Floats([0.5, 0.0, -1.0, 0.0, 0.0, 0.0]),
    "nodes_modes": ("BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"),
    "nodes_truenodeids": (1, 0, 3, 0, 0, 0),
    "nodes_falsenodeids": (2, 0, 4, 0, 0, 0),
    "target_treeids": (0, 0, 0, 1),
    "target_nodeids": (1, 3, 4, 0),
    "target_ids": (0, 0, 0, 1),
    "target_weights": Floats([1.0, 2.0, 4.0, 10.0]),
    "n_targets": 2,
}
X = np.array([[0.5, 0.0], [0.6, -1.0], [0.6, -0.9], [np.nan, 3.0]], np.float32)


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
@pytest.mark.parametrize("how", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("base", [None, Floats([0.5, -1.5])])
def test_options(harness: Any, aggregate: str, how: str, base: Any) -> None:
    extra = {"base_values": base} if base else {}
    g, feeds = harness.graph(
        "TreeEnsembleRegressor",
        [X],
        domain="ai.onnx.ml",
        aggregate_function=aggregate,
        post_transform=how,
        **ATTRS,
        **extra,
    )
    harness.same(RULE, g, feeds)


def test_the_leaves_by_hand(harness: Any) -> None:
    g, feeds = harness.graph("TreeEnsembleRegressor", [X], domain="ai.onnx.ml", **ATTRS)
    got = harness.run(harness.rewrite(RULE, g).after, feeds)[0]
    assert got.tolist() == [[1, 10], [2, 10], [4, 10], [4, 10]]


@pytest.mark.parametrize("aggregate", ["MIN", "MAX"])
@pytest.mark.parametrize("how", ["NONE", "LOGISTIC"])
def test_the_least_and_the_greatest_leaf(harness: Any, aggregate: str, how: str) -> None:
    options = {"aggregate_function": aggregate, "post_transform": how, "base_values": Floats([0.5, -1.5])}
    g, feeds = harness.graph("TreeEnsembleRegressor", [X], domain="ai.onnx.ml", **ATTRS, **options)
    harness.same(RULE, g, feeds)


def test_nodes_that_compare_in_different_ways(harness: Any) -> None:
    modes = ["BRANCH_NEQ" if mode == "BRANCH_LEQ" else mode for mode in ATTRS["nodes_modes"]]
    modes[0] = "BRANCH_GT"
    attrs = {**ATTRS, "nodes_modes": tuple(modes)}
    g, feeds = harness.graph("TreeEnsembleRegressor", [X], domain="ai.onnx.ml", **attrs)
    harness.same(RULE, g, feeds)


def in_doubles(splits: list[float], **change: Any) -> dict[str, Any]:
    """The two trees with these splits, in double precision."""
    plain = {k: v for k, v in ATTRS.items() if k not in ("nodes_values", "target_weights")}
    values = [splits[0], 0.0, splits[1], 0.0, 0.0, 0.0]
    return {
        **plain,
        "nodes_values_as_tensor": Const.of(np.array(values)),
        "target_weights_as_tensor": Const.of(np.array([1.0, 2.0, 4.0, 10.0])),
        **change,
    }


@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
@pytest.mark.parametrize("split", [0.1, 0.3, -0.1, 0.5, 1e300, -1e300])
def test_every_fp32_number_keeps_the_branch_it_takes_in_doubles(harness: Any, mode: str, split: float) -> None:
    """0.1 is above its nearest fp32 number, 0.3 below: rounded thresholds send these neighbours the wrong way."""
    with np.errstate(over="ignore"):
        near = np.float32(split)
    low, high = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
    x = np.array([[v, v] for v in (low, near, high, np.inf, -np.inf, np.nan)]).astype(np.float64)
    modes = tuple(mode if m != "LEAF" else m for m in ATTRS["nodes_modes"])
    base = Const.of(np.array([0.5, -1.5]))
    attrs = in_doubles([split, split], nodes_modes=modes, base_values_as_tensor=base)
    g, feeds = harness.graph("TreeEnsembleRegressor", [x], domain="ai.onnx.ml", **attrs)
    harness.same(RULE, g, feeds)


def test_equality_with_doubles(harness: Any) -> None:
    modes = ("BRANCH_EQ", "LEAF", "BRANCH_NEQ", "LEAF", "LEAF", "LEAF")
    attrs = in_doubles([0.5, -1.0], nodes_modes=modes)
    g, feeds = harness.graph("TreeEnsembleRegressor", [X.astype(np.float64)], domain="ai.onnx.ml", **attrs)
    harness.same(RULE, g, feeds)
    attrs = in_doubles([0.5, -1.1], nodes_modes=modes)
    g, _ = harness.graph("TreeEnsembleRegressor", [X.astype(np.float64)], domain="ai.onnx.ml", **attrs)
    harness.declines(RULE, g, "none of fp32")


def test_values_in_doubles_of_another_input_are_refused(harness: Any) -> None:
    g, _ = harness.graph("TreeEnsembleRegressor", [X], domain="ai.onnx.ml", **in_doubles([0.5, -1.0]))
    harness.declines(RULE, g, "values are doubles and its input is not")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"target_nodeids": (3, 4, 0), "target_ids": (0, 0, 1), "target_treeids": (0, 0, 1),
          "target_weights": Floats([2.0, 4.0, 10.0]), "aggregate_function": "MIN"}, "say nothing of a target"),
        ({"n_targets": 3, "base_values": Floats([1.0, 1.0, 1.0])}, "no leaf may speak of"),
        ({"n_targets": 1, "target_ids": (0, 0, 0, 0), "post_transform": "LOGISTIC"}, "of one target"),
    ],
)  # fmt: skip
def test_declines_what_runtimes_leave_out(harness: Any, change: dict[str, Any], reason: str) -> None:
    g, _ = harness.graph("TreeEnsembleRegressor", [X], domain="ai.onnx.ml", **{**ATTRS, **change})
    harness.declines(RULE, g, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodes_truenodeids": (1, 0, 0, 0, 0, 0)}, "no root leads to"),
        ({"nodes_modes": ("LEAF",) * 6}, "no root of its own"),
        ({"nodes_truenodeids": (1, 0, 1, 0, 0, 0)}, "two nodes lead to the same one"),
        ({"nodes_truenodeids": (1, 0, 9, 0, 0, 0)}, "one that is not there"),
        ({"nodes_truenodeids": (1, 0)}, "differ in length"),
        ({"target_ids": (0, 0, 0, 2)}, "out of range"),
        ({"nodes_featureids": (0, 0, -1, 0, 0, 0)}, "out of range"),
    ],
)
def test_declines_what_is_no_forest(harness: Any, change: dict[str, Any], reason: str) -> None:
    g, _ = harness.graph("TreeEnsembleRegressor", [X], domain="ai.onnx.ml", **(ATTRS | change))
    harness.declines(RULE, g, reason)
