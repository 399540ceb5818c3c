"""Every positive fixture of a pass, made into near misses: whether or not it fires, it must not miscompile.

From each graph that a pass rewrites come graphs in which a value on the way is an output, too, or has another user,
in which a constant operand is computed at run time, or in which an op has an attribute of another value. The pass
runs on them in checked mode, and the outputs are compared with those of the graph before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from onnx import defs

from coregraft.rewriter.contract import Equivalence
from coregraft.rewriter.errors import CoregraftError, PassError
from coregraft.rewriter.execute import UnrunnableError, run, seeded_inputs
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.schema import attr, has_schema
from coregraft.rewriter.types import Array, TensorType
from coregraft.rewriter.verify import verify
from tests.passes.test_fixtures import CASES, Case
from tests.properties.strategies import assert_close

#: The numbers are checked by each pass's own promise; this is for the outputs, after all of a pipeline's passes.
TOLERANCE = 1e-3
POSITIVE = [case for case in CASES if "declines" not in case.options]
#: Near misses that have no right result: along axis 0 every score of a row is masked, and the parts do not fit.
UNDEFINED = {("bound_mask_constants", 'Softmax "y" has axis=0'), ("drop_empty_tensors", 'Concat "y" has axis=0')}
FILES = sorted({case.path.stem for case in POSITIVE})


@pytest.mark.parametrize("name", FILES)
def test_near_misses(name: str) -> None:
    for case in (case for case in POSITIVE if case.path.stem == name):
        for what, g, constants in (*exposed(case), *unpinned(case), *twisted(case)):
            if (name, what) not in UNDEFINED:
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


def twisted(case: Case) -> Iterator[tuple[str, Graph, dict[str, Array]]]:
    """The graph with one attribute of one op changed: a flag flipped, a list backwards, a number a little larger."""
    for op_id, op in sorted(parse(case.before).ops()):
        for name, value in sorted(_other_values(op).items()):
            g = parse(case.before)
            g.set_op(op_id, replace(g.op(op_id), attrs={**op.attrs, name: value}))
            for later in g.values():  # declared shapes may no longer hold
                if g.producer(later) is not None:
                    g.nodes[later]["type"] = None
            yield f"{op.label} has {name}={value}", g, {}


def _other_values(op: Op) -> dict[str, int | float | tuple[int, ...]]:
    if op.domain or not has_schema(op):
        return {}
    found: dict[str, int | float | tuple[int, ...]] = {}
    for name in defs.get_schema(op.type, 24 if defs.has(op.type, 24) else defs.onnx_opset_version()).attributes:
        value = attr(op, name)
        if isinstance(value, int) and name not in ("to", "saturate", "training_mode"):
            found[name] = 1 - value if value in (0, 1) else value + 1
        elif isinstance(value, float):
            found[name] = 1.5 * value + 0.25
        elif isinstance(value, tuple) and value != value[::-1] and all(isinstance(v, int) for v in value):
            found[name] = value[::-1]
    return found


def _fits_half(a: Array) -> bool:
    return a.dtype.kind != "f" or not np.any(np.abs(a) > np.finfo(np.float16).max)


def _intermediates(g: Graph) -> list[str]:
    outputs = set(g.outputs.values())
    return [v for v in g.values() if g.producer(v) is not None and g.users(v) and v not in outputs]


def _check(what: str, case: Case, mutant: Graph, constants: dict[str, Array]) -> None:
    try:
        feeds = {**seeded_inputs(mutant), **constants}
        run(mutant, feeds)
        g = PassManager("upgrade-opset,infer-shapes").run(mutant).graph
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
