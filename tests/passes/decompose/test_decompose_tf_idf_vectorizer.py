"""decompose-tf-idf-vectorizer: modes, lengths and skips, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.decompose_tf_idf_vectorizer import DecomposeTfIdfVectorizer
from coregraft.rewriter.graph import Floats, Strings

from .conftest import Harness

RULE = DecomposeTfIdfVectorizer()
X = np.random.default_rng(2).integers(0, 5, (3, 12))
#: Four words, three pairs, two triples; the columns in another order, one of them skipped.
POOL: dict[str, Any] = {
    "ngram_counts": (0, 4, 10),
    "pool_int64s": (0, 1, 2, 3, 0, 1, 2, 2, 3, 1, 0, 1, 2, 4, 4, 4),
    "ngram_indexes": (3, 0, 1, 9, 4, 5, 7, 2, 8),
}
WEIGHTS = Floats([0.5, 2.0, 3.0, 1.5, 1.0, 0.25, 4.0, 2.5, 1.25])


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("least", "most", "skips"), [(1, 1, 0), (1, 3, 0), (2, 3, 2), (2, 2, 5), (3, 3, 1)])
@pytest.mark.parametrize("x", [X, X[0], X.astype(np.int32)])
def test_modes(harness: Harness, mode: str, least: int, most: int, skips: int, x: Any) -> None:
    options: dict[str, Any] = {"min_gram_length": least, "max_gram_length": most, "max_skip_count": skips, "mode": mode}
    g, feeds = harness.graph("TfIdfVectorizer", [x], **options, **POOL, weights=WEIGHTS)
    harness.same(RULE, g, feeds)


def test_without_weights(harness: Harness) -> None:
    options: dict[str, Any] = {"min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0, "mode": "TFIDF"}
    g, feeds = harness.graph("TfIdfVectorizer", [X], **options, **POOL)
    harness.same(RULE, g, feeds)


def test_what_is_left_alone(harness: Harness) -> None:
    options: dict[str, Any] = {"min_gram_length": 2, "max_gram_length": 2, "max_skip_count": 0, "mode": "TF"}
    g, _ = harness.graph("TfIdfVectorizer", [X], dims={0: [3, "n"]}, **options, **POOL)
    harness.declines(RULE, g, "length of its input")
    g, _ = harness.graph("TfIdfVectorizer", [X[:, :1]], **options, **POOL)
    harness.declines(RULE, g, "shorter than every n-gram")
    g, _ = harness.graph("TfIdfVectorizer", [X], **options, **POOL)
    harness.declines(DecomposeTfIdfVectorizer(max_comparisons=3), g, "max-comparisons")
    words: dict[str, Any] = {"ngram_counts": (0,), "pool_strings": Strings(["a"]), "ngram_indexes": (0,)}
    g, _ = harness.graph("TfIdfVectorizer", [X], **options, **words)
    harness.declines(RULE, g, "strings")
