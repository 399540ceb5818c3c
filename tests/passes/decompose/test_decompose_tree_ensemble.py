"""TreeEnsemble-5 against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_tree_ensemble import DecomposeTreeEnsemble
from coregraft.rewriter.types import Const

RULE = DecomposeTreeEnsemble()


X = np.array([[0.5, -0.25], [0.6, 1], [0.4, -1], [0.1, 3], [np.nan, 0]], np.float32)


def ensemble(harness: Any, mode: int = 0, x: np.ndarray[Any, Any] = X, **more: Any) -> Any:
    """Two trees: one of two nodes, one that is a single leaf, as onnxruntime writes it."""
    attrs: dict[str, Any] = {
        "n_targets": 2,
        "tree_roots": (0, 2),
        "nodes_featureids": (0, 1, 0),
        "nodes_splits": Const.of(np.array([0.5, -0.25, 0.0], np.float32)),
        "nodes_modes": Const.of(np.array([mode] * 3, np.uint8)),
        "nodes_truenodeids": (1, 0, 3),
        "nodes_trueleafs": (0, 1, 1),
        "nodes_falsenodeids": (2, 1, 3),
        "nodes_falseleafs": (1, 1, 1),
        "leaf_targetids": (0, 1, 0, 1),
        "leaf_weights": Const.of(np.array([1.0, 2.0, -3.0, 0.5], np.float32)),
        **more,
    }
    g, feeds = harness.graph("TreeEnsemble", [x], domain="ai.onnx.ml", **attrs)
    g.set_opsets({**g.opsets, "ai.onnx.ml": 5})
    return g, feeds


@pytest.mark.parametrize("mode", range(6))
def test_modes(harness: Any, mode: int) -> None:
    g, feeds = ensemble(harness, mode, aggregate_function=1)
    harness.same(RULE, g, feeds)


def test_doubles(harness: Any) -> None:
    splits, weights = Const.of(np.array([0.1, 0.3, 0.0])), Const.of(np.array([1.0, 2.0, -3.0, 0.5]))
    x = np.array([[0.1, 0.3], [np.float32(0.1), np.float32(0.3)], [0.0, 1.0]])
    g, feeds = ensemble(harness, x=x, aggregate_function=1, nodes_splits=splits, leaf_weights=weights)
    harness.same(RULE, g, {k: v.astype(np.float32).astype(np.float64) for k, v in feeds.items()})


@pytest.mark.parametrize("how", [0, 3])
def test_transforms_and_missing_values(harness: Any, how: int) -> None:
    g, feeds = ensemble(
        harness, aggregate_function=1, post_transform=how, nodes_missing_value_tracks_true=(1, 0, 0)
    )
    harness.same(RULE, g, feeds, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"nodes_modes": Const.of(np.array([6, 0, 0], np.uint8))}, "membership in a set"),
        ({"nodes_truenodeids": (9, 0, 3)}, "malformed"),
        ({"nodes_truenodeids": (0, 0, 3)}, "max-elements"),
        ({"nodes_featureids": (0, 1)}, "differ in length"),
        ({"tree_roots": ()}, "no trees"),
        ({"aggregate_function": 2, "leaf_targetids": (0, 1, 1, 0)}, "aggregate_function is MIN"),
        ({"post_transform": 1}, "number SOFTMAX and LOGISTIC differently"),
    ],
)
def test_declines(harness: Any, attrs: dict[str, Any], reason: str) -> None:
    g, _ = ensemble(harness, **attrs)
    harness.declines(DecomposeTreeEnsemble(max_elements=100), g, reason)
