"""Tree ensembles as matrix products, against onnxruntime's trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_tree_ensemble_classifier import DecomposeTreeEnsembleClassifier
from coregraft.rewriter.graph import Floats
from coregraft.rewriter.types import Const

RULE = DecomposeTreeEnsembleClassifier()


def ensemble(
    prefix: str, *, trees: int, depth: int, targets: list[int], low: float, mode: str = "BRANCH_LEQ", seed: int = 0
) -> dict[str, Any]:
    """Random trees of four features as the attributes of the op; some branches end early."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, list[Any]] = {
        k: []
        for k in (
            "treeids",
            "nodeids",
            "featureids",
            "values",
            "modes",
            "truenodeids",
            "falsenodeids",
            "missing_value_tracks_true",
        )
    }
    leaves: dict[str, list[Any]] = {k: [] for k in ("treeids", "nodeids", "ids", "weights")}

    def grow(tree: int, level: int) -> int:
        at = nodes["treeids"].count(tree)
        leaf = level == depth or (level > 0 and rng.random() < 0.2)
        row = (
            tree,
            at,
            int(rng.integers(4)),
            float(np.float32(rng.standard_normal())),
            "LEAF" if leaf else mode,
            0,
            0,
            int(rng.random() < 0.5),
        )
        for key, value in zip(nodes, row, strict=True):
            nodes[key].append(value)
        place = len(nodes["treeids"]) - 1
        if leaf:
            for target in targets:
                for key, value in zip(leaves, (tree, at, target, float(np.float32(rng.uniform(low, 1)))), strict=True):
                    leaves[key].append(value)
            return at
        nodes["truenodeids"][place] = grow(tree, level + 1)
        nodes["falsenodeids"][place] = grow(tree, level + 1)
        return at

    for tree in range(trees):
        grow(tree, 0)
    nodes["values"], leaves["weights"] = Floats(nodes["values"]), Floats(leaves["weights"])  # type: ignore[assignment]
    return {f"nodes_{k}": v for k, v in nodes.items()} | {f"{prefix}_{k}": v for k, v in leaves.items()}


def boosted(classes: int, *, low: float = -1.0) -> dict[str, Any]:
    """Two trees for each class, as boosting makes them: every leaf of a tree speaks of its class alone."""
    found: dict[str, Any] = {}
    for label in range(classes):
        one = ensemble("class", trees=2, depth=3, targets=[label], low=low, seed=label)
        for key, values in one.items():
            shifted = [v + 2 * label for v in values] if key.endswith("treeids") else list(values)
            found.setdefault(key, []).extend(shifted)
    return {k: Floats(v) if k in ("nodes_values", "class_weights") else v for k, v in found.items()}


