"""NGramRepeatBlock by comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.contrib._base import Contrib, ms
from coregraft.passes.decompose._base import ints, need, scalar
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView
from coregraft.rewriter.types import DType


@dataclass(frozen=True)
class DecomposeNgramRepeatBlock(Contrib):
    """Ban the tokens that would repeat an n-gram by comparing all windows with the last one.

    What it does
    ------------
    Compares every window of ``ngram_size - 1`` tokens with the last one of its row; the token that follows an equal
    one gets the score minus infinity. The shapes must be known, and windows times vocabulary be at most
    ``max-elements`` a row.

    Why it matters
    --------------
    Core ML has no such op; onnxruntime adds it to a generation loop for ``no_repeat_ngram_size``.

    Example
    -------
    ``y = com.microsoft.NGramRepeatBlock <ngram_size = 2> (ids, scores)`` becomes ``banned = ReduceMax((ids[:, :-1] ==
    ids[:, -1:])[:, :, None] and ids[:, 1:, None] == arange(vocabulary)); y = Where(banned, -inf, scores)``.

    Equivalence
    -----------
    Bit-exact: scores are copied.

    Options
    -------
    max-elements: most comparisons with the vocabulary for a row.

    Sources
    -------
    H4.26; onnxruntime operator schema NGramRepeatBlock-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ms("NGramRepeatBlock")
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"ngram_size": None})
    max_elements: int = 1 << 24

    def build(self, op: OpBuilder, node: OpView) -> Any:
        ids, scores, size = need(node, 0), need(node, 1), self.get(node, "ngram_size")
        if ids.static_shape is None or scores.static_shape is None:
            return NoMatch("the number of tokens or the size of the vocabulary is not known")
        if not isinstance(size, int) or size < 1:
            return NoMatch("its ngram_size is {}", size)
        length, vocabulary = ids.static_shape[1], scores.static_shape[1]
        windows = length - size + 1
        if windows < 1:
            return scores
        if windows * vocabulary > self.max_elements:
            return NoMatch("{} windows of {} tokens are more than max-elements", windows, vocabulary)

        def tokens(start: int, count: int) -> Any:
            return op.Slice(ids, ints(op, [start]), ints(op, [start + count]), ints(op, [1]))

        following = op.Unsqueeze(tokens(size - 1, windows), ints(op, [2]))
        banned = op.Equal(following, op.const(np.arange(vocabulary, dtype=np.int64)))
        for i in range(size - 1):
            same = op.Equal(tokens(i, windows), tokens(windows + i, 1))
            banned = op.And(banned, op.Unsqueeze(same, ints(op, [2])))
        hits = op.ReduceMax(op.Cast(banned, to=int(DType.INT32)), ints(op, [1]), keepdims=0)
        return op.Where(op.Cast(hits, to=int(DType.BOOL)), scalar(op, -np.inf, scores), scores)
