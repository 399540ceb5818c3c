"""Tree ensembles as matrix products: every comparison of every tree at once, then which leaf they lead to.

A leaf is reached when all comparisons on its path come out as the path wants. With comparisons as 0 and 1, and a matrix
that has 1 where the path wants true, -1 where it wants false, the product equals the number of true turns of the path
exactly at the leaf reached, and is less at all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need
from coregraft.passes.decompose._classes import transformed
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, DType

_COMPARE = {
    "BRANCH_LEQ": "LessOrEqual",
    "BRANCH_LT": "Less",
    "BRANCH_GTE": "GreaterOrEqual",
    "BRANCH_GT": "Greater",
    "BRANCH_EQ": "Equal",
}


class Attributes(Protocol):
    """An op, or lists in the place of its attributes."""

    def attr(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Ensemble:
    """The trees as arrays, padded to the largest one.

    Attributes:
        mode: the ONNX op of every comparison.
        features, thresholds, missing: [trees, nodes]; missing: whether NaN goes the true way.
        turns: [trees, nodes, leaves], 1, -1 or 0.
        counts: [trees, 1, leaves]: true turns of each path; a leaf that is padding has a count that is never reached.
        values: [trees, leaves, targets]: what each leaf adds.
    """

    mode: str
    features: Array
    thresholds: Array
    missing: Array
    turns: Array
    counts: Array
    values: Array


@dataclass(frozen=True)
class TreeRule(Decomposition):
    """A rule for one of the forms in which ``ai.onnx.ml`` writes a tree ensemble down."""

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    when_unsupported: ClassVar[bool] = True
    max_elements: int = 1 << 24

    def ensemble(self, node: OpView, lists: Attributes, prefix: str, targets: int) -> Ensemble | NoMatch:
        """The trees of an op; ``lists`` is the op, or what stands in the place of its attributes."""
        if need(node, 0).dtype is not DType.FLOAT:
            return NoMatch("its input is not fp32")
        return read(lists, prefix, targets, self.max_elements)

    def regression(self, op: OpBuilder, node: OpView, lists: Attributes, aggregate: str, how: str) -> Any:
        """What the trees say together, beside the base values, transformed."""
        targets = node.attr("n_targets") or 1
        base = lists.attr("base_values") or (0.0,) * targets
        if aggregate not in ("SUM", "AVERAGE"):
            return NoMatch("aggregate_function is {}", aggregate)
        if len(base) != targets:
            return NoMatch("{} base values for {} targets", len(base), targets)
        ensemble = self.ensemble(node, lists, "target", targets)
        if isinstance(ensemble, NoMatch):
            return ensemble
        if aggregate == "AVERAGE":
            ensemble = replace(ensemble, values=ensemble.values / np.float32(len(ensemble.values)))
        return transformed(op, scores(op, node, ensemble, base), how)


def read(node: Attributes, prefix: str, targets: int, max_elements: int) -> Ensemble | NoMatch:
    """The ensemble of a TreeEnsembleClassifier (``prefix`` "class") or TreeEnsembleRegressor ("target")."""
    if node.attr("nodes_values_as_tensor") is not None or node.attr(f"{prefix}_weights_as_tensor") is not None:
        return NoMatch("its values are doubles")
    modes = [str(m) for m in node.attr("nodes_modes") or ()]
    kinds = sorted(set(modes) - {"LEAF"})
    if len(kinds) > 1 or any(k not in _COMPARE for k in kinds):
        return NoMatch("its nodes compare in more than one way: {}", ", ".join(kinds))
    broken = _malformed(node, prefix, targets)
    if broken is not None:
        return NoMatch("its trees are malformed: {}", broken)
    keys = list(zip(node.attr("nodes_treeids"), node.attr("nodes_nodeids"), strict=True))
    place = {key: i for i, key in enumerate(keys)}
    weights: dict[tuple[int, int], Array] = {}
    lists = (node.attr(f"{prefix}_{what}") for what in ("treeids", "nodeids", "ids", "weights"))
    for tree, leaf, target, weight in zip(*lists, strict=True):
        weights.setdefault((tree, leaf), np.zeros(targets, np.float32))[target] += np.float32(weight)
    paths: dict[int, list[tuple[int, tuple[tuple[int, int], ...]]]] = {}
    fan = (node.attr("nodes_truenodeids"), node.attr("nodes_falsenodeids"))
    for root in _roots(keys, modes, fan, place):
        paths[keys[root][0]] = list(_leaves(root, keys, modes, fan, place))
    nodes = {tree: sorted({i for _, path in leaves for i, _ in path}) for tree, leaves in paths.items()}
    if sum(len(nodes[tree]) + len(paths[tree]) for tree in paths) != len(keys):
        return NoMatch("its trees are malformed: there are nodes that no root leads to")
    n_nodes, n_leaves = max(1, *(len(v) for v in nodes.values())), max(len(v) for v in paths.values())
    if len(paths) * n_nodes * n_leaves > max_elements:
        return NoMatch(
            "{} trees of up to {} leaves make a matrix of more than max-elements={}", len(paths), n_leaves, max_elements
        )
    shape = (len(paths), n_nodes)
    found = Ensemble(
        _COMPARE[kinds[0]] if kinds else "LessOrEqual",
        np.zeros(shape, np.int64),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
        np.zeros((*shape, n_leaves), np.float32),
        np.full((len(paths), 1, n_leaves), n_nodes + 1, np.float32),
        np.zeros((len(paths), n_leaves, targets), np.float32),
    )
    tracks = node.attr("nodes_missing_value_tracks_true") or (0,) * len(keys)
    for t, tree in enumerate(paths):
        column = {i: n for n, i in enumerate(nodes[tree])}
        for i, n in column.items():
            found.features[t, n] = node.attr("nodes_featureids")[i]
            found.thresholds[t, n] = node.attr("nodes_values")[i]
            found.missing[t, n] = bool(tracks[i])
        for leaf, (index, path) in enumerate(paths[tree]):
            for i, turn in path:
                found.turns[t, column[i], leaf] = turn
            found.counts[t, 0, leaf] = sum(turn > 0 for _, turn in path)
            found.values[t, leaf] = weights.get(keys[index], 0)
    return found


def _malformed(node: Attributes, prefix: str, targets: int) -> str | None:
    """What keeps the nodes from being a forest with one root a tree, or None."""
    columns = [node.attr(f"nodes_{what}") or () for what in ("treeids", "nodeids", "modes", "featureids", "values")]
    fan = [node.attr(f"nodes_{what}") or () for what in ("truenodeids", "falsenodeids")]
    weights = [node.attr(f"{prefix}_{what}") or () for what in ("treeids", "nodeids", "ids", "weights")]
    if len({len(c) for c in (*columns, *fan)}) != 1 or len({len(c) for c in weights}) != 1 or not columns[0]:
        return "lists that belong together differ in length, or are empty"
    keys = list(zip(columns[0], columns[1], strict=True))
    children = [(keys[i][0], side[i]) for i, mode in enumerate(columns[2]) if mode != "LEAF" for side in fan]
    known, reached = set(keys), set(children)
    if len(known) != len(keys) or not reached <= known:
        return "a node is there twice, or leads to one that is not there"
    roots = [key for key in keys if key not in reached]
    if len(reached) != len(children) or sorted(tree for tree, _ in roots) != sorted(set(columns[0])):
        return "two nodes lead to the same one, or a tree has no root of its own"
    if not all(0 <= target < targets for target in weights[2]) or min(columns[3]) < 0:
        return "a target or a feature is out of range"
    return None


def _roots(
    keys: Sequence[tuple[int, int]], modes: Sequence[str], fan: Sequence[Any], place: dict[Any, int]
) -> list[int]:
    """The node of each tree that no other node leads to, in order of the trees."""
    below = {place[keys[i][0], side[i]] for i, mode in enumerate(modes) if mode != "LEAF" for side in fan}
    return [i for i in range(len(keys)) if i not in below]


def _leaves(root: int, keys: Any, modes: Any, fan: Any, place: Any) -> Any:
    """(leaf, path) from a node down, depth first; a path is (node, 1 or -1) pairs."""
    todo: list[tuple[int, tuple[tuple[int, int], ...]]] = [(root, ())]
    while todo:
        i, path = todo.pop()
        if modes[i] == "LEAF":
            yield i, path
            continue
        for turn, side in ((-1, fan[1]), (1, fan[0])):
            todo.append((place[keys[i][0], side[i]], (*path, (i, turn))))


def scores(op: OpBuilder, node: OpView, ensemble: Ensemble, base: Sequence[float]) -> Any:
    """The sum of what the trees say, [rows, targets]."""
    x = need(node, 0)
    trees, nodes = ensemble.features.shape
    picked = op.Gather(x, op.const(ensemble.features.ravel()), axis=1)
    compare: Callable[..., Any] = getattr(op, ensemble.mode)
    hits = compare(picked, op.const(ensemble.thresholds.reshape(1, -1)))
    if ensemble.missing.any():
        hits = op.Or(hits, op.And(op.IsNaN(picked), op.const(ensemble.missing.reshape(1, -1))))
    by_tree = op.Transpose(op.Reshape(op.Cast(hits, to=int(DType.FLOAT)), ints(op, [-1, trees, nodes])), perm=[1, 0, 2])
    reached = op.Cast(
        op.Equal(op.MatMul(by_tree, op.const(ensemble.turns)), op.const(ensemble.counts)), to=int(DType.FLOAT)
    )
    total = op.ReduceSum(op.MatMul(reached, op.const(ensemble.values)), ints(op, [0]), keepdims=0)
    return op.Add(total, op.const(np.array(base, np.float32))) if any(base) else total
