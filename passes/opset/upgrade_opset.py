"""Bring a model of any opset to the one opset that passes, rules and emitters see."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.passes.opset import oldest, operands, semantics  # noqa: F401  # they register the adapters
from coregraft.passes.opset.compatible import compatible
from coregraft.passes.opset.edit import ADAPTERS, Edit, next_version, since
from coregraft.passes.opset.newer import defaults_beyond, needed_opset
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.opset import INTERNAL_OPSET, OLDEST_OPSET
from coregraft.rewriter.passes import REASSOCIATING, Context, Equivalence, Fact, Pass
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.shapes import infer_shapes


@dataclass(frozen=True)
class Upgrade:
    """One op that was changed: its label, the versions of its definition before and after, and what was done."""

    op: str
    before: int
    after: int
    note: str


@dataclass(frozen=True)
class UpgradeOpset(Pass):
    """Bring every op to its form in opset 24, the internal one.

    What it does
    ------------
    Takes each op, in bodies and model-local functions too, through every version of its definition between the
    model's opset and the internal one. Where only element types or defaulted attributes were added nothing happens;
    everywhere else an adapter writes the same computation in the new form. Models of opsets 25 to 28 come down to
    24 unless they use what 24 does not have: an op born later stays, and the graph keeps the version it needs.
    Every op that was changed is listed in the graph's fact ``upgrades``.

    Why it matters
    --------------
    Softmax over axis 1 of a rank-4 tensor meant another thing before opset 13, RoiAlign's default changed in 16,
    GroupNormalization's scale was per group until 21. With one form of each op, no later pass or emitter can
    mistake one meaning for the other.

    Example
    -------
    ``y = Softmax<axis=1>(x: float[2,3,4,5])`` of opset 12 becomes
    ``y = Reshape(Softmax<axis=-1>(Flatten<axis=1>(x)), Shape(x))``.

    Equivalence
    -----------
    Exact by ONNX's definitions, so reassociating at most: a runtime may pick another kernel for another version.

    Sources
    -------
    ONNX operator changelog and schemas; onnxruntime for what the text leaves open (rounding in Resize-10).
    """

    equivalence: ClassVar[Equivalence] = REASSOCIATING
    requires: ClassVar[frozenset[Fact]] = frozenset()
    ensures: ClassVar[frozenset[Fact]] = frozenset({Fact.INTERNAL_OPSET})

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        done = _upgrade(rw)
        functions = {}
        for key, function in g.functions.items():
            inner = Rewriter(function.copy(), rw.pass_name, rw.target)
            done += _upgrade(inner)
            functions[key] = inner.graph if inner.changed else function
        if any(functions[key] is not function for key, function in g.functions.items()):
            rw.set_fact("functions", MappingProxyType(functions))
        if done:
            rw.set_fact("upgrades", (*g.graph.get("upgrades", ()), *done))
            ctx.count("upgraded", len(done))


def _upgrade(rw: Rewriter) -> list[Upgrade]:
    """Bring one graph with its bodies, or one function, to the internal opset."""
    g = rw.graph
    opset = g.opsets.get("", INTERNAL_OPSET)
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            "opset-too-old", f"the model is of opset {opset}; the oldest that is read is {OLDEST_OPSET}",
            hint="Convert it with onnx.version_converter first.",
        )  # fmt: skip
    done: list[Upgrade] = []
    stamp = INTERNAL_OPSET
    if opset < INTERNAL_OPSET and _any_adapter(g, opset):
        infer_shapes(g, rw)  # while the forms still are those of the model's opset
    if opset < INTERNAL_OPSET or "" not in g.opsets:
        rw.set_fact("opsets", MappingProxyType({**g.opsets, "": INTERNAL_OPSET}))

    def work(inner: Rewriter, scope: Scope) -> None:
        nonlocal stamp
        if scope.outer is not None and inner.graph.opsets.get("") == INTERNAL_OPSET:
            return  # a body that an adapter made: what is in it has the internal form
        for op_id in sorted((i for i, op in inner.graph.ops() if op.domain == ""), key=inner.graph.order_key):
            if opset < INTERNAL_OPSET:
                _advance(inner, scope, op_id, opset, done)
            elif opset > INTERNAL_OPSET:
                stamp = max(stamp, _come_down(inner, scope, op_id))

    visit_scopes(rw, work)
    if opset > INTERNAL_OPSET and opset != stamp:
        rw.set_fact("opsets", MappingProxyType({**g.opsets, "": stamp}))
    return done


def _any_adapter(g: Graph, opset: int) -> bool:
    for _, op in g.ops():
        at = since(op.type, opset) if op.domain == "" else None
        while at is not None and (at := next_version(op.type, at, INTERNAL_OPSET)) is not None:
            if (op.type, at) in ADAPTERS:
                return True
        if any(_any_adapter(body, opset) for _, body in op.bodies()):
            return True
    return False


@functools.cache
def _is_current(op_type: str, opset: int) -> bool:
    """Whether an op that is valid at an opset means the same at the internal one, as it stands."""
    at = since(op_type, opset)
    while at is not None and (at := next_version(op_type, at, INTERNAL_OPSET)) is not None:
        if (op_type, at) in ADAPTERS or (op_type, at) not in compatible():
            return False
    return True


def _advance(rw: Rewriter, scope: Scope, op_id: int, opset: int, done: list[Upgrade]) -> None:
    """Take one op through the versions of its definition."""
    if _is_current(rw.graph.op(op_id).type, opset):
        return
    edit = Edit(rw, scope, op_id)
    op, notes = edit.op, []
    first = at = since(op.type, opset)
    rw.at([op_id], UpgradeOpset.name)
    while at is not None and op_id in rw.graph:
        kind = edit.op.type
        at = next_version(kind, at, INTERNAL_OPSET)
        if at is None:
            break
        adapter = ADAPTERS.get((kind, at))
        if adapter is None and (kind, at) not in compatible():
            edit.refuse(f"version {at} of {kind} is not known")
        note = adapter(edit) if adapter else None
        if note:
            notes.append((at, note))
    if first is not None and notes:
        done.append(Upgrade(op.label, first, notes[-1][0], "; ".join(note for _, note in notes)))


def _come_down(rw: Rewriter, scope: Scope, op_id: int) -> int:
    """Leave out what says the same as nothing at the internal opset; returns the version that the op needs."""
    op = rw.graph.op(op_id)
    superfluous = defaults_beyond(op)
    if superfluous:
        rw.update(op_id, attrs={k: v for k, v in op.attrs.items() if k not in superfluous})
    return needed_opset(op, scope)
