"""Scans that stay, as loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coregraft.passes.cleanup.inline import Inliner, substitute
from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import NoMatch
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import Array, DType, TensorType

_LOWEST = np.iinfo(np.int64).min


@dataclass(frozen=True)
class ScanToLoop(Pass):
    """Replace Scan by Loop.

    What it does
    ------------
    A ``Scan`` becomes a ``Loop`` of as many turns as the scanned dim has elements. In each turn a ``Gather`` fetches
    the elements of the scan inputs, from the end where they are scanned backward. Scan outputs are reversed and
    transposed after the loop where the Scan asks for it. What ``unroll-loops`` leaves comes here.

    Why it matters
    --------------
    Core ML has one loop, ``while_loop``.

    Example
    -------
    ``s, y = Scan(s0, x: float[100,3]) {…}`` becomes ``s, y = Loop(100, , s0) {e = Gather(x, i); …}``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    Hazard H5.10; ONNX's definition of Scan.
    """

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _convert(rw, scope, ctx))


def _convert(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    g = rw.graph
    for op_id in sorted((i for i, op in g.ops() if op.key == ("", "Scan")), key=g.order_key):
        op = g.op(op_id)
        plan = _Plan.of(op, scope)
        if isinstance(plan, NoMatch):
            ctx.note(f"{op.label} stays: {plan}")
            continue
        rw.at([op_id], "ScanToLoop")
        _replace(rw, op_id, plan, scope)
        ctx.count("scans")


@dataclass(frozen=True)
class _Plan:
    """A Scan in words.

    Attributes:
        trips: how often it runs.
        states: how many of its inputs are state.
        axes: which axis each scan input is scanned along.
        backward: which scan inputs are scanned from the end.
        perms: how the dims of each scan output come to lie, None where they stay.
        reversed: which scan outputs are written from the end.
    """

    trips: int
    states: int
    axes: tuple[int, ...]
    backward: tuple[int, ...]
    perms: tuple[tuple[int, ...] | None, ...]
    reversed: tuple[int, ...]

    @classmethod
    def of(cls, op: Op, scope: Scope) -> _Plan | NoMatch:
        count: int = op.attrs["num_scan_inputs"]
        states = len(op.inputs) - count
        body: Graph = op.attrs["body"]
        elements = list(body.outputs.values())[states:]
        axes = attr(op, "scan_input_axes") or (0,) * count
        sizes = [_size(scope.type(value), axis) for value, axis in zip(op.inputs[states:], axes, strict=True)]
        trips = next((n for n in sizes if n is not None), None)
        if not trips:
            return NoMatch("the dim it scans is not known" if trips is None else "it scans an empty tensor")
        perms: list[tuple[int, ...] | None] = []
        for value, axis in zip(elements, attr(op, "scan_output_axes") or (0,) * len(elements), strict=True):
            rank = kind.rank if (kind := body.tensor_type(value)) is not None else None
            if axis and rank is None:
                return NoMatch("the rank of what it collects is not known")
            perms.append(_moved(axis, rank + 1) if axis and rank is not None else None)
        return cls(
            trips, states, tuple(axes), tuple(attr(op, "scan_input_directions") or (0,) * count), tuple(perms),
            tuple(attr(op, "scan_output_directions") or (0,) * len(elements)),
        )  # fmt: skip


def _size(kind: TensorType | None, axis: int) -> int | None:
    size = kind.shape[axis] if kind is not None and kind.shape else None
    return size if isinstance(size, int) else None


def _moved(axis: int, rank: int) -> tuple[int, ...] | None:
    """The order of dims in which the first has gone to ``axis``; None when it stays."""
    order = list(range(1, rank))
    order.insert(axis % rank, 0)
    return None if axis % rank == 0 else tuple(order)


def _replace(rw: Rewriter, op_id: int, plan: _Plan, scope: Scope) -> None:
    op = rw.graph.op(op_id)
    body = _loop_body(rw, op, plan, scope)

    def build() -> list[str]:
        operands = [rw.const(_int64(plan.trips)), None, *op.inputs[: plan.states]]
        made = rw.insert("Loop", operands, {"body": body}, n_outputs=len(op.outputs))
        results = [made] if isinstance(made, str) else list(made)
        for i, (back, perm) in enumerate(zip(plan.reversed, plan.perms, strict=True), plan.states):
            if back:
                ends = [_int64([n]) for n in (-1, _LOWEST, 0, -1)]
                results[i] = rw.insert("Slice", [results[i], *ends])
            if perm is not None:
                results[i] = rw.insert("Transpose", [results[i]], {"perm": perm})
        return results

    substitute(rw, op_id, build)


def _loop_body(outer: Rewriter, op: Op, plan: _Plan, scope: Scope) -> Graph:
    """The body of the loop: that of the scan, with the elements fetched by the number of the turn."""
    old: Graph = op.attrs["body"]
    g = Graph()
    inner = Scope(g, scope)
    rw = Rewriter(g, outer.pass_name, outer.target)
    turn = g.add_input(inner.fresh_name("turn"), TensorType(DType.INT64, ()))
    holds = g.add_input(inner.fresh_name("holds"), TensorType(DType.BOOL, ()))
    bound: dict[str, str] = {}
    for name in old.inputs[: plan.states]:
        bound[name] = inner.fresh_name(name)
        g.add_input(bound[name], old.type_of(name) or TensorType(DType.UNDEFINED))
    back = ""
    for value in dict.fromkeys((*op.inputs[plan.states :], *old.free_values())):
        g.add_value(value, scope.type(value))
    for i, value in enumerate(op.inputs[plan.states :]):
        if plan.backward[i] and not back:
            last = rw.const(_int64(plan.trips - 1), inner.fresh_name(f"{turn}/last"))
            back = rw.insert("Sub", [last, turn], outputs=[inner.fresh_name(f"{turn}/back")])
        name = old.inputs[plan.states + i]
        bound[name] = rw.insert(
            "Gather", [value, back if plan.backward[i] else turn], {"axis": plan.axes[i]},
            outputs=[inner.fresh_name(name)],
        )  # fmt: skip
    results = Inliner(rw, inner).inline(old, bound)
    g.set_outputs(_given(rw, inner, [holds, *results]))
    return g


def _given(rw: Rewriter, scope: Scope, values: Sequence[str]) -> list[str]:
    """Names for the outputs of a body, which gives each value once, and only what it computes."""
    names: list[str] = []
    for value in values:
        own = rw.graph.producer(value) is not None and value not in names
        names.append(value if own else rw.insert("Identity", [value], outputs=[scope.fresh_name(f"{value}/given")]))
    return names


def _int64(values: int | Sequence[int]) -> Array:
    return np.array(values, np.int64)
