"""The numeric ops of ``ai.onnx.ml``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from tests.conformance.variants.variant import Variant, data, family, ints

_POST = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
#: Element types that these ops take.
# Said, not inferred: how these types join depends on the order in which mypy meets numpy's classes.
_NUMBERS: tuple[type[np.generic], ...] = (np.float32, np.float64, np.int64, np.int32)


def _ml(*names: str) -> list[str]:
    return [f"ai.onnx.ml::{name}" for name in names]


@family(*_ml("Scaler", "Imputer", "Normalizer", "Binarizer"))
def pointwise(op: str) -> Iterator[Variant]:
    kind = op.partition("::")[2]
    for dtype, shape in product(_NUMBERS, ((2, 3), (3,), (1, 3))):
        x = data(*shape, dtype=dtype, low=-3, high=3)
        if kind == "Scaler":
            for scale, offset in (([2.0], [0.5]), ([1.0, 2.0, -0.5], [0.0, 1.0, 2.0])):
                yield Variant(1, [x], {"scale": scale, "offset": offset})
        elif kind == "Normalizer":
            for norm in ("MAX", "L1", "L2"):
                yield Variant(1, [x], {"norm": norm})
        elif kind == "Binarizer" and dtype is np.float32:
            for threshold in (0.0, 0.5, -1.0):
                yield Variant(1, [x], {"threshold": threshold})
        elif kind == "Imputer" and dtype is np.float32:
            holes = x.copy()
            holes[..., 1] = np.nan
            for floats in ([1.5], [1.0, 2.0, 3.0]):
                yield Variant(1, [holes], {"imputed_value_floats": floats, "replaced_value_float": float("nan")})
                yield Variant(1, [holes], {"imputed_value_floats": floats, "replaced_value_float": float(x.flat[0])})
        elif kind == "Imputer" and dtype is np.int64:
            for integers in ([7], [7, 8, 9]):
                yield Variant(1, [x], {"imputed_value_int64s": integers, "replaced_value_int64": int(x.flat[0])})
    if kind == "Normalizer":
        for norm in ("MAX", "L1", "L2"):
            yield Variant(1, [np.array([[0, 0, 0], [0, -4, 3]], np.float32)], {"norm": norm})
    if kind == "Binarizer":
        yield Variant(1, [np.array([[-1, 0, 0.5, np.inf, -np.inf]], np.float32)], {"threshold": 0.5})


@family(*_ml("OneHotEncoder", "FeatureVectorizer", "LabelEncoder", "ArrayFeatureExtractor"))
def rearranged(op: str) -> Iterator[Variant]:
    kind = op.partition("::")[2]
    if kind == "OneHotEncoder":
        for dtype, shape, zeros in product(_NUMBERS, ((4,), (2, 3), (2, 1)), (0, 1)):
            x = data(*shape, dtype=dtype, low=0, high=2)
            x = np.round(x)
            yield Variant(1, [x], {"cats_int64s": [2, 0, 1], "zeros": zeros})
            if zeros:  # one is in no category
                yield Variant(1, [x], {"cats_int64s": [2, 5], "zeros": zeros})
    elif kind == "FeatureVectorizer":
        for dtype in _NUMBERS:
            pieces = [data(2, n, dtype=dtype, seed=n) for n in (1, 3, 2)]
            yield Variant(1, pieces, {"inputdimensions": [1, 3, 2]})
            yield Variant(1, pieces[:1], {"inputdimensions": [1]})
    elif kind == "LabelEncoder":
        keys, found = [1, 5, -2], np.array([[1, 2, 5], [-2, 0, 1]])
        for opset, source, result in product((2, 4), ("int64", "float"), ("int64", "float")):
            values: list[Any] = [10, -3, 7] if result == "int64" else [0.5, -1.5, 2.0]
            attrs: dict[str, Any] = {f"keys_{source}s": keys if source == "int64" else [float(k) for k in keys]}
            attrs[f"values_{result}s"] = values
            x = found.astype(np.int64 if source == "int64" else np.float32)
            yield Variant(opset, [x], attrs)
            yield Variant(opset, [x], {**attrs, f"default_{result}": values[0]})
        yield from _by_tensors()
    else:
        for dtype, shape in product(_NUMBERS, ((3,), (1, 3), (2, 3), (2, 2, 3))):
            x = data(*shape, dtype=dtype)
            for places, constants in product((ints(0, 2), ints(1), np.array([[2, 0]])), ((1,), ())):
                yield Variant(1, [x, places], constants=constants)


def _by_tensors() -> Iterator[Variant]:
    from onnx import numpy_helper

    for source, result in product((np.int64, np.float32, np.float64), repeat=2):
        keys, values = np.array([1, 5, -2], source), np.array([10, -3, 7], result)
        attrs = {
            "keys_tensor": numpy_helper.from_array(keys), "values_tensor": numpy_helper.from_array(values),
            "default_tensor": numpy_helper.from_array(np.array([4], result)),
        }  # fmt: skip
        yield Variant(4, [np.array([5, 3, 1, -2], source)], attrs)


@family(*_ml("LinearClassifier", "LinearRegressor"))
def linear(op: str) -> Iterator[Variant]:
    for dtype, post, count in product(_NUMBERS, _POST, (1, 2, 3)):
        if dtype is not np.float32 and (post != "SOFTMAX" or op.endswith("Regressor")):
            continue
        x = data(4, 3, dtype=dtype)
        if op.endswith("Regressor"):
            weights = data(count, 3, seed=1, low=-0.5, high=0.5).ravel().tolist()
            offsets = data(count, seed=2, low=0.1, high=0.4).tolist()
            for given in ({"intercepts": offsets}, {}):
                yield Variant(1, [x], {"coefficients": weights, "targets": count, "post_transform": post, **given})
            continue
        labels = [5, 2, 9][: max(count, 2)]
        weights, offsets = data(count, 3, seed=1).ravel().tolist(), data(count, seed=2).tolist()
        for multi, given in product((0, 1), ({"intercepts": offsets}, {"intercepts": [0.0] * count})):
            attrs = {"classlabels_ints": labels, "coefficients": weights, "post_transform": post, **given}
            yield Variant(1, [x], {**attrs, "multi_class": multi}, outputs=2)


def _trees(
    count: int, modes: tuple[str, ...], targets: int, prefix: str, *, tracks: bool = False, full: bool = True
) -> dict[str, Any]:
    """Trees of depth 2 over three features with random thresholds; if ``full``, each leaf speaks of each target."""
    random = np.random.default_rng([count, len(modes), targets])
    shape: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
                     "missing_value_tracks_true")
    }  # fmt: skip
    weights: dict[str, list[Any]] = {f"{prefix}_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(count):
        for node in range(7):
            inner = node < 3
            row = (
                tree, node, int(random.integers(3)) if inner else 0,
                modes[(tree + node) % len(modes)] if inner else "LEAF",
                float(np.round(random.normal(), 1)) if inner else 0.0, 2 * node + 1 if inner else 0,
                2 * node + 2 if inner else 0, int(random.integers(2)) if tracks and inner else 0,
            )  # fmt: skip
            for values, value in zip(shape.values(), row, strict=True):
                values.append(value)
            for target in () if inner else range(targets) if full or node % 2 else (node % targets,):
                for values, value in zip(
                    weights.values(), (tree, node, target, float(np.round(random.normal(), 3))), strict=True
                ):  # fmt: skip
                    values.append(value)
    if not tracks:
        del shape["nodes_missing_value_tracks_true"]
    return {**shape, **weights}


_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


def _rows(dtype: Any = np.float32) -> Any:
    """Features with values that lie on thresholds."""
    return np.round(data(6, 3, low=-2, high=2), 1).astype(dtype)


@family(*_ml("TreeEnsembleClassifier", "TreeEnsembleRegressor"))
def trees(op: str) -> Iterator[Variant]:
    is_regressor = op.endswith("Regressor")
    holes = _rows()
    holes[1, :2] = np.nan
    holes[2] = np.inf
    for opset, mode in product((1, 3), (*((m,) for m in _MODES), _MODES[:2], _MODES)):
        for tracks in (False, True):
            for targets in (1, 3):
                attrs = _trees(3, mode, targets, _prefix(op), tracks=tracks)
                yield from _ensemble(opset, holes if tracks else _rows(), attrs, targets, op)
    for targets, post, count in product((1, 2, 3), _POST, (1, 3)):
        attrs = {**_trees(count, _MODES[:1], targets, _prefix(op)), "post_transform": post}
        for base in ((), tuple(data(targets, low=0.1, high=0.9).tolist())):
            if targets == 2 and not is_regressor and post != "NONE":
                continue
            yield from _ensemble(3, _rows(), {**attrs, **({"base_values": base} if base else {})}, targets, op)
        if is_regressor:
            for how in ("SUM", "AVERAGE", "MIN", "MAX"):
                given = {**attrs, "aggregate_function": how, "base_values": [0.25] * targets}
                yield from _ensemble(3, _rows(), given, targets, op)
    for dtype in _NUMBERS[1:]:
        yield from _ensemble(3, _rows(dtype), _trees(2, _MODES[:1], 3, _prefix(op)), 3, op)
    for targets, some in product((2, 3), ([], [0.5, 0.25, 0.75])):  # leaves that say nothing of a target
        attrs = _trees(2, _MODES[:1], targets, _prefix(op), full=False)
        given = {"base_values": some[:targets]} if some else {}
        yield from _ensemble(3, _rows(), {**attrs, **given}, targets, op)


def _prefix(op: str) -> str:
    return "target" if op.endswith("Regressor") else "class"


def _ensemble(opset: int, x: Any, attrs: dict[str, Any], targets: int, op: str) -> Iterator[Variant]:
    if op.endswith("Regressor"):
        yield Variant(opset, [x], {"n_targets": targets, **attrs})
    else:
        yield Variant(opset, [x], {"classlabels_int64s": [7, 3, 5][: max(targets, 2)], **attrs}, outputs=2)


@family(*_ml("TreeEnsemble"))
def forest(op: str) -> Iterator[Variant]:
    from onnx import numpy_helper

    holes = _rows()
    holes[1, :2] = np.nan
    for dtype, post, how, mode in product((np.float32, np.float64), range(5), range(4), range(6)):
        if (post and how != 1) or (dtype is np.float64 and (post or mode)) or (post and mode) or (mode > 1 and how > 1):
            continue
        random = np.random.default_rng([post, how, mode])
        count, targets = 2, 2
        inner = 3 * count  # a root with two children in each tree, and four leaves below them
        roots = [3 * t for t in range(count)]
        attrs = {
            "aggregate_function": how, "post_transform": post, "n_targets": targets, "tree_roots": roots,
            "nodes_featureids": random.integers(0, 3, inner).tolist(),
            "nodes_modes": numpy_helper.from_array(np.full(inner, mode, np.uint8)),
            "nodes_splits": numpy_helper.from_array(np.round(random.normal(size=inner), 1).astype(dtype)),
            "nodes_trueleafs": [i for _ in roots for i in (0, 1, 1)],
            "nodes_falseleafs": [i for _ in roots for i in (0, 1, 1)],
            "nodes_truenodeids": [i for t in range(count) for i in (3 * t + 1, 4 * t, 4 * t + 2)],
            "nodes_falsenodeids": [i for t in range(count) for i in (3 * t + 2, 4 * t + 1, 4 * t + 3)],
            "leaf_targetids": random.integers(0, targets, 4 * count).tolist(),
            "leaf_weights": numpy_helper.from_array(random.normal(size=4 * count).astype(dtype)),
        }  # fmt: skip
        yield Variant(5, [_rows(dtype)], attrs)
        if not post and how == 1:
            tracked = {**attrs, "nodes_missing_value_tracks_true": random.integers(0, 2, inner).tolist()}
            yield Variant(5, [holes.astype(dtype)], tracked)


def _machine(labels: int, *, probable: bool, **attrs: Any) -> dict[str, Any]:
    """A support vector machine, with 1, 3, 2, 1… vectors for each label."""
    per_label = [1 + (2 * i) % 3 for i in range(labels)]
    count, pairs = sum(per_label), labels * (labels - 1) // 2
    return {
        "classlabels_ints": list(range(3, 3 + 2 * labels, 2)),
        "coefficients": data(labels - 1, count, seed=1).ravel().tolist(),
        "kernel_params": [0.3, 0.2, 3.0],
        "rho": data(pairs, seed=2).tolist(),
        "support_vectors": data(count, 3, seed=3).ravel().tolist(),
        "vectors_per_class": per_label,
        **({"prob_a": data(pairs, seed=4).tolist(), "prob_b": data(pairs, seed=5).tolist()} if probable else {}),
        **attrs,
    }


@family(*_ml("SVMClassifier", "SVMRegressor"))
def support_vectors(op: str) -> Iterator[Variant]:
    kernels, x = ("LINEAR", "POLY", "RBF", "SIGMOID"), data(5, 3)
    if op.endswith("Regressor"):
        for kernel, one_class, rows in product(kernels, (0, 1), (1, 5)):
            attrs = {"kernel_type": kernel, "kernel_params": [0.3, 0.2, 3.0], "one_class": one_class, "rho": [0.3]}
            vectors = {"coefficients": data(4, seed=1).tolist(), "n_supports": 4,
                       "support_vectors": data(4, 3, seed=3).ravel().tolist()}  # fmt: skip
            yield Variant(1, [data(rows, 3)], {**attrs, **vectors})
        attrs = {"kernel_type": "LINEAR", "kernel_params": [0.0, 0.0, 0.0], "rho": [0.3]}
        yield Variant(1, [x], {**attrs, "coefficients": data(3, seed=1).tolist()})
        return
    for labels, probable, how in product((2, 3, 4), (False, True), _POST):
        yield Variant(1, [x], _machine(labels, probable=probable, kernel_type="RBF", post_transform=how), outputs=2)
    for labels, kernel in product((2, 3), kernels):
        yield Variant(1, [x], _machine(labels, probable=False, kernel_type=kernel), outputs=2)
    for dtype in _NUMBERS[1:]:
        yield Variant(1, [x.astype(dtype)], _machine(3, probable=True, kernel_type="LINEAR"), outputs=2)
    for labels in (2, 3):
        weights = {"coefficients": data(labels, 3, seed=1).ravel().tolist(), "rho": [0.1], "kernel_type": "LINEAR"}
        attrs = {**weights, "classlabels_ints": list(range(labels)), "kernel_params": [0.0, 0.0, 0.0]}
        yield Variant(1, [x], attrs, outputs=2)
