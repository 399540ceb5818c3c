"""What a loop collects, written into a tensor that is there from the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coregraft.passes.cleanup.scopes import Scope, all_graphs, visit_scopes
from coregraft.rewriter.contract import Context, Finding, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.match import NoMatch
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.types import Const, DType, TensorType

_COST = "it stays a loop, which Core ML runs on the CPU, one op at a time"


@dataclass(frozen=True)
class PreallocateScanOutputs(Pass):
    """Replace the scan outputs of a Loop by state of full size into which each turn writes.

    What it does
    ------------
    A scan output of known shape becomes a state that starts as zeros, and into which a ``ScatterND`` puts the element
    of each turn. The trip count is held to the length of the outputs, so that nothing is written beyond. Where a
    condition could end the loop before, the shape that the model declares is taken to be the one it gets. ``check``
    names every loop that is left.

    Why it matters
    --------------
    Shapes are fixed when Core ML compiles a model: no tensor of it can grow. A loop that is left becomes a
    ``while_loop``, which Core ML runs on the CPU, one op at a time.

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

    code: ClassVar[str] = "CG510"

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _convert(rw, scope, ctx))

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        """The loops that are left, those in bodies included."""
        loops = [graph.op(op_id) for graph in all_graphs(g) for op_id in _loops(graph)]
        return [Finding(self.code, self.name, op.label, _COST) for op in loops]


def _loops(g: Graph) -> list[int]:
    return sorted((i for i, op in g.ops() if op.key == ("", "Loop")), key=g.order_key)


def _convert(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    g = rw.graph
    for op_id in _loops(g):
        op = g.op(op_id)
        ctx.note(f"{op.label}: {_COST}")
        body: Graph = op.attrs["body"]
        states = len(op.inputs) - 2
        if len(body.outputs) == 1 + states:
            continue
        kinds = _types(op, states, scope)
        if isinstance(kinds, NoMatch):
            ctx.note(f"{op.label} keeps its scan outputs: {kinds}")
            continue
        rw.at([op_id], "PreallocateScanOutputs")
        _replace(rw, op_id, kinds, scope)
        ctx.count("outputs", len(kinds))


def _types(op: Op, states: int, scope: Scope) -> list[TensorType] | NoMatch:
    """The types of the scan outputs, all of their dims known. They have one length, which any of them may tell."""
    body: Graph = op.attrs["body"]
    elements = list(body.outputs.values())[1 + states :]
    values = [*op.outputs[states:], *[""] * len(elements)][: len(elements)]
    shapes = [kind.shape if value and (kind := scope.type(value)) is not None else None for value in values]
    length = next((shape[0] for shape in shapes if shape and isinstance(shape[0], int)), None)
    if not length:
        return NoMatch("their length is only known at run time" if length is None else "they are empty")
    found = []
    for element, shape in zip(elements, shapes, strict=True):
        kind = body.tensor_type(element)
        sizes = kind.static_shape if kind is not None else None
        sizes = sizes if sizes is not None or not shape else TensorType(DType.FLOAT, shape[1:]).static_shape
        if kind is None or sizes is None:
            return NoMatch('the shape of "{}" is not known', element)
        found.append(TensorType(kind.dtype, (length, *sizes)))
    return found


def _replace(rw: Rewriter, op_id: int, kinds: Sequence[TensorType], scope: Scope) -> None:
    op = rw.graph.op(op_id)
    body: Graph = op.attrs["body"].copy()
    inner, names = Rewriter(body, rw.pass_name, rw.target), Scope(body, scope)
    inner.rule_name = rw.rule_name
    outputs = list(body.outputs.values())
    first = len(outputs) - len(kinds)
    turn = body.inputs[0]
    matrix = inner.const(np.array([1, 1], np.int64), names.fresh_name(f"{turn}/matrix"))
    first_axis = inner.const(np.array([0], np.int64), names.fresh_name(f"{turn}/axis"))
    place = inner.insert("Reshape", [turn, matrix], outputs=[names.fresh_name(f"{turn}/place")])
    buffers = []
    for i, kind in enumerate(kinds, first):
        element = outputs[i]
        buffer = body.add_input(names.fresh_name(f"{element}/buffer"), kind)
        row = inner.insert("Unsqueeze", [element, first_axis], outputs=[names.fresh_name(f"{element}/row")])
        outputs[i] = inner.insert("ScatterND", [buffer, place, row], outputs=[names.fresh_name(f"{element}/written")])
        zero = Const.of(np.zeros(1, kind.dtype.numpy), kind.dtype)
        buffers.append(rw.insert("ConstantOfShape", [np.array(kind.shape, np.int64)], {"value": zero}))
    body.set_outputs(outputs)
    trips = _held(rw, op.inputs[0], (kinds[0].static_shape or (0,))[0], scope)
    condition = op.inputs[1] if len(op.inputs) > 1 else ""
    rw.update(op_id, inputs=[trips, condition, *op.inputs[2:], *buffers], attrs={**op.attrs, "body": body})


def _held(rw: Rewriter, trips: str, length: int, scope: Scope) -> str:
    """A trip count, held to a length."""
    known = scope.const(trips)
    if not trips or (known is not None and int(known.numpy().reshape(())) > length):
        return rw.const(np.array(length, np.int64))
    return trips if known is not None else str(rw.insert("Min", [trips, np.array(length, np.int64)]))
