"""Compute equal things once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.passes.cleanup.scopes import visit_scopes
from coregraft.rewriter.contract import Context, Pass
from coregraft.rewriter.dialect import DOMAIN as DIALECT
from coregraft.rewriter.graph import AttrRef, Graph, Op, RawAttr
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.schema import COMMUTATIVE, default
from coregraft.rewriter.types import Const, DType

_RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
})  # fmt: skip
#: Domains whose ops, other than the random ones, are functions of their operands.
_PURE = frozenset({"", "ai.onnx.ml", DIALECT})
#: Elements looked at before a constant is hashed in full.
_SAMPLE = 64


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Merge ops that compute the same from the same operands, and constants of equal content.

    What it does
    ------------
    In dependency order, an op with the type, operands and attributes of an earlier one is replaced by it; operands
    of commutative ops may be in another order. Constants of the same type, shape and content become one. Random
    ops, training dropout and ops with bodies are left alone, and so are two values that are both outputs.

    Why it matters
    --------------
    Exporters repeat shape arithmetic, masks and position tables in every layer. Core ML stores each constant once
    per use, and computes each copy.

    Example
    -------
    ``Add(Relu(x), Relu(x))`` written with two ops becomes one ``Relu`` that is read twice.

    Equivalence
    -----------
    Bit-exact.

    Options
    -------
    ``constants``: whether to merge constants too.

    Sources
    -------
    Hazards H2.18 (what merging can undo) and H7.06 (weight duplication).
    """

    constants: bool = True

    def run(self, g: Graph, ctx: Context) -> None:
        def work(rw: Rewriter, _: Any) -> None:
            if self.constants:
                _merge_constants(rw, ctx)
            _merge_ops(rw, ctx)

        visit_scopes(ctx.rewriter(g), work)


def _merge_constants(rw: Rewriter, ctx: Context) -> None:
    g = rw.graph
    kept_apart = frozenset((*g.graph.get("inputs", ()), *g.outputs.values()))
    alike: defaultdict[Hashable, list[str]] = defaultdict(list)
    for value in g.values():
        const = g.const(value)
        if const is not None and value not in kept_apart:
            alike[const.dtype, const.shape].append(value)
    for values in alike.values():
        if len(values) > 1:
            _merge_equal(rw, values, ctx)


def _merge_equal(rw: Rewriter, values: list[str], ctx: Context) -> None:
    """Merge equal constants of one type and shape; hashing in full only what a sample cannot tell apart."""
    g = rw.graph
    samples: defaultdict[Hashable, list[str]] = defaultdict(list)
    for value in values:
        samples[_sample(_const(g, value))].append(value)
    for group in samples.values():
        first: dict[bytes, str] = {}
        for value in group if len(group) > 1 else ():
            kept = first.setdefault(_const(g, value).digest(), value)
            if kept != value:
                rw.replace_uses(value, kept)
                rw.drop(value)
                ctx.count("constants")


def _const(g: Graph, value: str) -> Const:
    const = g.const(value)
    assert const is not None
    return const


def _sample(const: Const) -> bytes:
    """Some elements from all over a constant: equal constants have equal samples, different ones seldom do."""
    if const.dtype is DType.STRING or const.size <= _SAMPLE:
        return const.digest()
    flat = const.numpy().reshape(-1)
    return np.ascontiguousarray(flat[:: max(1, const.size // _SAMPLE)]).tobytes()


def _merge_ops(rw: Rewriter, ctx: Context) -> None:
    g = rw.graph
    public = frozenset(g.outputs.values())
    alone: dict[Hashable, int | None] = {}  # by type and operands; few ops share these, so few need a full key
    seen: dict[Hashable, int] = {}
    for op_id in g.topological():
        op = g.op(op_id)
        start = (op.type, op.domain, _inputs(op))
        other = alone.setdefault(start, op_id)
        if other == op_id:
            continue
        if other is not None:
            alone[start] = None
            seen.setdefault(_key(g.op(other)), other)
        key = _key(op)
        first = seen.setdefault(key, op_id)
        if first == op_id or key is None:
            continue
        kept = g.op(first)
        if any(a in public and b in public for a, b in zip(op.outputs, kept.outputs, strict=True)):
            continue
        if not all(_same_type(g, a, b) for a, b in zip(op.outputs, kept.outputs, strict=True) if a):
            continue
        rw.replace([op_id], {a: b for a, b in zip(op.outputs, kept.outputs, strict=True) if a})
        ctx.count("ops")


def _same_type(g: Graph, a: str, b: str) -> bool:
    """Whether two values have the same type as far as both are known."""
    left, right = g.type_of(a), g.type_of(b)
    return left is None or right is None or left == right


def _key(op: Op) -> Hashable | None:
    """What an op computes, hashable; None when two such ops may differ, or must not be merged."""
    if op.domain not in _PURE or op.type in _RANDOM or any(isinstance(v, Graph) for v in op.attrs.values()):
        return None
    if op.type == "Dropout" and len(op.inputs) > 2 and op.inputs[2]:
        return None
    written = [(k, v) for k, v in sorted(op.attrs.items()) if v != default(op.domain, op.type, k)]
    attrs = tuple((name, _hashable(value)) for name, value in written)
    present = tuple(bool(o) for o in op.outputs)
    return op.domain, op.type, op.overload, _inputs(op), attrs, present


def _inputs(op: Op) -> tuple[str, ...]:
    return tuple(sorted(op.inputs)) if op.key in COMMUTATIVE else op.inputs


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Const):
        return value.digest()
    if isinstance(value, RawAttr):
        return value.proto
    if isinstance(value, AttrRef):
        return value.name, value.type
    if isinstance(value, tuple):
        return type(value).__name__, tuple(_hashable(v) for v in value)
    return type(value).__name__, value
