"""Every positive fixture of a pass, made into near misses: whether or not it fires, it must not miscompile.

From each graph that a pass rewrites come graphs in which a value on the way is an output, too, has another user, or
in which a constant operand is computed at run time. The pass runs on them in checked mode, and the outputs are
compared with those of the graph before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from coregraft.rewriter.contract import Equivalence
from coregraft.rewriter.errors import CoregraftError, PassError
from coregraft.rewriter.execute import UnrunnableError, run, seeded_inputs
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.types import Array, TensorType
from coregraft.rewriter.verify import verify
from tests.passes.test_fixtures import CASES, Case
from tests.properties.strategies import assert_close

#: The numbers are checked by each pass's own promise; this is for the outputs, after all of a pipeline's passes.
TOLERANCE = 1e-3
POSITIVE = [case for case in CASES if "declines" not in case.options]
FILES = sorted({case.path.stem for case in POSITIVE})


@pytest.mark.parametrize("name", FILES)
def test_near_misses(name: str) -> None:
    for case in (case for case in POSITIVE if case.path.stem == name):
        for what, g, constants in (*exposed(case), *unpinned(case)):
            _check(f"{case.title}: {what}", case, g, constants)


def exposed(case: Case) -> Iterator[tuple[str, Graph, dict[str, Array]]]:
    """The graph with each intermediate value as an output, and with an op that reads it."""
    g = parse(case.before)
    for value in _intermediates(g):
        seen = parse(case.before)
        seen.set_outputs({**seen.outputs, f"seen {value}": value})
        yield f"{value} is an output", seen, {}
        used = parse(case.before)
        used.add_op(Op("Shape", (value,), ("another user",), name="another user"))
        used.add_op(Op("Identity", (value,), ("a copy",), name="a copy"))
        used.set_outputs({**used.outputs, "another user": "another user", "a copy": "a copy"})
        yield f"{value} has another user", used, {}


def unpinned(case: Case) -> Iterator[tuple[str, Graph, dict[str, Array]]]:
    """The graph with each constant as an input, fed what the constant is."""
    names = [v for v in parse(case.before).values() if parse(case.before).const(v) is not None]
    for value in names:
        g = parse(case.before)
        const = g.const(value)
        assert const is not None
        g.nodes[value]["const"] = None
        g.set_inputs([*g.inputs, value])
        g.nodes[value]["type"] = TensorType(const.dtype, const.shape)
        yield f"{value} is an input", g, {value: const.numpy()}


def _fits_half(a: Array) -> bool:
    return a.dtype.kind != "f" or not np.any(np.abs(a) > np.finfo(np.float16).max)


def _intermediates(g: Graph) -> list[str]:
    outputs = set(g.outputs.values())
    return [v for v in g.values() if g.producer(v) is not None and g.users(v) and v not in outputs]


def _check(what: str, case: Case, mutant: Graph, constants: dict[str, Array]) -> None:
    try:
        g = PassManager("upgrade-opset,infer-shapes").run(mutant).graph
        feeds = {**seeded_inputs(g), **constants}
        want = run(g, feeds)
    except UnrunnableError:  # the mutation made it illegal: an operand that must be constant, say
        return
    if case.path.stem == "assign_precision" and not all(map(_fits_half, want.values())):
        return
    manager = PassManager(case.pipeline, target=case.target, checked=True, inputs=feeds)
    before = to_text(g)
    try:
        done = manager.run(g)
    except PassError as error:
        raise AssertionError(f"{what}: {error}\n{before}") from error
    except CoregraftError:  # a refusal
        return
    verify(done.graph)
    if any(p.equivalence is Equivalence.LOSSY or p.compares == "outputs" for p in manager.passes):
        return
    got = run(done.graph, {v: feeds[v] for v in done.graph.inputs})
    old = {public: want[value] for public, value in g.outputs.items()}
    new = {public: got[value] for public, value in done.graph.outputs.items()}
    try:
        assert_close(old, new, TOLERANCE)
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}\n{before}\n{to_text(done.graph)}") from error


def test_there_is_something_to_mutate() -> None:
    """Most passes have fixtures with values on the way and with constants."""
    inner = [case for case in POSITIVE if next(exposed(case), None)]
    fixed = [case for case in POSITIVE if next(unpinned(case), None)]
    assert len(inner) > 100
    assert len(fixed) > 100
    assert all(np.size(a) for case in fixed[:5] for *_, constants in unpinned(case) for a in constants.values())
