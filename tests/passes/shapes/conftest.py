"""A graph whose result has a declared shape, before and after a rule, with the same results in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from coregraft.lowering import targets
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Array

FLOATS = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
X = "input x: float[2,3,4]\n"


def rewritten(name: str, text: str, *feeds: Mapping[str, Array]) -> list[str]:
    """The op types that passes for iOS 17 leave; they must do something, and keep the results on all feeds."""
    before = parse(text)
    after = _run(name, before)
    assert not _same_ops(before, after)
    for feed in feeds:
        have, want = run(after, feed), run(before, feed)
        for value in want:
            assert have[value].shape == want[value].shape
            np.testing.assert_allclose(have[value], want[value], rtol=1e-5, atol=1e-5)
    return [after.op(i).type for i in after.topological()]


def declined(name: str, text: str) -> bool:
    """Whether a pass leaves a graph as it is."""
    before = parse(text)
    return _same_ops(before, _run(name, before))


def _same_ops(before: Graph, after: Graph) -> bool:
    return [after.op(i) for i in after.topological()] == [before.op(i) for i in before.topological()]


def _run(name: str, g: Graph) -> Graph:
    return PassManager(["infer-shapes", *name.split()], targets.get("iOS17")).run(g).graph


def vector(*values: int) -> Array:
    return np.array(values, np.int64)
