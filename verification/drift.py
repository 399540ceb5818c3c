"""Where the error grows: the values that source and package both have, compared one by one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coregraft.lowering.names import legal
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import DType, TensorType
from coregraft.verification.compare import Comparison

#: At most this many bytes of intermediate values are held at a time.
CHUNK = 512 * 2**20
#: Relative errors below that of one fp32 rounding are no better than it: growth is told from there.
_ROUNDING = 1e-7
#: onnxruntime computes with these, but has no numpy array to hand them over in.
_NOT_HANDED_OVER = frozenset(
    d for d in DType if d in (DType.BFLOAT16, DType.STRING) or "FLOAT8" in d.name or 0 < d.bits < 8
)
_CAST = "_cast_fp16"
_NUMBERED = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Layer:
    """One value that both sides have.

    Attributes:
        value: its name in the source.
        op: the op of the source that computes it.
        comparison: how it compares.
        growth: its relative L2 over the largest of the nearest compared values it depends on; None at the front.
        isolated: it is out of tolerance, but no compared value that is computed from it is. Such is a value that a
            pass has moved to another layout under its old name, and not an error.
    """

    value: str
    op: str
    comparison: Comparison
    growth: float | None
    isolated: bool = False


@dataclass(frozen=True)
class Drift:
    """The layers in program order, and the values that the package does not have under the same name."""

    layers: Sequence[Layer]
    unmatched: int

    @property
    def first(self) -> Layer | None:
        """The first layer out of tolerance whose error goes on, all compared values before it being within."""
        return next((layer for layer in self.layers if not layer.comparison.ok and not layer.isolated), None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "first": None if self.first is None else {"value": self.first.value, "op": self.first.op},
            "unmatched": self.unmatched,
            "layers": [
                {"value": x.value, "op": x.op, "growth": x.growth, "isolated": x.isolated, **x.comparison.as_dict()}
                for x in self.layers
            ],
        }


def drift(graph: Graph, found: Mapping[str, Comparison]) -> Drift:
    """The layers of a graph whose values have been compared."""
    layers = []
    for op_id in graph.topological():
        op = graph.op(op_id)
        for value in op.outputs:
            if value in found:
                isolated = not found[value].ok and _is_isolated(graph, value, found)
                layers.append(Layer(value, op.label, found[value], _growth(graph, value, found), isolated))
    values = sum(1 for i, op in graph.ops() for v in op.outputs if v)
    return Drift(tuple(layers), values - len(layers))


def match_values(graph: Graph, lifted: Graph) -> list[tuple[str, str]]:
    """(value of the source, value of the package) with the same spelling, shape and kind, in program order.

    Spelt as we do, or with what coremltools' own pass for half precision appends to the name of every value it casts.
    A spelling that several values of the source share, or that looks like one made unique, tells nothing.
    """
    spelt = Counter(map(legal, graph.values()))
    there = set(lifted.values())
    pairs = []
    for op_id in graph.topological():
        for value in graph.op(op_id).outputs:
            name = legal(value) if value else ""
            if spelt[name] > 1 or spelt[_NUMBERED.sub("", name)] > 1:
                continue
            if name not in there:
                name += _CAST
            if name not in there:
                continue
            ours, theirs = graph.tensor_type(value), lifted.tensor_type(name)
            if ours is not None and theirs is not None and _same_kind(ours, theirs):
                pairs.append((value, name))
    return pairs


def _same_kind(ours: TensorType, theirs: TensorType) -> bool:
    if ours.shape is None or theirs.shape is None or ours.dtype in _NOT_HANDED_OVER:
        return False
    # A size that depends on the data has a name at most, and that on one side only.
    known = [tuple(size if isinstance(size, int) else None for size in shape) for shape in (ours.shape, theirs.shape)]
    return known[0] == known[1] and ours.dtype.is_float == theirs.dtype.is_float


def in_chunks(graph: Graph, pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Pairs of values split so that those of one list can be held in memory; at least one list."""
    chunks: list[list[tuple[str, str]]] = [[]]
    held = 0
    for ours, theirs in pairs:
        kind = graph.tensor_type(ours)
        size = (kind.nbytes or 0) if kind is not None else 0
        if held + size > CHUNK and chunks[-1]:
            chunks.append([])
            held = 0
        chunks[-1].append((ours, theirs))
        held += size
    return chunks


def _growth(graph: Graph, value: str, found: Mapping[str, Comparison]) -> float | None:
    """How much the relative error grew since the nearest compared values before this one."""

    def operands(v: str) -> Iterable[str]:
        producer = graph.producer(v)
        return () if producer is None else graph.op(producer).operands

    mine = found[value].relative_l2
    before = [found[v].relative_l2 or 0.0 for v in _nearest(value, found, operands)]
    if mine is None or not before:
        return None
    return mine / max(max(before), _ROUNDING)


def _is_isolated(graph: Graph, value: str, found: Mapping[str, Comparison]) -> bool:
    """Whether there are compared values computed from this one, and the nearest of them are all within tolerance."""

    def results(v: str) -> Iterable[str]:
        return (out for user in graph.users(v) for out in graph.op(user).outputs if out)

    after = _nearest(value, found, results)
    return bool(after) and not graph.public_names(value) and all(found[v].ok for v in after)


def _nearest(value: str, found: Mapping[str, Comparison], step: Callable[[str], Iterable[str]]) -> list[str]:
    """The compared values that are reached first from a value."""
    near: list[str] = []
    todo, seen = [value], {value}
    while todo:
        for v in step(todo.pop()):
            if v in seen:
                continue
            seen.add(v)
            (near if v in found else todo).append(v)
    return near
