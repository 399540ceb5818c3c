"""Result types of ops of ``ai.onnx.ml`` that onnx infers in their newest versions only, or not at all.

Converters of classical models stamp version 1 and declare results as they like (one row, one target); what the op says
is what a runtime returns.
"""

from __future__ import annotations

from coregraft.rewriter.schema import attr
from coregraft.rewriter.shapes.site import Known, Site, Types, product, rule, tensor
from coregraft.rewriter.types import DType


@rule("ai.onnx.ml::TreeEnsembleClassifier", "ai.onnx.ml::SVMClassifier")
def _classifier(site: Site) -> Types | None:
    """Labels [rows] and scores [rows, labels]; how many scores a support vector machine has depends on its mode."""
    strings = site.op.attrs.get("classlabels_strings")
    labels = strings or site.op.attrs.get("classlabels_int64s") or site.op.attrs.get("classlabels_ints") or ()
    width: Known = len(labels) if labels and site.op.type == "TreeEnsembleClassifier" else None
    rows = _rows(site)
    scores = tensor(DType.FLOAT, None if rows is None else [*rows, width])
    return [tensor(DType.STRING if strings else DType.INT64, rows), scores][: len(site.op.outputs)]


@rule("ai.onnx.ml::LinearRegressor", "ai.onnx.ml::SVMRegressor", "ai.onnx.ml::TreeEnsembleRegressor")
def _regressor(site: Site) -> Types | None:
    name = {"LinearRegressor": "targets", "TreeEnsembleRegressor": "n_targets"}.get(site.op.type)
    targets: Known = 1 if name is None else attr(site.op, name)
    rows = _rows(site)
    return None if rows is None else [tensor(DType.FLOAT, [*rows, targets])]


@rule("ai.onnx.ml::Imputer", "ai.onnx.ml::Normalizer", "ai.onnx.ml::Scaler")
def _like(site: Site) -> Types | None:
    dtype = site.dtype(0) if site.op.type == "Imputer" else DType.FLOAT
    return [tensor(dtype, site.shape(0))]


@rule("ai.onnx.ml::ArrayFeatureExtractor")
def _chosen(site: Site) -> Types | None:
    x, chosen = site.shape(0), site.shape(1)
    if x is None or chosen is None:
        return None
    return [tensor(site.dtype(0), [*(x[:-1] if len(x) > 1 else [1]), product(chosen)])]


def _rows(site: Site) -> list[Known] | None:
    """How many rows of features there are: a vector is one."""
    x = site.shape(0)
    if x is None or len(x) not in (1, 2):
        return None
    return [1] if len(x) == 1 else [x[0]]
