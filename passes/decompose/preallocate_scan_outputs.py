"""What a loop collects, written into a tensor that is there from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import NoMatch
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.types import Const, TensorType


@dataclass(frozen=True)
class PreallocateScanOutputs(Pass):
    """Replace the scan outputs of a Loop by state of full size into which each turn writes.

    What it does
    ------------
    A scan output of known shape becomes a state that starts as zeros, and into which a ``ScatterND`` puts the element
    of each turn. The trip count is held to the length of the outputs, so that nothing is written beyond. Where a
    condition could end the loop before, the shape that the model declares is taken to be the one it gets.

    Why it matters
    --------------
    Shapes are fixed when Core ML compiles a model: no tensor of it can grow.

    Example
    -------
    ``y: float[100,2] = Loop(100, ) {…; output e}`` becomes
    ``y = Loop(100, , zeros[100,2]) {…; output ScatterND(buffer, [[i]], Unsqueeze(e, 0))}``.

    Equivalence
    -----------
    Bit-exact where the loop runs as often as the declared shape says, as ONNX demands.

    Sources
    -------
    Hazards H5.08 and H5.10; ONNX's definition of Loop.
    """

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _convert(rw, scope, ctx))


def _convert(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    g = rw.graph
    for op_id in sorted((i for i, op in g.ops() if op.key == ("", "Loop")), key=g.order_key):
        op = g.op(op_id)
        body: Graph = op.attrs["body"]
        states = len(op.inputs) - 2
        if len(body.outputs) == 1 + states:
            continue
        kinds = [_shape(op, i, body, scope) for i in range(states, len(body.outputs) - 1)]
        refused = next((kind for kind in kinds if isinstance(kind, NoMatch)), None)
        if refused is not None:
            ctx.note(f"{op.label} keeps its scan outputs: {refused}")
            continue
        rw.at([op_id], "PreallocateScanOutputs")
        _replace(rw, op_id, [kind for kind in kinds if not isinstance(kind, NoMatch)], scope)
        ctx.count("outputs", len(kinds))


def _shape(op: Op, index: int, body: Graph, scope: Scope) -> TensorType | NoMatch:
    """The type of a scan output, all of its dims known."""
    value = op.outputs[index] if index < len(op.outputs) else ""
    element = body.tensor_type(list(body.outputs.values())[1 + index])
    kind = scope.type(value) if value else None
    if element is None or kind is None or not kind.shape or not isinstance(length := kind.shape[0], int):
        return NoMatch('how long "{}" gets is only known at run time', value)
    shape = element.static_shape if element.static_shape is not None else (kind.static_shape or (None, None))[1:]
    if None in shape:
        return NoMatch('the shape of what "{}" is made of is not known', value)
    return TensorType(element.dtype, (length, *shape)) if length else NoMatch('"{}" is empty', value)


def _replace(rw: Rewriter, op_id: int, kinds: Sequence[TensorType], scope: Scope) -> None:
    op = rw.graph.op(op_id)
    body: Graph = op.attrs["body"].copy()
    inner, names = Rewriter(body, rw.pass_name, rw.target), Scope(body, scope)
    inner.rule_name = rw.rule_name
    outputs = list(body.outputs.values())
    first = len(outputs) - len(kinds)
    places = np.array([1, 1], np.int64)
    place = inner.insert("Reshape", [body.inputs[0], places], outputs=[names.fresh_name(f"{body.inputs[0]}/place")])
    buffers = []
    for i, kind in enumerate(kinds, first):
        element = outputs[i]
        buffer = body.add_input(names.fresh_name(f"{element}/buffer"), kind)
        axes = np.array([0], np.int64)
        row = inner.insert("Unsqueeze", [element, axes], outputs=[names.fresh_name(f"{element}/row")])
        outputs[i] = inner.insert("ScatterND", [buffer, place, row], outputs=[names.fresh_name(f"{element}/written")])
        zero = Const.of(np.zeros(1, kind.dtype.numpy), kind.dtype)
        buffers.append(rw.insert("ConstantOfShape", [np.array(kind.shape, np.int64)], {"value": zero}))
    body.set_outputs(outputs)
    length = min(kind.shape[0] for kind in kinds if kind.shape and isinstance(kind.shape[0], int))
    trips = _held(rw, op.inputs[0], length, scope)
    condition = op.inputs[1] if len(op.inputs) > 1 else ""
    rw.update(op_id, inputs=[trips, condition, *op.inputs[2:], *buffers], attrs={**op.attrs, "body": body})


def _held(rw: Rewriter, trips: str, length: int, scope: Scope) -> str:
    """A trip count, held to a length."""
    known = scope.const(trips)
    if not trips or (known is not None and int(known.numpy().reshape(())) > length):
        return rw.const(np.array(length, np.int64))
    return trips if known is not None else str(rw.insert("Min", [trips, np.array(length, np.int64)]))
