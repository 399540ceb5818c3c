"""States: an input of the graph, and an output that says what they hold in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coregraft.lowering.lift.registry import lifts

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp


@lifts("read_state", moves=True)
def read_state(l: Lifter, op: MilOp) -> None:
    """What the state holds at this place of the program."""
    l.emit("Identity", [l.operand(op, "input")], None, [l.out(op)])


@lifts("coreml_update_state", moves=True)
def coreml_update_state(l: Lifter, op: MilOp) -> None:
    """Write a state, and return what was written."""
    written = l.emit("Identity", [l.operand(op, "value")], None, [l.out(op)])
    l.rebind(op, "state", written)


@lifts("write_state", moves=True)
def write_state(l: Lifter, op: MilOp) -> None:
    """Write a state."""
    l.rebind(op, "input", l.operand(op, "data"))
