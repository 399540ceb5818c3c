"""Cancel transposes against each other, across the ops between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from coregraft.passes.cleanup.layouts import Flip, Perm, flip
from coregraft.passes.cleanup.scopes import Scope, visit_scopes
from coregraft.rewriter.contract import Context, Equivalence, Pass
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.rewriter import Rewriter

_MAX_SWEEPS = 16


@dataclass(frozen=True)
class FuseTransposes(Pass):
    """Compose transposes, and move them through other ops where that leaves fewer of them.

    What it does
    ------------
    Two transposes in a row become one, or none. Then, for each permutation, the ops that can work on transposed
    tensors (elementwise ops, softmax, reductions, Concat, Split, Slice, Pad, Gather, Resize, …) are gathered in
    connected regions; a region is computed in the other layout, its axes and constants permuted, when that removes
    more transposes at its borders than it adds.

    Why it matters
    --------------
    Models that come from channels-last frameworks wrap each convolution in transposes, and coremltools' own pass
    stops at softmax, slices and upsampling. On the Neural Engine every transpose moves the whole tensor.

    Example
    -------
    ``Transpose(Softmax(Transpose(x, [0, 2, 3, 1]), axis=3), [0, 3, 1, 2])`` becomes ``Softmax(x, axis=1)``.

    Equivalence
    -----------
    Reassociating: the same arithmetic on every element, but a runtime adds up a reduction in the order of the memory
    layout, which is another one.

    Sources
    -------
    Hazard H2.15.
    """

    equivalence: ClassVar = Equivalence.REASSOCIATING

    def run(self, g: Graph, ctx: Context) -> None:
        visit_scopes(ctx.rewriter(g), lambda rw, scope: _fuse(rw, scope, ctx))


def _fuse(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    for _ in range(_MAX_SWEEPS):
        before = rw.events.total()
        _compose(rw, scope, ctx)
        _move(rw, scope, ctx)
        if rw.events.total() == before:
            return


# -------------------------------------------------------------------- two in a row


def perm_of(op: Op, scope: Scope) -> Perm | None:
    """The permutation of a Transpose, the default one written out; None when its rank is unknown."""
    if op.key != ("", "Transpose"):
        return None
    if "perm" in op.attrs:
        return tuple(op.attrs["perm"])
    kind = scope.type(op.inputs[0])
    return None if kind is None or kind.rank is None else tuple(reversed(range(kind.rank)))


def _producer(g: Graph, value: str) -> tuple[int, Op] | None:
    op_id = g.producer(value) if value in g else None
    return None if op_id is None else (op_id, g.op(op_id))


def _compose(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    g = rw.graph
    for op_id in sorted((i for i, op in g.ops() if op.key == ("", "Transpose")), key=g.order_key):
        if op_id not in g:
            continue
        op = g.op(op_id)
        found = _producer(g, op.inputs[0])
        outer = perm_of(op, scope)
        inner = perm_of(found[1], scope) if found is not None else None
        if found is None or inner is None or outer is None:
            continue
        perm = tuple(inner[i] for i in outer)
        source, middle, result = found[1].inputs[0], op.inputs[0], op.outputs[0]
        if perm == tuple(range(len(perm))):
            if g.public_names(result) and (g.producer(source) is None or g.public_names(source)):
                continue
            rw.replace([op_id, found[0]], {result: source})
        elif len(g.users(middle)) == 1 and not g.public_names(middle):
            rw.update(op_id, inputs=[source], attrs={"perm": perm})
            rw.erase(found[0])
        else:
            continue
        ctx.count("composed")


# -------------------------------------------------------------------- across a region


@dataclass
class Region:
    """Connected ops that can all be computed in the other layout."""

    perm: Perm
    flips: dict[int, Flip] = field(default_factory=dict)


def _move(rw: Rewriter, scope: Scope, ctx: Context) -> None:
    g = rw.graph
    place = {op_id: i for i, op_id in enumerate(g.topological())}
    seeds = [(i, perm) for i in place if (perm := perm_of(g.op(i), scope)) is not None]
    visited: set[tuple[int, Perm]] = set()
    for seed, perm in seeds:
        if seed not in g or perm_of(g.op(seed), scope) != perm:
            continue
        region = _grow(g, scope, g.op(seed).outputs[0], perm, visited, place)
        if not region.flips:
            continue
        _peel(g, scope, region, place)
        if region.flips and _balance(g, scope, region) < 0:
            _apply(rw, scope, region, sorted(region.flips, key=place.__getitem__))
            ctx.count("moved")


def _grow(
    g: Graph, scope: Scope, start: str, perm: Perm, visited: set[tuple[int, Perm]], place: dict[int, int]
) -> Region:
    region = Region(perm)
    stack = list(g.users(start))
    while stack:
        op_id = stack.pop()
        if (op_id, perm) in visited or op_id not in place:
            continue  # ops made in this sweep wait for the next one
        visited.add((op_id, perm))
        op = g.op(op_id)
        flipped = flip(op, perm, scope)
        if flipped is None:
            continue
        region.flips[op_id] = flipped
        for index in flipped.streams:
            found = _producer(g, op.inputs[index])
            if found is not None:
                stack.append(found[0])
        if not flipped.free:
            stack.extend(user for o in op.outputs if o for user in g.users(o))
    return region


def _outside(g: Graph, region: Region, value: str) -> tuple[list[int], int]:
    """The transposes that read a region's result outside of it, and how many readers of another kind there are."""
    transposes = [i for i in g.users(value) if i not in region.flips and g.op(i).key == ("", "Transpose")]
    readers = sum(1 for i in g.users(value) if not _reads_flipped(g, region, i, value))
    return transposes, readers - len(transposes) + len(g.public_names(value))


