"""Control flow: ``cond`` and ``while_loop``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coregraft.lowering.lift.registry import lifts
from coregraft.rewriter.types import DType, TensorType

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


@lifts("cond", moves=True)
def cond(l: Lifter, op: MilOp) -> None:
    """``If``."""
    bodies = []
    for block in op.blocks:
        body = l.child()
        yield_values(body, body.run(block))
        bodies.append(body.graph)
    attrs = dict(zip(("then_branch", "else_branch"), bodies, strict=True))
    l.emit("If", [l.operand(op, "pred")], attrs, [l.out(op, i) for i in range(len(op.outputs))])


@lifts("while_loop", moves=True)
def while_loop(l: Lifter, op: MilOp) -> None:
    """``Loop``, which wants to know beforehand: the condition is evaluated outside, then at the end of each turn."""
    condition, step = op.blocks
    start = l.values(op, "loop_vars")
    (first,) = l.run(condition, start)
    body = l.child()
    body.input("turn", TensorType(DType.INT64, ()))
    body.input("go_on", TensorType(DType.BOOL, ()))
    slots = [(slot.name, slot.type) for slot in step.inputs]
    following = body.run(step, [body.input(name, kind or TensorType(DType.UNDEFINED)) for name, kind in slots])
    (again,) = body.run(condition, following)
    yield_values(body, [again, *following])
    l.emit("Loop", [None, first, *start], {"body": body.graph}, [l.out(op, i) for i in range(len(op.outputs))])


def yield_values(body: Lifter, values: Sequence[str]) -> None:
    """Set the outputs of a body; what it does not compute itself, or has given already, as a copy."""
    results: list[str] = []
    for value in values:
        own = value in body.graph and body.graph.producer(value) is not None and value not in results
        results.append(value if own else body.emit("Identity", [value]))
    body.graph.set_outputs(results)
