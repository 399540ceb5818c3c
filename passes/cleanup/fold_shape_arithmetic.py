"""Compute with shapes now, not at run time: symbols included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.passes.cleanup.scopes import Scope, all_graphs, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import attr
from coregraft.rewriter.shapes import Inference
from coregraft.rewriter.shapes.dim_expr import Poly
from coregraft.rewriter.shapes.values import Content, dims
from coregraft.rewriter.types import Const, Dim

_END = np.iinfo(np.int32).max  # an end past the end is clamped; fits both types that indices may have


@dataclass(frozen=True)
class FoldShapeArithmetic(Pass):
    """Replace arithmetic on shapes by constants, as far as the shapes are known.

    What it does
    ------------
    Follows small tensors of numbers and symbols from ``Shape`` on. One that is wholly known becomes a constant. Of one
    that is known in part: the target of a ``Reshape`` becomes a constant with -1 for one unknown dim, and with 0
    for dims taken over from the operand; the target of an ``Expand`` a constant with 1 for dims that the operand
    has already; the ends of a ``Slice`` that reach the end become the largest integer.

    Why it matters
    --------------
    Exporters write ``Shape -> Gather -> Mul -> Concat -> Reshape`` for what is ``Reshape([0, -1, 64])``. On Core ML
    each of these is a small integer op on the CPU that splits the Neural Engine's part of the model, and a
    reshape with more than one unknown dim does not compile at all.

    Example
    -------
    ``Reshape(x, Concat(Gather(Shape(x), 0), [-1]))`` with x of ``[N, 8, 8]`` becomes ``Reshape(x, [0, -1])``.

    Equivalence
    -----------
    Bit-exact, for symbolic dims of at least 1.

    Sources
    -------
    Hazards H5.06 and H5.07.
    """

    def run(self, g: Graph, ctx: Context) -> None:
        if not any(op.type in ("Shape", "Size") for inner in all_graphs(g) for _, op in inner.ops()):
            return  # everything known follows from constants alone, which is another pass
        runs: dict[int, Inference] = {}

        def work(rw: Rewriter, scope: Scope) -> None:
            outer = runs.get(id(scope.outer.graph)) if scope.outer else None
            run = runs[id(rw.graph)] = Inference(rw.graph, outer)
            run.run()
            _fold_known(rw, run, ctx)
            _simplify_targets(rw, run, ctx)

        visit_scopes(ctx.rewriter(g), work)


def _fold_known(rw: Rewriter, run: Inference, ctx: Context) -> None:
    """Make constants of the results that are wholly known and that an op which is not reads."""
    g = rw.graph
    known: dict[int, dict[str, Const]] = {}
    for op_id in g.topological():
        values = {o: _as_const(g, o, run) for o in g.op(op_id).outputs if o}
        if values and all(v is not None for v in values.values()):
            known[op_id] = {o: c for o, c in values.items() if c is not None}
    for op_id in reversed(known):
        rw.erase(op_id)
        for value, const in known[op_id].items():
            if value in g:
                rw.set_const(value, const)
        ctx.count("folded")


def _as_const(g: Graph, value: str, run: Inference) -> Const | None:
    kind, content = g.tensor_type(value), run.content(value)
    if kind is None or content is None or not all(isinstance(x, (int, float, np.number)) for x in content.flat):
        return None
    return Const(kind.dtype, content.shape, content.astype(kind.dtype.numpy))


def _simplify_targets(rw: Rewriter, run: Inference, ctx: Context) -> None:
    g = rw.graph
    for op_id in sorted((i for i, op in g.ops() if op.domain == "" and op.type in _TARGETS), key=g.order_key):
        op = g.op(op_id)
        index, simplify = _TARGETS[op.type]
        if index >= len(op.inputs) or g.producer(op.inputs[index]) is None:
            continue
        content = run.content(op.inputs[index])
        target = simplify(g, op, content) if content is not None and content.ndim == 1 else None
        kind = g.tensor_type(op.inputs[index])
        if target is None or kind is None:
            continue
        rw.at([op_id], "FoldShapeArithmetic")
        inputs: list[Any] = list(op.inputs)
        inputs[index] = np.array(target, kind.dtype.numpy)
        rw.update(op_id, inputs=inputs)
        ctx.count(op.type)


def _reshape(g: Graph, op: Op, content: Content) -> list[int] | None:
    items = list(content.flat)
    unknown = [i for i, item in enumerate(items) if not isinstance(item, int)]
    if attr(op, "allowzero"):
        return None
    if len(unknown) > 1:
        shape = _shape(g, op.inputs[0])
        unknown = [i for i in unknown if i >= len(shape) or not _is_dim(items[i], shape[i])]
    if len(unknown) + items.count(-1) > 1:
        return None
    return [-1 if i in unknown else item if isinstance(item, int) else 0 for i, item in enumerate(items)]


def _expand(g: Graph, op: Op, content: Content) -> list[int] | None:
    shape, items = _shape(g, op.inputs[0]), list(content.flat)
    shift = len(shape) - len(items)
    target: list[int] = []
    for i, item in enumerate(items):
        at = i + shift
        if isinstance(item, int):
            target.append(item)
        elif at >= 0 and _is_dim(item, shape[at]):
            target.append(1)
        else:
            return None
    return target


def _slice_ends(g: Graph, op: Op, content: Content) -> list[int] | None:
    shape, items = _shape(g, op.inputs[0]), list(content.flat)
    steps = g.const(op.inputs[4]) if len(op.inputs) > 4 else None
    axes = g.const(op.inputs[3]) if len(op.inputs) > 3 else None
    if (len(op.inputs) > 4 and op.inputs[4] and (steps is None or (steps.numpy() < 1).any())) or not shape:
        return None
    if len(op.inputs) > 3 and op.inputs[3] and axes is None:
        return None
    places = range(len(items)) if axes is None else [int(a) for a in axes.numpy().ravel()]
    ends: list[int] = []
    for item, axis in zip(items, places, strict=True):
        if isinstance(item, int):
            ends.append(item)
        elif _is_dim(item, shape[axis]):
            ends.append(_END)
        else:
            return None
    return ends


def _shape(g: Graph, value: str) -> tuple[Dim, ...]:
    kind = g.tensor_type(value)
    return kind.shape or () if kind is not None else ()


def _is_dim(item: Any, dim: Dim) -> bool:
    """Whether an element of a content is the size of a symbolic dim."""
    if not isinstance(item, Poly) or not isinstance(dim, str):
        return False
    whole = np.empty((), object)
    whole[()] = item
    return dims(whole) == (dim,)


#: Op type -> (index of the operand that holds sizes, how to write it as a constant).
_TARGETS: dict[str, tuple[int, Any]] = {"Reshape": (1, _reshape), "Expand": (1, _expand), "Slice": (2, _slice_ends)}
