"""Remove what no output depends on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from coregraft.passes.cleanup.scopes import all_graphs, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.onnx_io.load import function_graph
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import attr, schema

Key = tuple[str, str, str]


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Remove ops, results, constants and functions that no output depends on.

    What it does
    ------------
    Removes ops none of whose results reaches an output, optional results that nobody reads (the mask of a Dropout,
    the last state of an LSTM, results of If, Loop and Scan together with what computes them in the bodies),
    constants without a reader, and functions without a call. The graph's inputs stay, used or not.

    Why it matters
    --------------
    Everything left in the graph is converted, compiled and shipped. An unused result can also cost an op its
    lowering: Core ML has no mask output of dropout and no indices output of max pooling.

    Example
    -------
    ``y, h, c = LSTM(x, w, r)`` of which only ``y`` is read becomes ``y = LSTM(x, w, r)``.

    Equivalence
    -----------
    Bit-exact.

    Sources
    -------
    ONNX operator schemas, for which results are optional.
    """

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        visit_scopes(rw, lambda inner, scope: _sweep(inner, ctx))
        _drop_functions(rw)


def _sweep(rw: Rewriter, ctx: Context) -> None:
    _drop_dead_ops(rw, ctx)
    for op_id in sorted(i for i, op in rw.graph.ops() if len(op.outputs) > 1):
        _drop_dead_results(rw, op_id, ctx)
    _drop_constants(rw)


def _drop_dead_ops(rw: Rewriter, ctx: Context) -> None:
    g = rw.graph
    pred = g._pred
    stack = [op_id for value in dict.fromkeys(g.outputs.values()) for op_id in pred[value]]
    live = set(stack)
    while stack:
        for value in pred[stack.pop()]:
            for op_id in pred[value]:
                if op_id not in live:
                    live.add(op_id)
                    stack.append(op_id)
    dead = [op_id for op_id, _ in g.ops() if op_id not in live]
    for op_id in sorted(dead, key=g.order_key, reverse=True):
        rw.erase(op_id)
    ctx.count("removed", len(dead))


def _drop_dead_results(rw: Rewriter, op_id: int, ctx: Context) -> None:
    g, op = rw.graph, rw.graph.op(op_id)
    public = g.outputs.values()
    dead = [i for i, o in enumerate(op.outputs) if o and not g._succ[o] and o not in public]
    if not dead:
        return
    if op.domain == "" and op.type in ("If", "Loop", "Scan"):
        _drop_body_results(rw, op_id, dead, ctx)
        return
    optional = [i for i in dead if _is_optional(op, i)]
    if optional:
        outputs = ["" if i in optional else o for i, o in enumerate(op.outputs)]
        while not outputs[-1]:
            outputs.pop()
        rw.update(op_id, outputs=outputs)
        ctx.count("results", len(optional))


def _is_optional(op: Op, index: int) -> bool:
    known = schema(op.domain, op.type)
    if known is None or index >= len(known.outputs):
        return False
    return bool(known.outputs[index].option == type(known.outputs[index].option).Optional)


def _drop_body_results(rw: Rewriter, op_id: int, dead: list[int], ctx: Context) -> None:
    """Drop results of control flow, and the body outputs behind them, where positions carry no other meaning."""
    op = rw.graph.op(op_id)
    lead = 0
    if op.type == "Loop":
        carried = max(0, len(op.inputs) - 2)
        dead, lead = [i for i in dead if i >= carried], 1
    elif op.type == "Scan":
        carried = len(op.inputs) - attr(op, "num_scan_inputs")
        dead = [i for i in dead if i >= carried]
        if any(name in op.attrs for name in ("scan_output_axes", "scan_output_directions")):
            return
    if not dead or len(dead) == len(op.outputs):
        return
    attrs = dict(op.attrs)
    for name, body in op.bodies():
        outputs = list(body.outputs.items())
        copy: Graph = body.copy()
        copy.set_outputs(dict(pair for i, pair in enumerate(outputs) if i - lead not in dead))
        attrs[name] = copy
    rw.update(op_id, outputs=[o for i, o in enumerate(op.outputs) if i not in dead], attrs=attrs)
    ctx.count("results", len(dead))


def _drop_constants(rw: Rewriter) -> None:
    g = rw.graph
    public = frozenset(g.outputs.values())
    unused = [v for v in g.values() if not g._succ[v] and not g._pred[v] and v not in public]
    declared = g.graph.get("inputs", ())
    required = frozenset(g.inputs)
    gone = [v for v in unused if v not in required]
    listed = frozenset(gone).intersection(declared)
    if listed:  # a default for an input that nobody reads
        rw.set_fact("inputs", tuple(v for v in declared if v not in listed))
    for value in gone:
        rw.drop(value)


def _drop_functions(rw: Rewriter) -> None:
    g = rw.graph
    if not g.functions:
        return
    used: dict[Key, None] = {}
    stack = list(_calls(g))
    while stack:
        key = stack.pop()
        if key in g.functions and key not in used:
            used[key] = None
            stack.extend(_calls(function_graph(g.functions[key])))
    if len(used) < len(g.functions):
        rw.set_fact("functions", MappingProxyType({k: f for k, f in g.functions.items() if k in used}))


def _calls(g: Graph) -> Iterator[Key]:
    for inner in all_graphs(g):
        for _, op in inner.ops():
            yield op.domain, op.type, op.overload
