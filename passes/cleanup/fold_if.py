"""Replace an If whose condition is known by the branch that is taken."""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass

from coregraft.passes.cleanup.inline import Inliner, substitute
from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import required_opset
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.shapes import Inference, propagated_value

#: Constants of more elements than this do not decide a shape.
_SMALL = 1024


@dataclass(frozen=True)
class FoldIf(Pass):
    """Inline the taken branch of an If whose condition is known.

    What it does
    ------------
    When the condition of an ``If`` is a constant, or follows from the shapes in the graph, the ops of the taken branch
    take the place of the op. Ifs nested in that branch, and Ifs in bodies, are treated the same way.

    Why it matters
    --------------
    Core ML's ``cond`` forces its surroundings off the Neural Engine, wants both branches to have one type, and in a
    neural network gave wrong results at the first call. Most Ifs in real models test a shape or a setting that is
    fixed once the inputs are.

    Example
    -------
    ``If(Equal(Size(Shape(x)), 3)) {Unsqueeze(x)} else {Identity(x)}`` becomes ``Unsqueeze(x)`` for an x of rank 3.

    Equivalence
    -----------
    Bit-exact, for all inputs that the model accepts.

    Options
    -------
    ``drop-impossible``: whether to drop branches that cannot run with the shapes that are known.

    Sources
    -------
    Hazard H5.09.
    """

    drop_impossible: bool = True

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _fold(rw, scope, ctx, self.drop_impossible))


def _fold(rw: Rewriter, scope: Scope, ctx: Context, drop_impossible: bool) -> None:
    g = rw.graph
    waiting = deque(sorted((i for i, op in g.ops() if op.key == ("", "If")), key=g.order_key))
    inliner = Inliner(rw, scope) if waiting else None
    while waiting and inliner is not None:
        op_id = waiting.popleft()
        op = g.op(op_id)
        taken = _condition(scope, op.inputs[0])
        if taken is None and drop_impossible:
            taken = _only_possible(scope, op, ctx)
        if taken is None:
            continue
        first_new: int = g.graph.get("next_id", 0)
        branch: Graph = op.attrs["then_branch" if taken else "else_branch"]
        rw.at([op_id], "FoldIf")
        substitute(rw, op_id, functools.partial(inliner.inline, branch, {}))
        ctx.count("inlined")
        waiting.extend(sorted(i for i, new in g.ops() if i >= first_new and new.key == ("", "If")))


def _condition(scope: Scope, value: str) -> bool | None:
    const = scope.const(value)
    if const is not None:
        return bool(const.numpy().reshape(-1)[0]) if const.size == 1 else None
    known = propagated_value(scope.graph, value) if value in scope.graph else None
    return bool(known[0]) if known is not None and len(known) == 1 and isinstance(known[0], int) else None


def _only_possible(scope: Scope, op: Op, ctx: Context) -> bool | None:
    """The branch that can run, when the shapes rule out the other one."""
    problems = {taken: _problem(scope, op.attrs[f"{name}_branch"]) for taken, name in ((True, "then"), (False, "else"))}
    if (problems[True] is None) == (problems[False] is None):
        return None
    taken = problems[True] is None
    reason = problems[not taken]
    ctx.note(f"{op.label}: the {'else' if taken else 'then'} branch cannot run with these shapes ({reason})")
    return taken


def _problem(scope: Scope, branch: Graph) -> str | None:
    """Why a branch cannot run with the types that are known around it; None when nothing speaks against it."""
    from onnx import shape_inference

    from coregraft.rewriter.onnx_io.save import to_model

    g: Graph = branch.copy()
    for value in branch.free_values():
        const, kind = scope.const(value), scope.type(value)
        if const is not None and const.size <= _SMALL:
            g.add_value(value, const=const)
        elif kind is not None:
            g.add_input(value, kind)
    for value in [v for v in g.values() if (c := g.const(v)) is not None and c.size > _SMALL]:
        kind = g.tensor_type(value)
        g.nodes[value]["const"] = None
        if kind is not None:
            g.add_input(value, kind)
    for value in g.values():  # only what the inputs say counts, not what was once inferred
        if g.producer(value) is not None:
            g.nodes[value]["type"] = None
    g.set_opsets({"": required_opset(g)})
    try:
        shape_inference.infer_shapes(to_model(g), check_type=True, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        lines = str(error).splitlines()
        # A type error may only mean that onnx does not know an op; dims that cannot go together are certain.
        certain = [line.strip() for line in lines if "[ShapeInferenceError]" in line]
        if certain:
            return certain[0]
    run = Inference(g)
    run.run()
    return f"{run.mismatches[0].op}: {run.mismatches[0].problem}" if run.mismatches else None
