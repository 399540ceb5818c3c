"""The rewriter's journal: any sequence of its operations, undone, leaves the graph that was there."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import to_text
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.types import Const, DType
from coregraft.rewriter.verify import verify
from tests.properties.strategies import exploring, graphs


class _DeclinedError(Exception):
    """An operation that does not apply to the graph as it is."""


def _insert(rw: Rewriter, rng: random.Random) -> None:
    """An op after a float value, which may stay without users."""
    value = _float(rw, rng)
    rw.at([_op(rw, rng)])
    if rng.random() < 0.5:
        rw.insert("Relu", [value])
    else:
        rw.insert("Add", [value, np.float32(rng.random())])


def _replace_op(rw: Rewriter, rng: random.Random) -> None:
    """The result of an op, computed from it by another op that takes over its name."""
    op_id = _op(rw, rng)
    op = rw.graph.op(op_id)
    result = op.outputs[0]
    if len(op.outputs) != 1 or _is_not_float(rw.graph, result):
        raise _DeclinedError
    rw.at([op_id])
    kind = rng.choice(["Neg", "Tanh", "Transpose", "Shape"])
    rw.commit([op_id], [result], lambda: rw.insert(kind, [result]) if rng.random() < 0.8 else None)


def _replace_uses(rw: Rewriter, rng: random.Random) -> None:
    """A value read in place of a later one; only of one that does not depend on it, or a cycle would arise."""
    order = [v for i in rw.graph.topological() for v in rw.graph.op(i).outputs if v]
    if not order:
        raise _DeclinedError
    sources = [*rw.graph.inputs, *order]
    old = rng.choice(order)
    new = rng.choice(sources[: sources.index(old)] or sources[:1])
    rw.replace_uses(old, new)


def _update(rw: Rewriter, rng: random.Random) -> None:
    """Another type of op, or its operands in the other order."""
    op_id = _op(rw, rng)
    op = rw.graph.op(op_id)
    if op.type in ("Relu", "Tanh", "Abs", "Neg", "Sigmoid"):
        rw.update(op_id, type=rng.choice(["Relu", "Tanh", "Abs"]))
    elif op.type in ("Add", "Mul", "Max", "Min"):
        rw.update(op_id, inputs=op.inputs[::-1])
    else:
        rw.update(op_id, attrs={**op.attrs})


def _erase(rw: Rewriter, rng: random.Random) -> None:
    """An op that nobody needs."""
    g = rw.graph
    dead = [i for i, op in g.ops() if not any(g.users(o) or g.public_names(o) for o in op.outputs if o)]
    if not dead:
        raise _DeclinedError
    rw.erase(rng.choice(sorted(dead)))


def _constant(rw: Rewriter, rng: random.Random) -> None:
    """A constant that is new, or another content of one that is there."""
    consts = [v for v in rw.graph.values() if (c := rw.graph.const(v)) is not None and c.dtype is DType.FLOAT]
    if not consts or rng.random() < 0.3:
        rw.at([_op(rw, rng)])
        name = rw.const(np.ones(2, np.float32))
        if rng.random() < 0.5:
            rw.drop(name)
        else:
            rw.insert("Neg", [name])
        return
    name = rng.choice(consts)
    const = rw.graph.const(name)
    assert const is not None
    rw.set_const(name, Const.of(np.full(const.shape, rng.random(), np.float32)))


def _outputs(rw: Rewriter, rng: random.Random) -> None:
    """One output less, or a fact more."""
    outputs = dict(rw.graph.outputs)
    if len(outputs) > 1 and rng.random() < 0.5:
        del outputs[rng.choice(list(outputs))]
        rw.set_outputs(outputs)
    else:
        rw.set_fact("remark", rng.randrange(9))


def _type(rw: Rewriter, rng: random.Random) -> None:
    rw.set_type(_float(rw, rng), None)


OPERATIONS: dict[str, Callable[[Rewriter, random.Random], None]] = {
    "insert": _insert, "replace op": _replace_op, "replace uses": _replace_uses, "update": _update, "erase": _erase,
    "constant": _constant, "outputs": _outputs, "type": _type,
}  # fmt: skip


@exploring(150)
@given(graphs(max_ops=5), st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=12), st.integers(0, 999))
def test_undone_operations_leave_no_trace(g: Graph, names: list[str], seed: int) -> None:
    """Sound after every operation; each mark leads back to the graph of its time, and all to the first."""
    rng = random.Random(seed)
    rw = Rewriter(g, "test")
    first = _statement(g)
    marks = [(rw.mark(), first)]
    for name in names:
        before = _statement(g)
        try:
            OPERATIONS[name](rw, rng)
        except (_DeclinedError, CoregraftError):
            assert _statement(g) == before, f"{name} failed and left a trace"
        verify(g)
        if not rw.changed:
            assert _statement(g) == first, f"{name} changed the graph, and no event says so"
        marks.append((rw.mark(), _statement(g)))
    for mark, text in reversed(marks):
        rw.rollback(mark)
        verify(g)
        assert _statement(g) == text
    assert not rw.changed


def test_every_operation_is_of_use() -> None:
    """None of the operations above declines everywhere."""
    done: set[str] = set()

    @exploring(30)
    @given(graphs(ops=["unary", "binary", "split"], max_ops=5), st.integers(0, 999))
    def attempt(g: Graph, seed: int) -> None:
        for name, operation in OPERATIONS.items():
            rw = Rewriter(g, "test")
            try:
                operation(rw, random.Random(seed))
            except (_DeclinedError, CoregraftError):
                continue
            if rw.changed:
                done.add(name)
            rw.rollback()

    attempt()
    assert done == set(OPERATIONS)


def _statement(g: Graph) -> str:
    """The text, its constants sorted: a value that comes back does so at the end of the list of all."""
    lines = to_text(g).splitlines()
    top = [line for line in lines if line.startswith("const ")]
    return "\n".join([line for line in lines if line not in top] + sorted(top))


def _op(rw: Rewriter, rng: random.Random) -> int:
    found = sorted(i for i, _ in rw.graph.ops())
    if not found:
        raise _DeclinedError
    return rng.choice(found)


def _float(rw: Rewriter, rng: random.Random) -> str:
    found = [v for v in rw.graph.values() if not _is_not_float(rw.graph, v)]
    if not found:
        raise _DeclinedError
    return rng.choice(found)


def _is_not_float(g: Graph, value: str) -> bool:
    kind = g.tensor_type(value)
    return kind is None or kind.dtype is not DType.FLOAT
