"""Write out loops whose number of iterations is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar

import numpy as np

from coregraft.passes.cleanup.cones import NEVER
from coregraft.passes.cleanup.evaluate import Session, runtime_errors
from coregraft.passes.cleanup.inline import Inliner, substitute
from coregraft.passes.cleanup.scopes import Scope, all_graphs, is_free, keeps_going, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import NoMatch
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import attr
from coregraft.rewriter.shapes import infer_shapes
from coregraft.rewriter.types import Array, Const, DType, TensorType

#: A loop state of more elements than this is no counter.
_MAX_COUNTER = 4096
#: Iterations of a computed condition are counted as far as here.
_MAX_COUNTED = 4096


@dataclass(frozen=True)
class UnrollLoops(Pass):
    """Unroll Loop and Scan ops of a known number of iterations.

    What it does
    ------------
    Copies the body once for each iteration and joins the scan outputs with ``Concat``. The number of iterations of
    a ``Loop`` is its constant trip count, unless the body computes the condition: then the part of the body that
    the condition depends on is run, iteration by iteration, provided that it starts from constants (a counter
    compared with a length, as TensorFlow exports have it). A ``Scan`` has as many as the dim it scans. A ``Loop`` of
    too many iterations stays, but with their number as its trip count in the place of a condition.

    Why it matters
    --------------
    Core ML runs ``while_loop`` on the CPU, one op at a time, and neural networks handle few bodies at all.
    A chain of plain ops can be fused, scheduled and run on the Neural Engine.

    Example
    -------
    ``Loop(3, true, x) {x = Mul(x, 2)}`` becomes three ``Mul`` in a row.

    Equivalence
    -----------
    Bit-exact.

    Options
    -------
    ``max-trips``: loops of more iterations stay. ``max-ops``: loops that would become more ops than this stay.

    Sources
    -------
    Hazard H5.10.
    """

    dissolves: ClassVar[tuple[str, ...]] = ("Loop", "Scan")
    max_trips: int = 64
    max_ops: int = 2000

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: self._unroll(rw, scope, ctx))
        if ctx.counts["counted"]:
            infer_shapes(g, ctx.rewriter(g))

    def _unroll(self, rw: Rewriter, scope: Scope, ctx: Context) -> None:
        g = rw.graph
        waiting = deque(_loops(g, 0))
        inliner = Inliner(rw, scope) if waiting else None
        while waiting and inliner is not None:
            op_id = waiting.popleft()
            op = g.op(op_id)
            body: Graph = op.attrs["body"]
            trips = self._loop_trips(op, body, scope) if op.type == "Loop" else _scan_trips(op, scope)
            counted = 0 if isinstance(trips, NoMatch) or trips == _MAX_COUNTED else trips
            if not isinstance(trips, NoMatch) and trips > self.max_trips:
                trips = NoMatch("it runs {} times, more than max-trips={}", trips, self.max_trips)
            size = sum(1 for inner in all_graphs(body) for _ in inner.ops())
            if not isinstance(trips, NoMatch) and trips * size > self.max_ops:
                trips = NoMatch("it would become {} ops, more than max-ops={}", trips * size, self.max_ops)
            if isinstance(trips, NoMatch):
                ctx.note(f"{op.label} is not unrolled: {trips}")
                if counted and op.type == "Loop" and not keeps_going(Scope(body, scope)):
                    _count_out(rw, op_id, counted, scope)
                    ctx.count("counted")
                continue
            first_new: int = g.graph.get("next_id", 0)
            rw.at([op_id], "UnrollLoops")
            if op.type == "Loop":
                _unroll_loop(inliner, op_id, trips)
            else:
                _unroll_scan(inliner, op_id, trips)
            ctx.count("unrolled")
            waiting.extend(_loops(g, first_new))

    def _loop_trips(self, op: Op, body: Graph, scope: Scope) -> int | NoMatch:
        """How often a Loop runs its body; where that has to be counted, as far as up to :data:`_MAX_COUNTED`."""
        most = _scalar(scope, op.inputs[0]) if op.inputs[0] else None
        if op.inputs[0] and most is None:
            return NoMatch("its trip count is not constant")
        condition = op.inputs[1] if len(op.inputs) > 1 else ""
        start = _scalar(scope, condition) if condition else 1
        if start is None:
            return NoMatch("its first condition is not constant")
        if not start or (most is not None and most <= 0):
            return _check_empty(op, scope)
        inner = Scope(body, scope)
        if keeps_going(inner):
            return NoMatch("it never ends") if most is None else most
        source = body.source(next(iter(body.outputs.values())))
        if inner.const(source) is not None:
            return 1
        limit = _MAX_COUNTED if most is None else min(most, _MAX_COUNTED)
        return _counted(op, inner, source, scope, limit)


def _loops(g: Graph, first: int) -> list[int]:
    """The Loop and Scan ops from id ``first`` on, in program order."""
    found = [i for i, op in g.ops() if i >= first and op.domain == "" and op.type in ("Loop", "Scan")]
    return sorted(found, key=g.order_key)


# -------------------------------------------------------------------- how often


def _scalar(scope: Scope, value: str) -> int | None:
    const = scope.const(value)
    return int(const.numpy().reshape(-1)[0]) if const is not None and const.size == 1 else None


def _check_empty(op: Op, scope: Scope) -> int | NoMatch:
    """A loop that does not run gives its initial state and empty scan outputs, whose shape must be known."""
    for value in op.outputs[max(0, len(op.inputs) - 2) :]:
        kind = scope.type(value) if value else None
        if value and (kind is None or kind.shape is None or not all(isinstance(d, int) for d in kind.shape[1:])):
            return NoMatch("it does not run, and the shape of its empty scan output is not known")
    return 0


def _counted(op: Op, inner: Scope, condition: str, scope: Scope, limit: int) -> int | NoMatch:
    """Run only what the condition depends on until it is false, at most ``limit`` times."""
    body = inner.graph
    cone = _control(op, inner, condition, scope)
    if isinstance(cone, NoMatch):
        return cone
    ops, constants, state = cone
    results = list(body.outputs.values())
    inputs = body.inputs
    feeds: dict[str, Array] = {inputs[i + 2]: const.numpy() for i, const in state.items()}
    feeds |= {inputs[0]: np.array(0, np.int64), inputs[1]: np.array(True)}
    read = {v for o in ops for v in o.operands} | {condition, *(results[i + 1] for i in state)}
    fed = {v: DType.of(array.dtype) for v, array in feeds.items() if v in read}
    # A result that is fed or constant goes through an Identity: a session must not return its own operand.
    wanted = {v: f"{v}/result" for v in (condition, *(results[i + 1] for i in state))}
    copies = [Op("Identity", (v,), (copy,)) for v, copy in wanted.items()]
    try:
        session = Session([*ops, *copies], constants, list(wanted.values()), fed)
        for trip in range(limit):
            feeds[inputs[0]] = np.array(trip, np.int64)
            found = session.run({v: feeds[v] for v in fed})
            if not found[wanted[condition]].numpy().any():
                return trip + 1
            feeds |= {inputs[i + 2]: found[wanted[results[i + 1]]].numpy() for i in state}
    except runtime_errors() as error:
        return NoMatch("its condition cannot be computed: {}", str(error).splitlines()[0])
    return limit


def _control(
    op: Op, inner: Scope, condition: str, scope: Scope
) -> tuple[list[Op], dict[str, Const], dict[int, Const]] | NoMatch:
    """The ops that the condition of the next iteration depends on, their constants, and the initial states in it."""
    body = inner.graph
    inputs, results = list(body.inputs), list(body.outputs.values())
    ops: dict[int, None] = {}
    constants: dict[str, Const] = {}
    state: dict[int, Const] = {}
    seen: set[str] = set()
    stack = [condition]
    while stack:
        value = stack.pop()
        if value in seen:
            continue
        seen.add(value)
        const = inner.const(value)
        producer = body.producer(value)
        if const is not None:
            constants[value] = const
        elif producer is not None:
            problem = _not_computable(body.op(producer), inner)
            if problem is not None:
                return problem
            ops[producer] = None
            stack.extend(v for v in body.op(producer).inputs if v)
        elif is_free(body, value):
            return NoMatch("its condition depends on a run-time value")
        elif (index := inputs.index(value)) >= 2:
            initial = scope.const(op.inputs[index])
            if initial is None or initial.size > _MAX_COUNTER:
                return NoMatch("its condition depends on a state that does not start as a constant")
            state[index - 2] = initial
            stack.append(results[index - 1])
    ordered = [body.op(i) for i in body.topological() if i in ops]
    return ordered, constants, dict(sorted(state.items()))


def _not_computable(op: Op, inner: Scope) -> NoMatch | None:
    if op.domain or op.type in NEVER or any(True for _ in op.bodies()):
        return NoMatch("its condition depends on {}", op.label)
    if op.type in ("Div", "Mod"):
        divisor = inner.const(op.inputs[1])
        if divisor is None or (not divisor.dtype.is_float and (divisor.numpy() < 1).any()):
            return NoMatch("its condition depends on a division that may fail")
    return None


def _scan_trips(op: Op, scope: Scope) -> int | NoMatch:
    count: int = op.attrs["num_scan_inputs"]
    axes = op.attrs.get("scan_input_axes") or (0,) * count
    scanned = op.inputs[len(op.inputs) - count :]
    for value, axis in zip(scanned, axes, strict=True):
        kind = scope.type(value)
        if kind is not None and kind.shape is not None and isinstance(size := kind.shape[axis], int):
            return size if size else NoMatch("it scans an empty tensor")
    return NoMatch("the dim it scans is not known")


# -------------------------------------------------------------------- unrolling


def _unroll_loop(inliner: Inliner, op_id: int, trips: int) -> None:
    rw = inliner.rw
    op = rw.graph.op(op_id)
    body: Graph = op.attrs["body"]
    types = [rw.type_of(o) if o else None for o in op.outputs]

    def build() -> list[str]:
        state = list(op.inputs[2:])
        scans: list[list[str]] = [[] for _ in range(len(body.outputs) - 1 - len(state))]
        for trip in range(trips):
            counters = [_counter(rw, body, 0, np.array(trip, np.int64)), _counter(rw, body, 1, np.array(True))]
            results = inliner.inline(body, _bound(body, [*counters, *state]), trip=trip)[1:]
            state = results[: len(state)]
            for collected, value in zip(scans, results[len(state) :], strict=True):
                collected.append(value)
        kinds = types[len(state) :]
        stacked = [_stack(rw, v, 0) if v else _empty(rw, kind) for v, kind in zip_longest(scans, kinds)]
        return [*state, *stacked]

    substitute(rw, op_id, build)


def _count_out(rw: Rewriter, op_id: int, trips: int, scope: Scope) -> None:
    """Let a Loop run by its trip count alone."""
    op = rw.graph.op(op_id)
    body: Graph = op.attrs["body"].copy()
    inner = Rewriter(body, rw.pass_name, rw.target)
    (name, again), *others = body.outputs.items()
    always = inner.const(np.array(True), Scope(body, scope).fresh_name(f"{again}/always"))
    inner.set_outputs({name: always, **dict(others)})
    rw.at([op_id], "UnrollLoops")
    inputs = [rw.const(np.array(trips, np.int64)), "", *op.inputs[2:]]
    rw.update(op_id, inputs=inputs, attrs={**op.attrs, "body": body})


def _counter(rw: Rewriter, body: Graph, index: int, value: Array) -> str:
    """A constant for an input that every loop body has, if this one reads it."""
    name = body.graph["inputs"][index]
    return rw.const(value) if body._succ[name] or name in body.outputs.values() else ""


def _empty(rw: Rewriter, kind: TensorType | None) -> str:
    if kind is None or kind.shape is None:
        return ""  # nobody reads it, or the loop would not have been taken on
    return rw.const(np.zeros((0, *(d for d in kind.shape[1:] if isinstance(d, int))), kind.dtype.numpy))


def _unroll_scan(inliner: Inliner, op_id: int, trips: int) -> None:
    rw = inliner.rw
    op = rw.graph.op(op_id)
    body: Graph = op.attrs["body"]
    n_scanned: int = op.attrs["num_scan_inputs"]
    n_state = len(op.inputs) - n_scanned
    n_stacked = len(body.outputs) - n_state
    in_axes = attr(op, "scan_input_axes") or (0,) * n_scanned
    in_backward = attr(op, "scan_input_directions") or (0,) * n_scanned
    out_axes = attr(op, "scan_output_axes") or (0,) * n_stacked
    out_backward = attr(op, "scan_output_directions") or (0,) * n_stacked

    def build() -> list[str]:
        state = list(op.inputs[:n_state])
        scans: list[list[str]] = [[] for _ in range(n_stacked)]
        for trip in range(trips):
            slices = [
                rw.insert("Gather", [value, np.array(trips - 1 - trip if back else trip, np.int64)], {"axis": axis})
                for value, axis, back in zip(op.inputs[n_state:], in_axes, in_backward, strict=True)
            ]
            results = inliner.inline(body, _bound(body, [*state, *slices]), trip=trip)
            state = results[:n_state]
            for collected, value in zip(scans, results[n_state:], strict=True):
                collected.append(value)
        stacked = [
            _stack(rw, values[::-1] if back else values, axis)
            for values, axis, back in zip(scans, out_axes, out_backward, strict=True)
        ]
        return [*state, *stacked]

    substitute(rw, op_id, build)


def _bound(body: Graph, values: Sequence[str]) -> Mapping[str, str]:
    return dict(zip(body.graph.get("inputs", ()), values, strict=True))


def _stack(rw: Rewriter, values: Sequence[str], axis: int) -> str:
    """Join tensors along a new axis."""
    at = rw.const(np.array([axis], np.int64))
    slices = [rw.insert("Unsqueeze", [value, at]) for value in values]
    return slices[0] if len(slices) == 1 else str(rw.insert("Concat", slices, {"axis": axis}))
