"""Fold what depends on constants alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.passes.cleanup.cones import Budget, Plan, plan
from coregraft.passes.cleanup.evaluate import evaluate
from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import attr
from coregraft.rewriter.types import Const, DType

#: Attribute of a ``Constant`` -> the element type and rank it stands for.
_CONSTANTS = {
    "value_int": (DType.INT64, 0), "value_ints": (DType.INT64, 1), "value_float": (DType.FLOAT, 0),
    "value_floats": (DType.FLOAT, 1), "value_string": (DType.STRING, 0), "value_strings": (DType.STRING, 1),
}  # fmt: skip


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Fold ops that depend on constants alone into constants.

    What it does
    ------------
    Turns ``Constant`` ops into initializers and ``Shape``/``Size`` of tensors of known shape into constants. Then
    all cones of ops that read only constants are computed at once by one onnxruntime session per graph (bodies of
    If, Loop and Scan are graphs too, and see the outer constants), and only the results that something else needs
    are kept. Random ops, and ops that fail (division by zero, an index out of range), stay, with a remark.

    Why it matters
    --------------
    A compiled model should not recompute its constants at each prediction, and fusions, emitters and Core ML
    itself want weights, axes and shapes to be constants. Folding here, with the reference runtime, keeps the
    meaning that ONNX gives an op; coremltools folds with NumPy, and differs. But folding a ``ConstantOfShape`` or
    an ``Expand`` blows up the file, so a result is kept only when it is small or replaces as many bytes.

    Example
    -------
    ``Conv(x, Transpose(w))`` becomes ``Conv(x, w')``; ``Add(x, Expand(c, [4096, 4096]))`` stays as it is.

    Equivalence
    -----------
    Bit-exact with respect to onnxruntime, which computes the constants.

    Options
    -------
    ``max-bytes``: a result of up to this many bytes is always folded; a larger one only when the constants that die
    with it are at least as large. ``keep-quantised``: leave ``DequantizeLinear`` of weights, so that they can stay
    small in the package; int32, of which biases are, is no smaller and is folded. ``widen-floats``: fold a ``Cast`` of
    weights stored in half precision, whatever its size.

    Sources
    -------
    Hazards H7.05 (constants that grow the file) and H4.34 (fold time against run time).
    """

    max_bytes: int = 65536
    keep_quantised: bool = True
    widen_floats: bool = True

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: self._fold(rw, scope, ctx))

    def _fold(self, rw: Rewriter, scope: Scope, ctx: Context) -> None:
        _fold_known(rw, ctx)
        budget = Budget(self.max_bytes, self.keep_quantised, self.widen_floats)
        failed: set[int] = set()
        again = True
        while again:
            found = plan(scope, budget, frozenset(failed))
            for op_id, reason in found.refused.items():
                ctx.note(f"{rw.graph.op(op_id).label} is left as it is: {reason}")
            folded = _apply(rw, found, failed, ctx) if found.wanted else 0
            ctx.count("folded", folded)
            again = found.deferred and folded > 0


def _fold_known(rw: Rewriter, ctx: Context) -> None:
    """Fold what needs no computing: ``Constant``, and ``Shape`` and ``Size`` of known shapes."""
    g = rw.graph
    for op_id, op in [(i, op) for i, op in g.ops() if op.domain == "" and op.type in ("Constant", "Shape", "Size")]:
        const = constant_of(op) if op.type == "Constant" else _measured(g, op)
        if const is not None:
            _become_constant(rw, op_id, {op.outputs[0]: const})
            ctx.count("folded")


def constant_of(op: Op) -> Const | None:
    """What a ``Constant`` op holds; None for a sparse one."""
    value: Any = op.attrs.get("value")
    if isinstance(value, Const):
        return value
    for name, (dtype, rank) in _CONSTANTS.items():
        if name in op.attrs:
            array = np.array(op.attrs[name], dtype.numpy)
            return Const(dtype, (array.size,) if rank else (), array)
    return None


def _measured(g: Graph, op: Op) -> Const | None:
    kind = g.tensor_type(op.inputs[0])
    if kind is None or kind.shape is None:
        return None
    if op.type == "Size":
        shape = kind.static_shape
        return None if shape is None else Const.of(np.array(np.prod(shape, dtype=np.int64)))
    dims = kind.shape[attr(op, "start") or 0 : op.attrs.get("end")]
    return Const.of(np.array(dims, np.int64)) if all(isinstance(d, int) for d in dims) else None


def _apply(rw: Rewriter, found: Plan, failed: set[int], ctx: Context) -> int:
    """Compute a plan and put the results into the graph; returns how many ops went."""
    g = rw.graph
    ops = [g.op(i) for i in found.ops]
    result = evaluate(ops, found.leaves, found.wanted)
    for op, reason in result.failures:
        failed.update(i for i, o in zip(found.ops, ops, strict=True) if o is op)
        ctx.note(f"{op.label} is left as it is: {reason}")
    gone: list[int] = []
    leaving, wanted, public = set(found.ops), set(found.wanted), set(g.outputs.values())
    if result.failures:  # what an op that stays reads must be there: decide again, backwards
        wanted.update(v for v in result.values)
    constants: dict[int, dict[str, Const]] = {}
    for op_id in reversed(found.ops):
        outputs = [o for o in g.op(op_id).outputs if o]
        used = [o for o in outputs if o in public or any(u not in leaving for u in g._succ[o])]
        if all(o in wanted and o in result.values for o in used):
            constants[op_id] = {o: result.values[o] for o in used}
            gone.append(op_id)
        else:
            leaving.discard(op_id)
    for op_id in gone:
        _become_constant(rw, op_id, constants[op_id])
    return len(gone)


def _become_constant(rw: Rewriter, op_id: int, values: dict[str, Const]) -> None:
    """Remove an op; those of its results that are still read become constants under their own names."""
    rw.erase(op_id)
    for name, const in values.items():
        if name in rw.graph:
            rw.set_const(name, const)
