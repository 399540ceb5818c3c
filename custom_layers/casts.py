"""Half-precision values that cross beside their own single-precision form: one of the two is enough.

An island computes in fp32, so it reads a cast of an fp16 value. When others read that value in a later part, both
would cross. The cast back is exact, so the later part makes the fp16 value of the fp32 one itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from coregraft.custom_layers.cut import Cut, Size, Step, find_cut, measured
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import DType, TensorType


def find_cut_sharing_casts(g: Graph, islands: Collection[int], size: Size, at: Iterable[str]) -> Cut:
    """The cut of :func:`coregraft.custom_layers.cut.find_cut`, or a cheaper one with casts in the later parts; the
    graph gets them.

    Raises:
        UsageError, UnsupportedError: as ``find_cut``.
    """
    at = tuple(at)
    twins = _twins(g, islands)
    cuts = [find_cut(g, islands, size, at)]
    if twins:
        cuts.append(find_cut(g, islands, lambda v: 0 if v in twins else size(v), at))
    cuts = [measured(g, cut.steps, size) for cut in cuts]
    saved = [_saved(g, cut, twins) for cut in cuts]
    best = min(range(len(cuts)), key=lambda n: cuts[n].bytes - sum(cuts[n].crossing[v] for v in saved[n]))
    return _share(g, cuts[best], {v: twins[v] for v in saved[best]}, size)


def _twins(g: Graph, islands: Collection[int]) -> dict[str, str]:
    """fp16 value made by an op -> its fp32 form that an island reads."""
    found: dict[str, str] = {}
    for op_id in sorted(islands, key=g.order_key):
        for wide in filter(None, g.op(op_id).inputs):
            cast = g.producer(wide)
            if cast is None or g.op(cast).key != ("", "Cast"):
                continue
            half = g.op(cast).inputs[0]
            types = [k.dtype for v in (half, wide) if (k := g.tensor_type(v)) is not None]
            if types == [DType.FLOAT16, DType.FLOAT] and g.producer(half) is not None:
                found.setdefault(half, wide)
    return found


def _saved(g: Graph, cut: Cut, twins: Mapping[str, str]) -> list[str]:
    """The values that need not cross, since their fp32 form comes from the same part."""
    where = {op_id: n for n, step in enumerate(cut.steps) for op_id in step.ops}
    found = []
    for half in cut.crossing:
        if half not in twins:
            continue
        home = where[g.producer(half)]  # type: ignore[index]  # a value that crosses has a producer
        away = [user for user in g.users(half) if where[user] != home]
        simple = all(half not in g.op(user).captures and not cut.steps[where[user]].custom for user in away)
        if simple and where[g.producer(twins[half])] == home:  # type: ignore[index]
            found.append(half)
    return found


def _share(g: Graph, cut: Cut, twins: Mapping[str, str], size: Size) -> Cut:
    """Put the casts into the graph and the steps."""
    steps: list[Step] = []
    for step in cut.steps:
        inside = set(step.ops)
        casts: list[int] = []
        for half, wide in twins.items():
            users = [user for user in g.users(half) if user in inside]
            if not users or g.producer(half) in inside:
                continue
            kind = g.tensor_type(half)
            assert kind is not None
            again = g.add_value(g.fresh_name(f"{half}/again"), TensorType(DType.FLOAT16, kind.shape))
            op = Op("Cast", (wide,), (again,), {"to": int(DType.FLOAT16)}, name=again)
            casts.append(g.add_op(op, g.order_key(users[0])[0]))
            for user in users:
                reader = g.op(user)
                g.set_op(user, replace(reader, inputs=tuple(again if v == half else v for v in reader.inputs)))
        steps.append(replace(step, ops=(*casts, *step.ops)))
    return measured(g, tuple(steps), size) if twins else cut
