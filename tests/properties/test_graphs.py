"""The strategy itself: what it draws is what it promises, and it draws everything."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.verify import verify
from tests.properties.strategies import KINDS, exploring, graphs, outputs_of


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_drawn(kind: str) -> None:
    """Each kind of step can be drawn, and makes a graph that is sound and runs."""
    drawn: Counter[int] = Counter()

    @exploring(6)
    @given(graphs(ops=[kind], max_ops=2))
    def draw(g: Graph) -> None:
        verify(g)
        assert all(g.type_of(v) is not None for v in g.values())
        assert outputs_of(g)
        drawn[len(g)] += 1

    draw()
    assert drawn