def _reads_flipped(g: Graph, region: Region, op_id: int, value: str) -> bool:
    flipped = region.flips.get(op_id)
    return flipped is not None and any(g.op(op_id).inputs[i] == value for i in flipped.streams)


def _cancels(g: Graph, scope: Scope, region: Region, transpose: int) -> bool:
    outer = perm_of(g.op(transpose), scope)
    return outer is not None and all(region.perm[j] == i for i, j in enumerate(outer))


def _peel(g: Graph, scope: Scope, region: Region, place: dict[int, int]) -> None:
    """Leave out ops at the lower border that would only push a transpose from before them to behind them."""
    for op_id in sorted(region.flips, key=lambda i: place[i], reverse=True):
        flipped = region.flips[op_id]
        outputs = [o for o in g.op(op_id).outputs if o]
        if flipped.free or len(flipped.streams) != 1 or any(u in region.flips for o in outputs for u in g.users(o)):
            continue
        if not any(_cancels(g, scope, region, t) for o in outputs for t in _outside(g, region, o)[0]):
            del region.flips[op_id]


def _balance(g: Graph, scope: Scope, region: Region) -> int:
    """Transposes added less transposes removed, if the region changes its layout."""
    balance = 0
    entries: dict[str, None] = {}
    for op_id, flipped in region.flips.items():
        op = g.op(op_id)
        for index in flipped.streams:
            found = _producer(g, op.inputs[index])
            if found is None or found[0] not in region.flips or region.flips[found[0]].free:
                entries[op.inputs[index]] = None
        for output in op.outputs if not flipped.free else ():
            if output:
                transposes, others = _outside(g, region, output)
                balance += bool(others) - sum(1 for t in transposes if _cancels(g, scope, region, t))
    for value in entries:
        found = _producer(g, value)
        perm = perm_of(found[1], scope) if found is not None else None
        kept = bool(g.public_names(value)) or any(not _reads_flipped(g, region, u, value) for u in g.users(value))
        if perm == region.perm:
            balance -= not kept
        elif perm is None or kept:
            balance += 1  # else the transpose there takes up the new one
    return balance


def _apply(rw: Rewriter, scope: Scope, region: Region, order: list[int]) -> None:
    g, perm = rw.graph, region.perm
    back = tuple(sorted(range(len(perm)), key=lambda i: perm[i]))
    flipped_of: dict[str, str] = {}
    sources: list[int] = []

    def entry(value: str) -> str:
        if value not in flipped_of:
            found = _producer(g, value)
            if found is not None and perm_of(found[1], scope) == perm:
                flipped_of[value] = found[1].inputs[0]
                sources.append(found[0])
            else:
                flipped_of[value] = rw.insert("Transpose", [value], {"perm": back})
        return flipped_of[value]

    for op_id in order:
        rw.at([op_id], "FuseTransposes")
        op, change = g.op(op_id), region.flips[op_id]
        inputs: list[Any] = list(op.inputs)
        inputs += [None] * (max([*change.inputs, 0]) + 1 - len(inputs))
        for index in change.streams:
            inputs[index] = entry(op.inputs[index])
        for index, array in change.inputs.items():
            inputs[index] = array
        made = rw.insert(
            op.type, inputs, {**op.attrs, **change.attrs}, n_outputs=len(op.outputs), name=op.name or None
        )
        for old, new in zip(op.outputs, made if isinstance(made, list) else [made], strict=True):
            if not old:
                continue
            if change.free:
                rw.replace_uses(old, new)
            else:
                flipped_of[old] = new
    for op_id in order:
        if not region.flips[op_id].free:
            for output in g.op(op_id).outputs:
                if output:
                    _leave(rw, scope, region, output, flipped_of[output])
    for op_id in reversed(order):
        rw.erase(op_id)
    for op_id in sources:
        output = g.op(op_id).outputs[0]
        if not g._succ[output] and not g.public_names(output):
            rw.erase(op_id)


def _leave(rw: Rewriter, scope: Scope, region: Region, value: str, flipped: str) -> None:
    """Connect the readers outside the region to a result in the new layout."""
    g = rw.graph
    transposes, others = _outside(g, region, value)
    for op_id in transposes:
        outer, result = perm_of(g.op(op_id), scope), g.op(op_id).outputs[0]
        if outer is None:
            others += 1
        elif _cancels(g, scope, region, op_id) and not (g.public_names(result) and g.public_names(flipped)):
            rw.replace([op_id], {result: flipped})
        else:
            rw.update(op_id, inputs=[flipped], attrs={"perm": tuple(region.perm[i] for i in outer)})
    if others:
        producer = g.producer(value)
        assert producer is not None
        rw.at([producer], "FuseTransposes")
        rw.replace_uses(value, rw.insert("Transpose", [flipped], {"perm": region.perm}))
