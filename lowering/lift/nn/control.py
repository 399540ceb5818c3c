"""Branches and loops. What they write is seen by the network around them, which is what their results stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.lift.lift_control import yield_values
from coregraft.lowering.lift.nn.network import Blob, Layer, reads
from coregraft.lowering.lift.nn.registry import layers
from coregraft.rewriter.types import DType, TensorType

if TYPE_CHECKING:
    from coregraft.lowering.lift.lift_control import yield_values
from coregraft.lowering.lift.nn.network import Network

#: A number closer to 0 than this is false.
_FALSE = 1e-6


@layers("branch")
def branch(n: Network, layer: Layer) -> None:
    """``If``; its results are the blobs that a branch writes, that both know, and that are read later."""
    p, live = layer.params
    networks = [p.ifBranch.layers, p.elseBranch.layers]
    bodies = [n.child() for _ in networks]
    for body, messages in zip(bodies, networks, strict=True):
        body.run(messages, live)
    written = dict.fromkeys(name for messages in networks for name in _written(messages))
    names = [name for name in written if name in live and all(name in body.blobs for body in bodies)]
    for body in bodies:
        yield_values(body.l, [body.value(body.blobs[name]) for name in names])
    condition = _truth(n, layer, n.x(layer))
    results = [n.l.fresh(name) for name in names]
    n.l.emit("If", [condition], {"then_branch": bodies[0].l.graph, "else_branch": bodies[1].l.graph}, results)
    for name, result in zip(names, results, strict=True):
        _learn(n, name, result, [body.types[body.blobs[name].name] for body in bodies])


@layers("loop")
def loop(n: Network, layer: Layer) -> None:
    """``Loop`` over the blobs that its networks write and that are there before it."""
    p, live = layer.params
    condition, step = p.conditionNetwork.layers, p.bodyNetwork.layers
    limit = None
    if layer.inputs:
        limit = n.l.emit("Cast", [_single(n, layer, n.x(layer))], {"to": int(DType.INT64)})
    elif p.maxLoopIterations:
        limit = n.l.literal(np.int64(p.maxLoopIterations))
    inner = Layer(layer.kind, layer.name, p, layer.inputs, ())
    first = None
    before = frozenset(n.blobs)
    if condition:
        n.run(condition, live | reads(inner))
        first = _truth(n, layer, n.read(layer, p.conditionVar))
    written = dict.fromkeys([*_written(condition), *_written(step)])
    unseen = [name for name in written if name not in n.blobs and name in live]
    if unseen:
        n.refuse(layer, f'blob "{unseen[0]}" is read after it, and would not be there after no turn')
    state = [name for name in written if name in n.blobs and (name in live or name in before)]
    start = [n.value(n.blobs[name]) for name in state]
    kept = live | reads(inner) | frozenset(state)
    kinds = [TensorType(DType.FLOAT, n.shape(layer, n.blobs[name])) for name in state]
    while True:  # as long as a turn leaves a state with other sizes than it was taken to have
        body = n.child()
        body.l.input("turn", TensorType(DType.INT64, ()))
        body.l.input("go_on", TensorType(DType.BOOL, ()))
        for name, kind in zip(state, kinds, strict=True):
            value = body.l.input(name, kind)
            body.blobs[name] = Blob(value)
            body.learn(value, value, kind)
        body.run([*step, *condition], kept)
        after = [_common([kind, body.types[body.blobs[name].name]]) for name, kind in zip(state, kinds, strict=True)]
        if after == kinds:
            break
        kinds = after
    if condition:
        again = _truth(body, layer, body.read(layer, p.conditionVar))
    else:
        again = body.l.emit("Identity", [body.l.literal(np.bool_(True))])
    yield_values(body.l, [again, *(body.value(body.blobs[name]) for name in state)])
    results = [n.l.fresh(name) for name in state]
    n.l.emit("Loop", [limit, first, *start], {"body": body.l.graph}, results)
    for name, result, kind in zip(state, results, kinds, strict=True):
        _learn(n, name, result, [kind])


def _written(messages: Sequence[Any]) -> list[str]:
    """The blobs that layers write, in order."""
    found: list[str] = []
    for message in messages:
        layer = Layer.of(message)
        found += layer.outputs
        if layer.kind == "branch":
            found += [*_written(layer.params.ifBranch.layers), *_written(layer.params.elseBranch.layers)]
        elif layer.kind == "loop":
            found += [*_written(layer.params.conditionNetwork.layers), *_written(layer.params.bodyNetwork.layers)]
    return found


def _single(n: Network, layer: Layer, blob: Blob) -> str:
    """A blob of one element as a scalar."""
    rank = n.rank(layer, blob)
    value = n.value(blob)
    return n.l.emit("Squeeze", [value, np.arange(rank)]) if rank else value


def _truth(n: Network, layer: Layer, blob: Blob) -> str:
    """Whether a number is not 0, as a boolean scalar."""
    return n.l.emit("Greater", [n.l.emit("Abs", [_single(n, layer, blob)]), np.float32(_FALSE)])


def _common(kinds: Sequence[TensorType]) -> TensorType:
    """The type of what has one of some types."""
    shape = None
    if len({kind.rank for kind in kinds}) == 1 and kinds[0].shape is not None:
        pairs = zip(*(kind.shape for kind in kinds if kind.shape is not None), strict=True)
        shape = tuple(sizes[0] if len(set(sizes)) == 1 else None for sizes in pairs)
    return TensorType(DType.FLOAT, shape)


def _learn(n: Network, name: str, value: str, kinds: Sequence[TensorType]) -> None:
    """Let a blob be a value of one of some types."""
    kind = _common(kinds)
    n.l.graph.add_value(value, kind)
    blob = Blob(value)
    n.learn(value, value, kind)
    n.blobs[name] = blob