def rows() -> np.ndarray[Any, Any]:
    x = np.random.default_rng(9).standard_normal((40, 4)).astype(np.float32)
    x[::7, 1] = np.nan
    return x


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("how", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("target", [0, 1])
def test_two_labels(harness: Any, low: float, how: str, target: int) -> None:
    attrs = ensemble("class", trees=3, depth=4, targets=[target], low=low)
    g, feeds = harness.graph(
        "TreeEnsembleClassifier",
        [rows()],
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_int64s=(7, 9),
        post_transform=how,
        **attrs,
    )
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("how", ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
def test_three_labels(harness: Any, how: str, mode: str) -> None:
    attrs = ensemble("class", trees=4, depth=3, targets=[0, 1, 2], low=0.0, mode=mode)
    g, feeds = harness.graph(
        "TreeEnsembleClassifier",
        [rows()],
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_int64s=(3, 5, 8),
        post_transform=how,
        **attrs,
    )
    harness.same(RULE, g, feeds)


def test_base_values(harness: Any) -> None:
    attrs = ensemble("class", trees=2, depth=3, targets=[0, 1, 2], low=0.0)
    g, feeds = harness.graph(
        "TreeEnsembleClassifier",
        [rows()],
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_int64s=(0, 1, 2),
        base_values=Floats([0.5, 0.1, -0.2]),
        **attrs,
    )
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("targets", [[1], [0, 1, 2]])
def test_doubles(harness: Any, targets: list[int]) -> None:
    attrs = ensemble("class", trees=3, depth=3, targets=targets, low=0.0)
    for name in ("nodes_values", "class_weights"):
        attrs[f"{name}_as_tensor"] = Const.of(np.array(attrs.pop(name)) + 1e-12)
    labels = tuple(range(max(2, len(targets))))
    g, feeds = harness.graph(
        "TreeEnsembleClassifier",
        [rows().astype(np.float64)],
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_int64s=labels,
        **attrs,
    )
    harness.same(RULE, g, feeds)


@pytest.mark.parametrize("how", ["NONE", "SOFTMAX"])
@pytest.mark.parametrize("base", [(), (0.5, -3.0, 0.25)])
def test_boosted_with_negative_weights(harness: Any, how: str, base: tuple[float, ...]) -> None:
    """Every class has a score from every row, so that the greatest is defined whatever the signs."""
    attrs = {**boosted(3), **({"base_values": Floats(base)} if base else {})}
    g, feeds = harness.graph(
        "TreeEnsembleClassifier",
        [rows()],
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_int64s=(3, 5, 8),
        post_transform=how,
        **attrs,
    )
    harness.same(RULE, g, feeds)


def test_base_values_score_a_class_without_trees(harness: Any) -> None:
    g, feeds = harness.graph(
        "TreeEnsembleClassifier",
        [rows()],
        outputs=2,
        domain="ai.onnx.ml",
        classlabels_int64s=(3, 5, 8),
        base_values=Floats([0.5, -0.1, 0.4]),
        **boosted(2),
    )
    harness.same(RULE, g, feeds)


def test_a_class_that_some_rows_do_not_score(harness: Any) -> None:
    attrs = boosted(3)
    for key in ("class_treeids", "class_nodeids", "class_ids", "class_weights"):
        cut = [v for v, tree in zip(attrs[key], boosted(3)["class_treeids"], strict=True) if tree != 5]
        attrs[key] = Floats(cut[:-1]) if key == "class_weights" else cut[:-1]
    g, _ = harness.graph(
        "TreeEnsembleClassifier", [rows()], outputs=2, domain="ai.onnx.ml", classlabels_int64s=(3, 5, 8), **attrs
    )
    harness.declines(RULE, g, "left open")


def test_declines(harness: Any) -> None:
    attrs = ensemble("class", trees=2, depth=3, targets=[0, 1], low=0.0)
    g, _ = harness.graph(
        "TreeEnsembleClassifier", [rows()], outputs=2, domain="ai.onnx.ml", classlabels_int64s=(0, 1), **attrs
    )
    harness.declines(RULE, g, "weights for both")
    g, _ = harness.graph(
        "TreeEnsembleClassifier", [rows()], outputs=2, domain="ai.onnx.ml", classlabels_int64s=(0, 1, 2), **attrs
    )
    harness.declines(RULE, g, "left open")
    lone = ensemble("class", trees=2, depth=3, targets=[0], low=0.0)
    g, _ = harness.graph(
        "TreeEnsembleClassifier", [rows()], outputs=2, domain="ai.onnx.ml", classlabels_int64s=(0, 1), **lone
    )
    harness.declines(DecomposeTreeEnsembleClassifier(max_elements=10), g, "more than max-elements=10")


@pytest.mark.parametrize(
    ("target", "base", "fires"), [(0, (0.25,), True), (1, (0.25,), False), (0, (0.25, 0.5), False)]
)
def test_base_values_of_two_labels(harness: Any, target: int, base: tuple[float, ...], fires: bool) -> None:
    """One for the label that the leaves speak of, the first one; anything else runtimes read in different ways."""
    attrs = ensemble("class", trees=2, depth=3, targets=[target], low=0.0)
    g, feeds = harness.graph(
        "TreeEnsembleClassifier", [rows()], outputs=2, domain="ai.onnx.ml", classlabels_int64s=(0, 1),
        base_values=Floats(base), **attrs,
    )  # fmt: skip
    if fires:
        harness.same(RULE, g, feeds)
    else:
        harness.declines(RULE, g, "weights for both")


def test_nodes_that_compare_in_two_ways(harness: Any) -> None:
    lone = ensemble("class", trees=2, depth=3, targets=[0], low=0.0)
    lone["nodes_modes"][0] = "BRANCH_GT"
    g, feeds = harness.graph(
        "TreeEnsembleClassifier", [rows()], outputs=2, domain="ai.onnx.ml", classlabels_int64s=(0, 1), **lone
    )
    harness.same(RULE, g, feeds, rtol=1e-5, atol=1e-6)
