"""Tree ensembles as matrix products: every comparison of every tree at once, then which leaf they lead to.

A leaf is reached when all comparisons on its path come out as the path wants. With comparisons as 0 and 1, and a matrix
that has 1 where the path wants true, -1 where it wants false, the product equals the number of true turns of the path
exactly at the leaf reached, and is less at all others.

Doubles are compared in fp32, which is all that Core ML has. The thresholds are moved to fp32 numbers on the side that
leaves every fp32 input its branch; only an input that fp32 does not have may take another one, beside a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np

from coregraft.passes.decompose._base import Decomposition, ints, need, scalar
from coregraft.passes.decompose._classes import as_float, transformed
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import Array, DType

_COMPARE = {
    "BRANCH_LEQ": "LessOrEqual",
    "BRANCH_LT": "Less",
    "BRANCH_GTE": "GreaterOrEqual",
    "BRANCH_GT": "Greater",
    "BRANCH_EQ": "Equal",
    "BRANCH_NEQ": "Equal",  # and not
}


#: From a root to a leaf: the nodes passed, by index, and whether by their true (1) or false (-1) way.
_Path = tuple[tuple[int, int], ...]
#: Tree -> its leaves, by index, and the path to each.
_Paths = dict[int, list[tuple[int, _Path]]]


class Attributes(Protocol):
    """An op, or lists in the place of its attributes."""

    def attr(self, name: str) -> Any: ...


@dataclass(frozen=True)
class Ensemble:
    """The trees as arrays, padded to the largest one.

    Attributes:
        modes: [trees, nodes], how each node compares.
        features, thresholds, missing: [trees, nodes]; missing: whether NaN goes the true way.
        turns: [trees, nodes, leaves], 1, -1 or 0.
        counts: [trees, 1, leaves]: true turns of each path; a leaf that is padding has a count that is never reached.
        values: [trees, leaves, targets]: what each leaf adds.
        speaks: [trees, 1, targets]: whether the leaves of a tree add anything to a target; None where some do and some
            do not.
    """

    modes: Array
    features: Array
    thresholds: Array
    missing: Array
    turns: Array
    counts: Array
    values: Array
    speaks: Array | None


@dataclass(frozen=True)
class TreeRule(Decomposition):
    """A rule for one of the forms in which ``ai.onnx.ml`` writes a tree ensemble down."""

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.REASSOCIATING
    when_unsupported: ClassVar[bool] = True
    max_elements: int = 1 << 24

    def ensemble(self, node: OpView, lists: Attributes, prefix: str, targets: int) -> Ensemble | NoMatch:
        """The trees of an op; ``lists`` is the op, or what stands in the place of its attributes."""
        doubles = [lists.attr(f"{name}_as_tensor") for name in ("nodes_values", f"{prefix}_weights", "base_values")]
        if need(node, 0).dtype is not DType.DOUBLE and any(tensor is not None for tensor in doubles):
            return NoMatch("its values are doubles and its input is not, which onnxruntime refuses")
        return read(lists, prefix, targets, self.max_elements)

    def regression(self, op: OpBuilder, node: OpView, lists: Attributes, aggregate: str, how: str) -> Any:
        """What the trees say together, beside the base values, transformed."""
        targets = node.attr("n_targets") or 1
        base = numbers(lists, "base_values") or (0.0,) * targets
        if len(base) != targets:
            return NoMatch("{} base values for {} targets", len(base), targets)
        if how not in ("NONE", "PROBIT") and targets == 1:
            return NoMatch("post_transform {} of one target is left out by onnxruntime", how)
        if any(base) and scored_always(lists, "target") != set(range(targets)):
            return NoMatch("the base value of a target that no leaf may speak of is left out by onnxruntime")
        ensemble = self.ensemble(node, lists, "target", targets)
        if isinstance(ensemble, NoMatch):
            return ensemble
        if aggregate == "AVERAGE":
            ensemble = replace(ensemble, values=ensemble.values / np.float32(len(ensemble.values)))
        if aggregate in ("MIN", "MAX"):
            found = extremes(op, node, ensemble, aggregate)
        else:
            found = op.ReduceSum(said(op, node, ensemble), ints(op, [0]), keepdims=0)
        return found if isinstance(found, NoMatch) else transformed(op, raised(op, found, base), how)


def numbers(lists: Attributes, name: str) -> Sequence[float]:
    """An attribute that is a list of floats, or of doubles in a tensor; empty where there is neither."""
    tensor = lists.attr(f"{name}_as_tensor")
    found: Sequence[float] = (lists.attr(name) or ()) if tensor is None else tensor.numpy().reshape(-1).tolist()
    return found


def read(lists: Attributes, prefix: str, targets: int, max_elements: int) -> Ensemble | NoMatch:
    """The ensemble of a TreeEnsembleClassifier (``prefix`` "class") or TreeEnsembleRegressor ("target")."""
    modes = [str(m) for m in lists.attr("nodes_modes") or ()]
    kinds = sorted(set(modes) - {"LEAF"})
    if any(k not in _COMPARE for k in kinds):
        return NoMatch("its nodes compare in a way that is not known: {}", ", ".join(kinds))
    broken = _malformed(lists, prefix, targets)
    if broken is not None:
        return NoMatch("its trees are malformed: {}", broken)
    thresholds = [_threshold(mode, value) for mode, value in zip(modes, numbers(lists, "nodes_values"), strict=True)]
    if any(threshold is None for threshold in thresholds):
        return NoMatch("a node asks whether a feature equals a number that is none of fp32")
    keys = list(zip(lists.attr("nodes_treeids"), lists.attr("nodes_nodeids"), strict=True))
    paths = _paths(lists, keys, modes)
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
        np.full(shape, kinds[0] if kinds else "BRANCH_LEQ", "<U16"),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.float32),
        np.zeros(shape, bool),
        np.zeros((*shape, n_leaves), np.float32),
        np.full((len(paths), 1, n_leaves), n_nodes + 1, np.float32),
        np.zeros((len(paths), n_leaves, targets), np.float32),
        _speaks(lists, prefix, paths, keys, targets),
    )
    weights = _weights(lists, prefix, targets)
    tracks = lists.attr("nodes_missing_value_tracks_true") or (0,) * len(keys)
    for t, tree in enumerate(paths):
        column = {i: n for n, i in enumerate(nodes[tree])}
        for i, n in column.items():
            found.modes[t, n] = modes[i]
            found.features[t, n] = lists.attr("nodes_featureids")[i]
            found.thresholds[t, n] = thresholds[i]
            found.missing[t, n] = bool(tracks[i])
        for leaf, (index, path) in enumerate(paths[tree]):
            for i, turn in path:
                found.turns[t, column[i], leaf] = turn
            found.counts[t, 0, leaf] = sum(turn > 0 for _, turn in path)
            found.values[t, leaf] = weights.get(keys[index], 0)
    return found


def _threshold(mode: str, value: float) -> np.float32 | None:
    """The fp32 number by which a comparison with a double tells all fp32 numbers apart as the double does.

    None where that takes a double: no fp32 number equals one that is not of fp32.
    """
    with np.errstate(over="ignore"):
        nearest = np.float32(value)
    error = float(nearest) - value
    if error == 0 or mode == "LEAF":
        return nearest
    if mode in ("BRANCH_LEQ", "BRANCH_GT"):
        return nearest if error < 0 else np.nextafter(nearest, np.float32(-np.inf))
    if mode in ("BRANCH_LT", "BRANCH_GTE"):
        return nearest if error > 0 else np.nextafter(nearest, np.float32(np.inf))
    return None


def _weights(lists: Attributes, prefix: str, targets: int) -> dict[tuple[int, int], Array]:
    """What each leaf adds to each target, by (tree, node)."""
    found: dict[tuple[int, int], Array] = {}
    columns = (lists.attr(f"{prefix}_{what}") for what in ("treeids", "nodeids", "ids"))
    for tree, leaf, target, weight in zip(*columns, numbers(lists, f"{prefix}_weights"), strict=True):
        found.setdefault((tree, leaf), np.zeros(targets, np.float32))[target] += np.float32(weight)
    return found


def _speaks(lists: Attributes, prefix: str, paths: _Paths, keys: Any, targets: int) -> Array | None:
    spoken = set(zip(*(lists.attr(f"{prefix}_{what}") for what in ("treeids", "nodeids", "ids")), strict=True))
    found = np.zeros((len(paths), 1, targets), bool)
    for t, (tree, leaves) in enumerate(paths.items()):
        for target in range(targets):
            does = {(tree, keys[index][1], target) in spoken for index, _ in leaves}
            if len(does) > 1:
                return None
            found[t, 0, target] = does.pop()
    return found


def scored_always(lists: Attributes, prefix: str) -> set[int]:
    """The targets that get a score from every row: those for which all leaves of one tree have a weight."""
    leaves: dict[int, set[int]] = {}
    columns = (lists.attr(f"nodes_{what}") for what in ("treeids", "nodeids", "modes"))
    for tree, leaf, mode in zip(*columns, strict=True):
        if mode == "LEAF":
            leaves.setdefault(tree, set()).add(leaf)
    weighed: dict[tuple[int, int], set[int]] = {}
    columns = (lists.attr(f"{prefix}_{what}") for what in ("treeids", "nodeids", "ids"))
    for tree, leaf, target in zip(*columns, strict=True):
        weighed.setdefault((tree, target), set()).add(leaf)
    return {target for (tree, target), there in weighed.items() if leaves[tree] <= there}


def _malformed(lists: Attributes, prefix: str, targets: int) -> str | None:
    """What keeps the nodes from being a forest with one root a tree, or None."""
    columns = [lists.attr(f"nodes_{what}") or () for what in ("treeids", "nodeids", "modes", "featureids")]
    columns.append(numbers(lists, "nodes_values"))
    fan = [lists.attr(f"nodes_{what}") or () for what in ("truenodeids", "falsenodeids")]
    weights = [lists.attr(f"{prefix}_{what}") or () for what in ("treeids", "nodeids", "ids")]
    weights.append(numbers(lists, f"{prefix}_weights"))
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


def _paths(lists: Attributes, keys: Sequence[tuple[int, int]], modes: Sequence[str]) -> _Paths:
    """The leaves of each tree, depth first, with the way to each."""
    place = {key: i for i, key in enumerate(keys)}
    fan = (lists.attr("nodes_truenodeids"), lists.attr("nodes_falsenodeids"))
    below = {
        i: [(turn, place[keys[i][0], side[i]]) for turn, side in ((-1, fan[1]), (1, fan[0]))]
        for i, mode in enumerate(modes)
        if mode != "LEAF"
    }
    inner = {child for children in below.values() for _, child in children}
    return {keys[root][0]: list(_leaves(root, below)) for root in range(len(keys)) if root not in inner}


def _leaves(root: int, below: dict[int, list[tuple[int, int]]]) -> Iterator[tuple[int, _Path]]:
    """(leaf, path) from a node down, depth first."""
    todo: list[tuple[int, _Path]] = [(root, ())]
    while todo:
        i, path = todo.pop()
        if i not in below:
            yield i, path
        for turn, child in below.get(i, ()):
            todo.append((child, (*path, (i, turn))))


def scores(op: OpBuilder, node: OpView, ensemble: Ensemble, base: Sequence[float]) -> Any:
    """The sum of what the trees say, and the base values, [rows, targets]."""
    return raised(op, op.ReduceSum(said(op, node, ensemble), ints(op, [0]), keepdims=0), base)


def extremes(op: OpBuilder, node: OpView, ensemble: Ensemble, which: str) -> Any:
    """The least or greatest (``which``: MIN, MAX) of what the trees say, [rows, targets]."""
    if ensemble.speaks is None or not ensemble.speaks.any(0).all():
        return NoMatch("aggregate_function is {}, and some leaves or trees say nothing of a target", which)
    values = said(op, node, ensemble)
    if not ensemble.speaks.all():
        beyond = float(np.finfo(np.float32).max) * (1 if which == "MIN" else -1)
        values = op.Where(op.const(ensemble.speaks), values, scalar(op, beyond, values))
    reduce = op.ReduceMin if which == "MIN" else op.ReduceMax
    return reduce(values, ints(op, [0]), keepdims=0)


def raised(op: OpBuilder, values: Any, base: Sequence[float]) -> Any:
    """Values [rows, targets] with the base values added."""
    return op.Add(values, op.const(np.array(base, np.float32))) if any(base) else values


def said(op: OpBuilder, node: OpView, ensemble: Ensemble) -> Any:
    """What each tree says: [trees, rows, targets]."""
    trees, nodes = ensemble.features.shape
    picked = op.Gather(as_float(op, node), op.const(ensemble.features.ravel()), axis=1)
    hits = _hits(op, picked, ensemble)
    if ensemble.missing.any():
        hits = op.Or(hits, op.And(op.IsNaN(picked), op.const(ensemble.missing.reshape(1, -1))))
    by_tree = op.Transpose(op.Reshape(op.Cast(hits, to=int(DType.FLOAT)), ints(op, [-1, trees, nodes])), perm=[1, 0, 2])
    reached = op.Cast(
        op.Equal(op.MatMul(by_tree, op.const(ensemble.turns)), op.const(ensemble.counts)), to=int(DType.FLOAT)
    )
    return op.MatMul(reached, op.const(ensemble.values))


def _hits(op: OpBuilder, picked: Any, ensemble: Ensemble) -> Any:
    """Which comparisons come out true, [rows, trees * nodes]: of each kind for all nodes, and then those meant."""
    modes, thresholds = ensemble.modes.reshape(1, -1), op.const(ensemble.thresholds.reshape(1, -1))
    kinds = sorted(set(modes.ravel().tolist()))
    found: Any = None
    for kind in kinds:
        compare: Callable[..., Any] = getattr(op, _COMPARE[kind])
        hits = compare(picked, thresholds)
        hits = op.Not(hits) if kind == "BRANCH_NEQ" else hits
        hits = op.And(hits, op.const(modes == kind)) if len(kinds) > 1 else hits
        found = hits if found is None else op.Or(found, hits)
    return found
