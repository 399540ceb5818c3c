"""The strategy :func:`graphs`: valid, small ONNX graphs, drawn op by op from the values in scope.

``COREGRAFT_EXPLORE=50 pytest tests/properties`` draws fifty times as many graphs, at random; without it the same
graphs are drawn at every run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from coregraft.rewriter.execute import run, seeded_inputs
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array, DType
from coregraft.rewriter.verify import verify
from tests.properties import kinds_blocks as blocks
from tests.properties import kinds_layers as layers
from tests.properties import kinds_shapes as shapes
from tests.properties.sketch import Draw, Sketch

#: Kind of step -> what adds it to a sketch.
KINDS: Mapping[str, Callable[[Sketch], bool]] = {
    name.strip("_"): step
    for module in (layers, shapes, blocks)
    for name, step in vars(module).items()
    if callable(step) and getattr(step, "__module__", "") == module.__name__
}
#: Shapes of the first input; "N" is a symbol, 2 when a graph is run.
INPUTS: Sequence[tuple[int | str, ...]] = (
    (1, 4, 6, 6), (2, 2, 5, 7), (1, 4, 9), ("N", 4, 8), ("N", 3, 6, 6), (2, 3, 4), (3, 6), ("N", 4), (1, 2, 3, 4, 4),
)  # fmt: skip


def exploring(examples: int) -> settings:
    """Settings of a property that looks at so many graphs in every run."""
    times = int(os.environ.get("COREGRAFT_EXPLORE", "0"))
    return settings(
        max_examples=examples * max(times, 1), deadline=None, derandomize=not times, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip


@st.composite
def graphs(
    draw: Draw,
    ops: Sequence[str] | None = None,
    max_ops: int = 7,
    inputs: Sequence[tuple[int | str, ...]] = INPUTS,
    rename: bool = True,
) -> Graph:
    """Graphs that are sound, typed and run by onnxruntime, all of whose outputs are finite.

    Args:
        ops: kinds of steps that most steps are of, see :data:`KINDS`; often one follows the other in this order.
        max_ops: the largest number of steps; a step is one op or a written-out function of several.
        inputs: shapes of which the inputs have one.
        rename: whether outputs may have another public name than the value that they are read from.
    """
    s = Sketch(draw)
    shape = s.pick(inputs)
    s.input(shape)
    if s.flip():
        s.input(shape)
    if s.integer(0, 4) == 0:
        s.input([d if isinstance(d, str) else 1 for d in shape], DType.BOOL)
    following = 0
    for _ in range(s.integer(min(len(ops or ()), max_ops // 2) or 1, max_ops)):
        if ops is None or s.integer(0, 5) == 0:
            kind = s.pick(sorted(KINDS))
        else:
            kind = ops[following % len(ops)] if s.flip() else s.pick(ops)
            following = ops.index(kind) + 1
        KINDS[kind](s)
    ends = [v for v in s.values if not s.g.users(v) and v not in s.g.inputs]
    ends += [v for v in s.masks if not s.g.users(v) and v not in s.g.inputs]
    assume(ends)
    inner = [v for v in s.values if s.g.users(v) and v not in s.g.inputs]
    if inner and s.flip():  # a value may have users and be an output, too
        ends.append(s.pick(inner))
    if len(ends) > 1 and s.integer(0, 3) == 0:  # ops that nobody needs
        ends.remove(s.pick(ends))
    s.g.set_outputs({(f"public {v}" if rename and s.flip() else v): v for v in ends})
    _drop_unused(s.g)
    verify(s.g)
    assume(all(np.all(np.isfinite(a)) for a in outputs_of(s.g).values()))
    return s.g


def outputs_of(g: Graph, feeds: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """The outputs by public name, on the inputs given or on seeded ones."""
    values = run(g, seeded_inputs(g) if feeds is None else {v: feeds[v] for v in g.inputs})
    return {public: values[value] for public, value in g.outputs.items()}


def assert_close(
    want: Mapping[str, Array], got: Mapping[str, Array], tolerance: float, smallest: float = 0.0
) -> None:
    """Outputs agree up to ``tolerance`` of the largest magnitude of each, or of ``smallest`` where that is more."""
    assert list(want) == list(got)
    for name, expected in want.items():
        found = got[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(found, expected, err_msg=name)
            continue
        scale = float(np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max(initial=0))
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * max(scale, smallest), err_msg=name)


def _drop_unused(g: Graph) -> None:
    """Constants that were made for a step that came to nothing."""
    kept = set(g.inputs) | set(g.outputs.values())
    for value in list(g.values()):
        if value not in kept and not g.succ[value] and not g.pred[value]:
            g.remove_node(value)
