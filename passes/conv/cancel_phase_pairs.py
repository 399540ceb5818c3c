"""CG101, second part: what lies between dilated convolutions of the same rate stays in phase space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import networkx as nx
import numpy as np

from coregraft.passes.conv.emit import ints, rearrange
from coregraft.passes.conv.phase_chains import Forward, Inverse, data_operands, forwards, inverses, phase_mask
from coregraft.passes.conv.phases import merge_steps, split_steps
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import REASSOCIATING, Context, Finding, OpBuilder, Pass, Rewriter, ValueView


@dataclass(frozen=True)
class CancelPhasePairs(Pass):
    """Keep what lies between dilated convolutions of the same rate in phase space, where that moves less data.

    What it does
    ------------
    ``replace-dilated-conv`` leaves a way into phase space (pad, reshape, transpose) before each convolution and a way
    back behind it. Where one follows the other at the same rate, both go; padding by a multiple of the rate becomes
    padding inside phase space. Elementwise ops, BatchNormalization, 1x1 Conv, and Concat and Split of channels in
    between can be computed on either side, residual additions included. Which are is a minimum cut: each value that
    has to be on both sides costs its elements once a direction, and the assignment that moves the fewest elements is
    taken. Where the rate does not divide a length, a constant mask (Where) zeroes what lies behind the end before it
    is padded.

    Top level of the graph only. Needs static spatial lengths; a known batch where a mask is needed.

    Why it matters
    --------------
    Each pair moves all data twice in either direction: pad, transposes, crop.

    Example
    -------
    Before, with ``into`` and ``back`` for the ways into phase space of rate 2 and back::

        y = back(Conv(into(Relu(back(Conv(into(x), v)))), w))

    After::

        y = back(Conv(Pad(Relu(Conv(into(x), v)), [0, 0, 1, 0, 0, 1]), w))

    Equivalence
    -----------
    Reassociating: the same operations on the same elements, but a runtime may sum a 1x1 Conv of another shape in
    another order.

    Sources
    -------
    Hazard catalogue H1.01, implementation trap (d).
    """

    code: ClassVar[str] = "CG101"
    equivalence: ClassVar = REASSOCIATING

    def run(self, g: Graph, ctx: Context) -> None:
        for rates in sorted({f.rates for f in forwards(g)} & {i.rates for i in inverses(g)}):
            region = _Region.of(g, rates)
            if region.worthwhile:
                _Move(ctx.rewriter(g), region, self.name).apply(ctx)

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        found = []
        for rates in sorted({f.rates for f in forwards(g)} & {i.rates for i in inverses(g)}):
            region = _Region.of(g, rates)
            for f in region.kept:
                producer = g.producer(f.phase)
                assert producer is not None
                message = f'the way into phase space of rates {rates} can go: "{f.space}" can be computed there'
                found.append(Finding(self.code, self.name, g.op(producer).label, message))
        return found


@dataclass
class _Region:
    """What has to do with phase space of one tuple of rates, and which side each op is best computed on."""

    rates: tuple[int, ...]
    forwards: list[Forward]
    inverses: dict[str, Inverse]
    operands: dict[int, tuple[str, ...]]
    in_phase: list[int] = field(default_factory=list)
    kept: list[Forward] = field(default_factory=list)

    @property
    def worthwhile(self) -> bool:
        return bool(self.kept)

    @classmethod
    def of(cls, g: Graph, rates: tuple[int, ...]) -> _Region:
        usable = [f for f in forwards(g) if f.rates == rates and _fits(g, f)]
        back = {i.space: i for i in inverses(g) if i.rates == rates}
        region = cls(rates, usable, back, _between(g, usable, back))
        chosen = _minimum_cut(g, region)
        region.in_phase = [i for i in g.topological() if i in chosen]
        made = {o for i in region.in_phase for o in g.op(i).outputs} | set(back)
        region.kept = [f for f in usable if f.space in made]
        return region


def _fits(g: Graph, f: Forward) -> bool:
    """Whether a way into phase space can start from a phase-space value: the zeros in front are whole phases."""
    kind = g.tensor_type(f.space)
    if kind is None or kind.shape is None or any(front % r for front, r in zip(f.fronts, f.rates, strict=True)):
        return False
    even = all(isinstance(s, int) and s % r == 0 for s, r in zip(kind.shape[2:], f.rates, strict=True))
    return even or isinstance(kind.shape[0], int)


def _between(g: Graph, into: Sequence[Forward], back: dict[str, Inverse]) -> dict[int, tuple[str, ...]]:
    """The ops around ways in and back, reached through ops that either side can compute, and their data operands."""
    found: dict[int, tuple[str, ...]] = {}
    seen: set[int] = set()
    todo = [*(f.space for f in into), *back]
    while todo:
        value = todo.pop()
        producer = g.producer(value)
        for op_id in (*g.users(value), *(() if producer is None else (producer,))):
            if op_id in seen:
                continue
            seen.add(op_id)
            operands = data_operands(g, op_id)
            if operands is not None:
                found[op_id] = operands
                todo.extend((*operands, *g.op(op_id).outputs))
    return found


def _minimum_cut(g: Graph, region: _Region) -> frozenset[int]:
    """The ops to compute in phase space: the smallest phase side of a cut that moves the fewest elements."""
    network: nx.DiGraph[object] = nx.DiGraph()
    network.add_nodes_from(("phase", "space"))
    values = dict.fromkeys([*region.inverses, *(f.space for f in region.forwards)])
    for op_id, operands in region.operands.items():
        values.update(dict.fromkeys((*operands, *g.op(op_id).outputs)))
    into = {_first_of(g, f): f for f in region.forwards}
    for value in values:
        _add_value(network, g, region, value, into)
    # networkx gives the smallest sink side, so phase space is made the sink.
    _, (_, phase_side) = nx.minimum_cut(network.reverse(), "space", "phase")
    return frozenset(op_id for op_id in region.operands if op_id in phase_side)


def _add_value(network: nx.DiGraph[object], g: Graph, region: _Region, value: str, into: dict[int, Forward]) -> None:
    """The cost of a value that is made on one side and needed on the other: a transpose an axis either way.

    On the way back the crop comes on top; for a value that stays and is padded there, the mask. Each movement costs
    its elements, and one more, so that of two equal assignments the one with fewer movements is taken.
    """
    producer = g.producer(value)
    made: object = producer if producer in region.operands else "space"
    if value in region.inverses:
        made = "phase"
    inside = [u for u in g.users(value) if u in region.operands and value in region.operands[u]]
    ways = [into[u] for u in g.users(value) if u in into and u not in inside]
    leaves = bool(g.public_names(value)) or len(g.users(value)) > len(inside) + len(ways)
    _, channels, sizes = _sizes(ValueView(g, value))
    elements, axes = channels * math.prod(sizes) + 1, sum(r > 1 for r in region.rates)
    uneven = any(s % r for s, r in zip(sizes, region.rates, strict=True))
    if made != "space":
        network.add_edge(made, ("leaving", value), capacity=elements * (axes + uneven))
        network.add_edges_from((("leaving", value), user) for user in [*inside, *(["space"] if leaves else [])])
    if made != "phase":
        network.add_edge(("entering", value), made, capacity=elements * axes)
        network.add_edges_from((user, ("entering", value)) for user in inside)
    if ways and made not in ("phase", "space"):
        network.add_edge("phase", made, capacity=elements * axes * len(ways))
        network.add_edge(made, "space", capacity=elements * uneven * len(ways))


def _first_of(g: Graph, f: Forward) -> int:
    """The first op of a way into phase space: the pad, or the first movement."""
    op_id = g.producer(f.phase)
    assert op_id is not None
    while f.space not in g.op(op_id).inputs:
        op_id = g.producer(g.op(op_id).inputs[0])
        assert op_id is not None
    return op_id


class _Move:
    """Carries out what a region decided."""

    def __init__(self, rw: Rewriter, region: _Region, rule: str) -> None:
        self.rw = rw
        self.region = region
        self.rule = rule
        self.in_phase: dict[str, str] = {i.space: i.phase for i in region.inverses.values()}

    def apply(self, ctx: Context) -> None:
        g, region = self.rw.graph, self.region
        before = _elements_moved(g)
        for op_id in region.in_phase:
            self._redo(op_id)
        for f in region.kept:
            producer = g.producer(f.phase)
            assert producer is not None
            self.rw.at((producer,), self.rule)
            self.rw.replace_uses(f.phase, self._repadded(f))
            ctx.count("ways into phase space dropped")
        self._sweep()
        self._leave()
        self._sweep()
        ctx.count("elements no longer moved", max(0, before - _elements_moved(g)))

    def _builder(self, op_id: int) -> OpBuilder:
        self.rw.at((op_id,), self.rule)
        return OpBuilder(self.rw)

    def _redo(self, op_id: int) -> None:
        """Compute an op in phase space."""
        op = self.rw.graph.op(op_id)
        data = self.region.operands[op_id]
        inputs = [self._phase(v, op_id) if v in data else v for v in op.inputs]
        self.rw.at((op_id,), self.rule)
        made = self.rw.insert(op.type, inputs, op.attrs, n_outputs=len(op.outputs), domain=op.domain)
        for value, new in zip(op.outputs, [made] if isinstance(made, str) else made, strict=True):
            self.in_phase[value] = new

    def _phase(self, value: str, op_id: int) -> str:
        """The phase-space value of a value: at hand, or by a way into phase space of its own."""
        if value not in self.in_phase:
            op, view = self._builder(op_id), ValueView(self.rw.graph, value)
            batch, channels, sizes = _sizes(view)
            whole = [-(-s // r) * r for s, r in zip(sizes, self.region.rates, strict=True)]
            ends = [w - s for w, s in zip(whole, sizes, strict=True)]
            padded = op.Pad(view, ints(op, (*(0,) * (len(sizes) + 4), *ends))) if any(ends) else view
            moved = rearrange(op, padded, split_steps((batch, channels, *whole), self.region.rates))
            self.in_phase[value] = moved.name
        return self.in_phase[value]

    def _repadded(self, f: Forward) -> str:
        """What a way into phase space gives, from the phase-space value of what it starts from."""
        g, rates = self.rw.graph, self.region.rates
        op, x = OpBuilder(self.rw), ValueView(g, self.in_phase[f.space])
        batch, _, sizes = _sizes(ValueView(g, f.space))
        mask = phase_mask(sizes, rates, batch)
        if mask is not None:
            assert x.dtype is not None
            x = op.Where(op.const(mask), x, op.const(np.zeros((), x.dtype.numpy)))
        fronts = [front // r for front, r in zip(f.fronts, rates, strict=True)]
        lengths = [-(-s // r) for s, r in zip(sizes, rates, strict=True)]
        ends = [m - front - n for m, front, n in zip(f.lengths, fronts, lengths, strict=True)]
        if any(fronts) or any(ends):
            x = op.Pad(x, ints(op, (0, 0, *fronts, 0, 0, *ends)))
        return x.name

    def _leave(self) -> None:
        """Bring results that are needed outside back from phase space."""
        g = self.rw.graph
        done = set(self.region.in_phase)
        for op_id in self.region.in_phase:
            for value in g.op(op_id).outputs if op_id in g else ():
                outside = any(user not in done for user in g.users(value)) or g.public_names(value)
                if outside:
                    self.rw.replace_uses(value, self._space(value, op_id))

    def _space(self, value: str, op_id: int) -> str:
        op, view = self._builder(op_id), ValueView(self.rw.graph, value)
        batch, channels, sizes = _sizes(view)
        whole = [-(-s // r) * r for s, r in zip(sizes, self.region.rates, strict=True)]
        x = ValueView(self.rw.graph, self.in_phase[value])
        y = rearrange(op, x, merge_steps((batch, channels, *whole), self.region.rates))
        cut = [i for i, (w, s) in enumerate(zip(whole, sizes, strict=True), start=2) if w != s]
        if cut:
            ends = [sizes[i - 2] for i in cut]
            y = op.Slice(y, ints(op, [0] * len(cut)), ints(op, ends), ints(op, cut), ints(op, [1] * len(cut)))
        return str(y.name)

    def _sweep(self) -> None:
        """Erase the ways and ops that nothing uses any more, last first."""
        g = self.rw.graph
        for op_id in reversed(g.topological()):
            outputs = [o for o in g.op(op_id).outputs if o]
            if not any(g.users(o) or g.public_names(o) for o in outputs) and self._is_ours(op_id):
                self.rw.erase(op_id)

    def _is_ours(self, op_id: int) -> bool:
        return op_id in self.region.operands or self.rw.graph.op(op_id).type in ("Reshape", "Transpose", "Pad", "Slice")


def _sizes(view: ValueView) -> tuple[int, int, list[int]]:
    """Batch (-1 when not known), channels and spatial sizes of a value."""
    assert view.shape is not None
    batch, channels, *sizes = (d if isinstance(d, int) else -1 for d in view.shape)
    return batch, channels, sizes


def _elements_moved(g: Graph) -> int:
    """Elements that pads, transposes, slices and masks write, batch counted as one where it is not known."""
    total = 0
    for _, op in g.ops():
        if op.type in ("Pad", "Transpose", "Slice", "Where"):
            kind = g.tensor_type(op.outputs[0])
            total += math.prod(d for d in (kind.shape if kind and kind.shape else ()) if isinstance(d, int))
    return total
