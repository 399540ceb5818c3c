"""Functions dissolved into the graph: the model's own, and those by which ONNX defines ops that the target lacks."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from coregraft.passes.cleanup.inline import Inliner, substitute
from coregraft.passes.cleanup.scopes import Scope, all_graphs, visit_scopes
from coregraft.passes.decompose._functions import bound, schema_attributes, schema_body
from coregraft.passes.opset.upgrade_opset import UpgradeOpset
from coregraft.rewriter.errors import InputError, UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.passes import REASSOCIATING, Context, Finding, Pass, Rewriter
from coregraft.rewriter.shapes import infer_shapes

#: Calls in calls, beyond which functions are taken to call themselves; ONNX does not allow that.
_MAX_DEPTH = 64


@dataclass(frozen=True)
class InlineFunctions(Pass):
    """Replace calls of the model's functions, and ops that only a function of ONNX defines here, by what they compute.

    What it does
    ------------
    Puts the body of a model-local function in the place of each call: functions in functions, attributes passed on by
    reference, omitted operands and results, bodies of If, Loop and Scan. A body of another opset is upgraded. Then
    the functions are dropped. For an op of ONNX itself that the target has no lowering for, and that ONNX defines by
    a function (48 ops, for example RotaryEmbedding, CenterCropPad, AffineGrid, Shrink), the body for the operand
    types at hand is put in its place. Names in a body are made unique; ops are named after the call.

    Why it matters
    --------------
    Nothing behind this pass has to know of functions, and an op needs no lowering as long as those of its parts have
    one.

    Example
    -------
    For a target without Softsign, ``y = Softsign(x)`` becomes ``y = Div(x, Add(1, Abs(x)))``.

    Equivalence
    -----------
    Reassociating: a body is the definition, but a runtime may compute the op as such in another order.

    Options
    -------
    * ``local``: whether to dissolve the model's own functions.
    * ``missing-ops``: whether to dissolve ops that the target lacks.
    * ``max-ops``: the most ops to insert; a guard against functions that call each other many times over.

    Sources
    -------
    ONNX IR specification, functions; the function bodies in ONNX's operator schemas.
    """

    equivalence: ClassVar = REASSOCIATING
    local: bool = True
    missing_ops: bool = True
    max_ops: int = 100_000

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        if not (self.local and g.functions) and (not self.missing_ops or ctx.target.ops is None):
            return
        work = _Work(self, g, ctx)
        visit_scopes(rw, work.visit)
        if self.local and g.functions:
            rw.set_fact("functions", MappingProxyType({}))
        if work.opsets != dict(g.opsets):
            rw.set_fact("opsets", MappingProxyType(work.opsets))

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        work = _Work(self, g, ctx)
        return [
            Finding(self.code, self.name, op.label, f"a function ({ctx.target.why_not(op) or 'of the model'})")
            for graph in all_graphs(g)
            for _, op in sorted(graph.ops(), key=lambda item: graph.order_key(item[0]))
            if work.body(graph, op) is not None
        ]


class _Work:
    """Inlines in one graph after the other, and keeps count of what that needs."""

    def __init__(self, options: InlineFunctions, g: Graph, ctx: Context) -> None:
        self.options = options
        self.functions = {key: _upgraded(body, ctx) for key, body in g.functions.items()} if options.local else {}
        self.ctx = ctx
        self.opsets = dict(g.opsets)
        if options.local:
            used = {op.domain for graph in all_graphs(g) for _, op in graph.ops() if not self._is_call(op)}
            for body in self.functions.values():
                self._import(body)
            calls = {domain for domain, _, _ in self.functions}
            self.opsets = {d: v for d, v in self.opsets.items() if d not in calls or d in used or d == ""}
        self.inserted = 0
        self.sizes: dict[tuple[str, str, str], int] = {}

    def visit(self, rw: Rewriter, scope: Scope) -> None:
        g = rw.graph
        waiting = deque((i, 0) for i in sorted((i for i, _ in g.ops()), key=g.order_key))
        inliner = Inliner(rw, scope)
        while waiting:
            op_id, depth = waiting.popleft()
            op = g.op(op_id)
            body = self.body(g, op)
            if body is None:
                continue
            if self._is_call(op):
                self._check_size(self.inserted + self._size(op, depth), op)
            first_new: int = g.graph.get("next_id", 0)
            self._inline(inliner, op_id, body)
            new = sorted((i for i in range(first_new, g.graph["next_id"]) if i in g), key=g.order_key)
            self.inserted += len(new)
            self._check_size(self.inserted, op)
            waiting.extend((i, depth + 1) for i in new)

    def _check_size(self, inserted: int, op: Op) -> None:
        if inserted > self.options.max_ops:
            raise UnsupportedError(
                "function-too-large",
                f"its functions unfold into more than {self.options.max_ops} ops",
                node=op.label,
                hint="raise max-ops of inline-functions",
            )

    def _size(self, call: Op, depth: int) -> int:
        """How many ops a call unfolds into, the calls among them in their place; counted before anything is unfolded,
        since functions of two calls each need few bytes to say a number that never ends."""
        key = (call.domain, call.type, call.overload)
        if depth > _MAX_DEPTH:
            raise InputError("function-recursive", "functions call each other without end", node=call.label)
        if key not in self.sizes:
            ops = [op for graph in all_graphs(self.functions[key]) for _, op in graph.ops()]
            self.sizes[key] = sum(self._size(op, depth + 1) if self._is_call(op) else 1 for op in ops)
        return self.sizes[key]

    def body(self, g: Graph, op: Op) -> Graph | None:
        """What is to be put in the place of an op, or None when it stays."""
        call = op.name or next((o for o in op.outputs if o), op.type)
        if self._is_call(op):
            function = self.functions[op.domain, op.type, op.overload]
            return bound(function, {**function.graph.get("defaults", {}), **op.attrs}, call)
        if not self.options.missing_ops or self.ctx.target.supports(op):
            return None
        types = [g.type_of(v) if v else None for v in op.inputs]
        found = schema_body(op, types)
        if found is None:
            return None
        body = bound(found, schema_attributes(op), call)
        for value, kind in zip(body.graph["inputs"], types, strict=False):
            body.nodes[value]["type"] = kind
        infer_shapes(body)
        return _upgraded(body, self.ctx)

    def _is_call(self, op: Op) -> bool:
        return (op.domain, op.type, op.overload) in self.functions

    def _inline(self, inliner: Inliner, op_id: int, body: Graph) -> None:
        rw = inliner.rw
        op = rw.graph.op(op_id)
        formal = body.graph["inputs"]
        if len(op.inputs) > len(formal) or len(op.outputs) > len(body.outputs):
            raise InputError("function-arity", f"the function takes {len(formal)} operands", node=op.label)
        given = dict(zip(formal, (*op.inputs, *[""] * (len(formal) - len(op.inputs))), strict=True))
        rw.at([op_id], InlineFunctions.name)
        substitute(rw, op_id, lambda: inliner.inline(body, given))
        self.ctx.count(f"{op.domain}::{op.type}" if op.domain else op.type)

    def _import(self, body: Graph) -> None:
        for domain, version in body.opsets.items():
            if domain and self.opsets.setdefault(domain, version) != version:
                raise UnsupportedError(
                    "function-opset-conflict",
                    f'a function needs version {version} of domain "{domain}", the model {self.opsets[domain]}',
                    node=body.name or None,
                )


def _upgraded(body: Graph, ctx: Context) -> Graph:
    """The body at the internal opset."""
    if body.opsets.get("", INTERNAL_OPSET) == INTERNAL_OPSET:
        return body
    copy: Graph = body.copy()
    UpgradeOpset().run(copy, Context(target=ctx.target, pass_name=InlineFunctions.name))
    return copy
