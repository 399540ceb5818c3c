"""TreeEnsemble of ai.onnx.ml 5 as matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.decompose._base import need
from coregraft.passes.decompose._trees import TreeRule
from coregraft.rewriter.passes import NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Const, DType

_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = {0: "NONE", 3: "SOFTMAX_ZERO"}


@dataclass(frozen=True)
class _Lists:
    """Lists in the place of an op's attributes."""

    lists: dict[str, Any]

    def attr(self, name: str) -> Any:
        return self.lists.get(name)


@dataclass(frozen=True)
class DecomposeTreeEnsemble(TreeRule):
    """Evaluate a tree ensemble of the newer form with comparisons and matrix products.

    What it does
    ------------
    Numbers the nodes and leaves of each tree anew, from its root down, and goes on as with a TreeEnsembleRegressor:
    all comparisons of all trees are one Gather and one comparison; a MatMul with the paths tells which leaf each row
    reaches, another one tells what the leaves say. Honours ``aggregate_function``, missing values, comparisons of
    all kinds and ``post_transform`` NONE and, of several targets, SOFTMAX_ZERO; 1 and 2 are refused, since they are
    SOFTMAX and LOGISTIC to ONNX and the other way round to onnxruntime. So is set membership (BRANCH_MEMBER). Doubles
    are compared in fp32, with thresholds that leave each fp32 number its branch. Fires where the target has no
    lowering for the op.

    Why it matters
    --------------
    Core ML runs trees in a model type of their own, which no ML Program can hold.

    Example
    -------
    Ten trees on ``x`` [n, 4] become ``Equal(MatMul(Gather(x) <= t, paths), counts)`` and two sums.

    Equivalence
    -----------
    Reassociating: the leaves' weights are added in another order. fp32 thresholds are compared as they are.

    Options
    -------
    max-elements: largest paths matrix (trees x nodes x leaves) to build.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml TreeEnsemble-5; the matrix form is the "GEMM strategy" of the Hummingbird paper.
    """

    roots: ClassVar[tuple[str, ...]] = ("ai.onnx.ml::TreeEnsemble",)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        attrs = node.op.attrs
        tensors = [attrs.get(name) for name in ("nodes_splits", "nodes_modes", "leaf_weights")]
        if not all(isinstance(t, Const) for t in tensors):
            return NoMatch("it lacks its splits, modes or weights")
        splits, modes, weights = (t.numpy().reshape(-1).tolist() for t in tensors if isinstance(t, Const))
        if any(m >= len(_MODES) for m in modes):
            return NoMatch("a node asks for membership in a set")
        lists = self._lists(attrs, splits, modes, weights)
        if isinstance(lists, NoMatch):
            return lists
        how = node.attr("post_transform")
        if how not in _TRANSFORMS:
            return NoMatch("post_transform {}: ONNX and onnxruntime number SOFTMAX and LOGISTIC differently", how)
        aggregate = _AGGREGATES[node.attr("aggregate_function")]
        y = self.regression(op, node, _Lists(lists), aggregate, _TRANSFORMS[how])
        if isinstance(y, NoMatch) or need(node, 0).dtype is not DType.DOUBLE:
            return y
        return op.Cast(y, to=int(DType.DOUBLE))

    def _lists(self, attrs: Any, splits: list[float], modes: list[int], weights: list[float]) -> Any:
        """The lists of the older form: one entry for each node and leaf, in order of the trees."""
        names = ("nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids", "nodes_trueleafs", "nodes_falseleafs")
        columns = [tuple(attrs.get(name) or ()) for name in names]
        targets, tracks = tuple(attrs.get("leaf_targetids") or ()), attrs.get("nodes_missing_value_tracks_true")
        tracks = tuple(tracks or (0,) * len(splits))
        if {len(c) for c in (*columns, tracks, modes)} != {len(splits)} or len(targets) != len(weights):
            return NoMatch("its trees are malformed: lists that belong together differ in length")
        features, ways, is_leaf = columns[0], columns[1:3], columns[3:]
        rows: list[tuple[int, int, str, int, float, int, int, int]] = []
        leaves: list[tuple[int, int, int, float]] = []
        for tree, root in enumerate(attrs.get("tree_roots") or ()):
            # A tree of one leaf is a node both ways of which are that leaf.
            todo, count = [(root, False, 0)], 1
            while todo:
                index, leaf, number = todo.pop()
                if not 0 <= index < (len(weights) if leaf else len(splits)) or len(rows) > self.max_elements:
                    return NoMatch("its trees are malformed, or of more than max-elements={}", self.max_elements)
                if leaf:
                    rows.append((tree, number, "LEAF", 0, 0.0, 0, 0, 0))
                    leaves.append((tree, number, targets[index], weights[index]))
                    continue
                yes, no = count, count + 1
                count += 2
                mode = _MODES[modes[index]]
                rows.append((tree, number, mode, features[index], splits[index], yes, no, tracks[index]))
                todo += [(ways[1][index], bool(is_leaf[1][index]), no), (ways[0][index], bool(is_leaf[0][index]), yes)]
        if not rows:
            return NoMatch("it has no trees")
        trees, ids, kinds, at, values, true, false, missing = zip(*rows, strict=True)
        leaf_trees, leaf_ids, leaf_targets, leaf_weights = zip(*leaves, strict=True)
        return {
            "nodes_treeids": trees,
            "nodes_nodeids": ids,
            "nodes_modes": kinds,
            "nodes_featureids": at,
            "nodes_values": values,
            "nodes_truenodeids": true,
            "nodes_falsenodeids": false,
            "nodes_missing_value_tracks_true": missing,
            "target_treeids": leaf_trees,
            "target_nodeids": leaf_ids,
            "target_ids": leaf_targets,
            "target_weights": leaf_weights,
        }
