"""Control flow: If and Loop. What can be unrolled has been, in the graph, where that can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.passes.cleanup.scopes import Scope, keeps_going
from coregraft.rewriter.graph import Graph, Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: A trip count from which on a loop has no limit, which no counter of Core ML's reaches: what ``while`` exports as.
_UNLIMITED = int(np.iinfo(np.int32).max)
#: The last whole number up to which a neuralnetwork, which only has floats, can count.
_LAST_FLOAT = 1 << 24


@lower("If", attrs="then_branch else_branch")
def emit_if(b: Emitter, op: Op) -> Any:
    """``cond``. Both branches must give the same types and shapes, since Core ML's shapes are fixed.

    Raises:
        UnsupportedError: ``op-unsupported``.
    """
    branches: list[Graph] = [b.attr(op, "then_branch"), b.attr(op, "else_branch")]
    for results in zip(*(branch.outputs.values() for branch in branches), strict=True):
        kinds = [branch.tensor_type(value) for branch, value in zip(branches, results, strict=True)]
        if None in kinds or kinds[0] != kinds[1]:
            b.refuse(op, f"its branches give {kinds[0]} and {kinds[1]}", "pin the input sizes, or let them agree")
    then, otherwise = branches
    return b.mb.cond(
        pred=_scalar(b, b.var(op.inputs[0])),
        _true_fn=lambda: _own(b, list(then.outputs.values()), b.body(then)),
        _false_fn=lambda: _own(b, list(otherwise.outputs.values()), b.body(otherwise)),
        name=b.name(op),
    )


@lower("Loop", attrs="body")
def emit_loop(b: Emitter, op: Op) -> Any:
    """``while_loop`` over the counter, the condition and the state, each as far as it is read or changes.

    Scan outputs have become state in the graph, where their length is known.

    Raises:
        UnsupportedError: ``op-unsupported``: a scan output of unknown length; a state that changes its shape; a loop
            that never ends; a count beyond what a neuralnetwork's numbers hold.
    """
    body: Graph = b.attr(op, "body")
    (turn, holds, *slots), (again, *results) = body.inputs, body.outputs.values()
    start = [b.var(value) for value in op.inputs[2:]]
    if len(results) > len(slots):
        missing = (op.outputs[len(slots) :] or results[len(slots) :])[0]
        b.refuse(
            op, f'the size of its scan output "{missing}" is only known at run time',
            "declare its shape in the model, or write into a state of fixed size instead",
        )  # fmt: skip
    limit, first, endless = _limit(b, op), _first(b, op), keeps_going(Scope(body))
    if endless and limit is None:
        b.refuse(op, "it has no trip count, and its condition does not change")
    counts, changing = limit is not None or _is_read(body, turn), [i for i, s in enumerate(slots) if results[i] != s]

    def split(variables: Sequence[Any]) -> tuple[Any, Any, list[Any]]:
        """The counter, the condition (each None if there is none) and the state as a turn finds it."""
        pending, state = list(variables), list(start)
        counter = pending.pop(0) if counts else None
        condition = first if endless else pending.pop(0)
        for i, var in zip(changing, pending, strict=True):
            state[i] = var
        return counter, condition, state

    def goes_on(*variables: Any) -> Any:
        for var in variables:
            _forget_value(var)
        counter, condition, _ = split(variables)
        name = b.names.take(f"{again}_holds")
        if limit is None:
            return b.mb.identity(x=condition, name=name)
        if condition is None:
            return b.mb.less(x=counter, y=limit, name=name)
        return b.mb.logical_and(x=b.mb.less(x=counter, y=limit), y=condition, name=name)

    def step(*variables: Any) -> list[Any]:
        counter, _, state = split(variables)
        # A turn is only taken while the condition holds, so that is what the body reads of it.
        condition = b.mb.const(val=np.bool_(True), name=b.names.take(holds)) if _is_read(body, holds) else None
        last, *found = b.body(body, [counter, condition, *state])
        for i in changing:
            if tuple(found[i].shape) != tuple(start[i].shape):
                b.refuse(
                    op, f'its state "{op.inputs[2 + i]}" starts with the shape {tuple(start[i].shape)} and goes on '
                    f"with {tuple(found[i].shape)}", "give it its final size from the start, and write into it",
                )  # fmt: skip
        following = [] if endless else [(again, _scalar(b, last))]
        following += [(results[i], found[i]) for i in changing]
        owned = _own(b, [name for name, _ in following], [var for _, var in following], values_known=False)
        counted = [b.mb.add(x=counter, y=np.int32(1), name=b.names.take(f"{turn}_next"))] if counts else []
        return [*counted, *owned]

    lead = [np.int32(0)] * counts + [np.bool_(True) if first is None else first] * (not endless)
    made = b.mb.while_loop(
        _cond=goes_on, _body=step, loop_vars=(*lead, *(start[i] for i in changing)), name=b.name(op)
    )
    left = list(made) if isinstance(made, (list, tuple)) else [made]
    finals = dict(zip(changing, left[len(lead) :], strict=True))
    return [finals[i] if i in finals else b.mb.identity(x=var, name=b.name(op, i)) for i, var in enumerate(start)]


def _limit(b: Emitter, op: Op) -> Any:
    """The trip count as a number or a scalar var; None when there is none that a loop could get to."""
    known = b.const(op.inputs[0])
    if known is None:
        return _scalar(b, b.var(op.inputs[0])) if op.inputs[0] else None
    limit = max(int(known.reshape(())), 0)
    if limit >= _UNLIMITED:
        return None
    if b.target.format == "neuralnetwork" and limit > _LAST_FLOAT:
        b.refuse(op, f"it runs {limit} times, and a neuralnetwork cannot count beyond {_LAST_FLOAT}")
    return np.int32(limit)


def _first(b: Emitter, op: Op) -> Any:
    """The condition of the first turn as a scalar var; None when it is certainly true."""
    value = op.inputs[1] if len(op.inputs) > 1 else ""
    known = b.const(value)
    return None if not value or (known is not None and known.all()) else _scalar(b, b.var(value))


def _is_read(body: Graph, value: str) -> bool:
    return bool(body.users(value)) or value in body.outputs.values()


def _scalar(b: Emitter, var: Any) -> Any:
    """A var of one element as a scalar."""
    return b.mb.squeeze(x=var, axes=list(range(var.rank))) if var.rank else var


def _own(b: Emitter, names: Sequence[str], vars: Sequence[Any], *, values_known: bool = True) -> list[Any]:
    """The results of a block, which hands out each var once and only what it makes: the rest is copied.

    Args:
        names: what the results are called.
        values_known: whether coremltools may know them at compile time. It takes a loop variable that starts as a
            constant for one until it sees it change, and gives up when that takes more than one turn.
    """
    from coremltools.converters.mil.mil.block import curr_block

    results: list[Any] = []
    for name, var in zip(names, vars, strict=True):
        is_own = var.op is not None and var.op.op_type != "const" and var.op.enclosing_block is curr_block()
        hidden = not values_known and var.sym_val is not None
        if not is_own or hidden or any(var is other for other in results):
            var = b.mb.identity(x=var, name=b.names.take(f"{name}_result"))
        if hidden:
            _forget_value(var)
        results.append(var)
    return results


def _forget_value(var: Any) -> None:
    """Let a var be what the run time makes of it, not the constant that coremltools found it to be at first."""
    var._sym_val = None
