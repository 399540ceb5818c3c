"""Parts that are too large, divided at narrow places: the Neural Engine takes about 900 MB a program (hazard H7.02)."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Sequence

from coregraft.custom_layers.cut import NEVER, Cut, Size, Step, measured
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph


def divided(g: Graph, cut: Cut, limit: int, size: Size) -> Cut:
    """A cut whose parts each have at most ``limit`` bytes of constants, with as few more parts as that takes.

    A part is divided along its program order, at the places where the fewest bytes are alive.

    Raises:
        UnsupportedError: ``cut-too-large`` when a single op has more; ``cut-impossible`` when every place within
            reach of the limit has a value alive that cannot be handed over.
    """
    steps: list[Step] = []
    for step in cut.steps:
        if step.custom:
            steps.append(step)
        else:
            steps.extend(Step(ops, step.stage, custom=False) for ops in _divide(g, step.ops, limit, size))
    return measured(g, tuple(steps), size)


def _divide(g: Graph, ops: Sequence[int], limit: int, size: Size) -> list[tuple[int, ...]]:
    """The fewest slices within the limit; of those, the ones with the fewest bytes alive between them.

    ``best[j]`` is the cost of dividing the first ``j`` ops. The earliest start ``low`` of a slice that ends at ``j``
    only ever grows, so the best start is a minimum over a sliding window.
    """
    alive = _alive(g, ops, size)
    consts = [[(v, c.nbytes) for v in g.op(i).operands if (c := g.const(v)) is not None] for i in ops]
    uses: Counter[str] = Counter()
    weight = low = 0
    best: list[tuple[int, int]] = [(0, 0)]
    start = [0]
    window: deque[int] = deque()
    for j in range(1, len(ops) + 1):
        while window and best[window[-1]] >= best[j - 1]:
            window.pop()
        window.append(j - 1)
        for value, bytes_ in consts[j - 1]:
            weight += bytes_ if not uses[value] else 0
            uses[value] += 1
        while weight > limit:
            for value, bytes_ in consts[low]:
                uses[value] -= 1
                weight -= bytes_ if not uses[value] else 0
            low += 1
        while window and window[0] < low:
            window.popleft()
        if not window:
            label = g.op(ops[j - 1]).label
            text = f"{label} alone has more than {limit} bytes of constants"
            raise UnsupportedError("cut-too-large", text, node=label, hint="a larger --max-bytes")
        chunks, bytes_ = best[window[0]]
        best.append((chunks + 1, bytes_ + (alive[j] if j < len(ops) else 0)))
        start.append(window[0])
    if best[-1][1] >= NEVER:
        raise UnsupportedError(
            "cut-impossible", f"no division into parts of {limit} bytes hands over only what can be handed over",
            hint="a larger --max-bytes",
        )  # fmt: skip
    bounds = [len(ops)]
    while bounds[-1]:
        bounds.append(start[bounds[-1]])
    bounds.reverse()
    return [tuple(ops[a:b]) for a, b in itertools.pairwise(bounds)]


def _alive(g: Graph, ops: Sequence[int], size: Size) -> list[int]:
    """Bytes of the values made before and read at or after each place between two ops."""
    place = {op_id: n for n, op_id in enumerate(ops)}
    change = [0] * (len(ops) + 1)
    for op_id in ops:
        for value in filter(None, g.op(op_id).outputs):
            last = max((place[user] for user in g.users(value) if user in place), default=-1)
            if last >= 0:
                bytes_ = size(value)
                change[place[op_id] + 1] += NEVER if bytes_ is None else bytes_
                change[last + 1] -= NEVER if bytes_ is None else bytes_
    total, alive = 0, []
    for delta in change:
        total += delta
        alive.append(total)
    return alive
