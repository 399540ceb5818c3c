"""The ops of a model that a target has no lowering for, as custom layers, without converting the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from coregraft.custom_layers import own as owning
from coregraft.custom_layers.use import Use, use_of
from coregraft.lowering import convert, targets
from coregraft.lowering.emitter import type_unknown
from coregraft.lowering.program import require_pinned
from coregraft.passes.pipelines import convert_pipeline
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.shapes.dims import pin_dims
from coregraft.rewriter.types import Const, TensorType


def missing_layers(
    source: str | Path | Graph,
    *,
    target: str = targets.DEFAULT,
    format: str = "neuralnetwork",
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    own: Sequence[str] = (),
) -> list[Use]:
    """The ops without a lowering after the passes of a conversion, those of bodies included, in dependency order.

    Args:
        source: path of an ``.onnx`` file, or a graph; not changed.
        target: deployment target.
        format: model format.
        dims: sizes of symbolic dims by name.
        shapes: shapes of inputs by name.
        own: op types that count as missing although they have a lowering.

    Raises:
        UsageError: an argument names something that does not exist.
        InputError: the model is broken.
        UnsupportedError: ``dims-unpinned``; ``shape-unknown``; ``type-unknown``; and as
            :func:`coregraft.custom_layers.use.use_of`.
        PassError: a pass failed.
    """
    goal = targets.get(target, format)
    graph = convert.graph_of(source)
    pin_dims(graph, dims or {}, {name: tuple(shape) for name, shape in (shapes or {}).items()})
    require_pinned(graph)
    convert.settle(graph, goal)
    if own:
        owning.own(graph, own)
    PassManager(convert_pipeline(goal, "fp16" if goal.has_fp16 else "fp32"), goal).run_in_place(graph)
    convert.settle(graph, goal)
    return [
        use_of(owning.disown(op), _typed(scopes), _constant(scopes))
        for op, scopes in _all_ops(graph, ())
        if not goal.supports(op) and not any(True for _ in op.bodies())
    ]


def _all_ops(graph: Graph, outer: tuple[Graph, ...]) -> Iterator[tuple[Op, tuple[Graph, ...]]]:
    scopes = (graph, *outer)
    for op_id in graph.topological():
        op = graph.op(op_id)
        yield op, scopes
        for _, body in op.bodies():
            yield from _all_ops(body, scopes)


def _typed(scopes: tuple[Graph, ...]) -> Callable[[str], TensorType]:
    def type_of(name: str) -> TensorType:
        kind = next((k for g in scopes if name in g and (k := g.tensor_type(name)) is not None), None)
        if kind is None:
            raise type_unknown(name)
        if kind.static_shape is None:
            raise UnsupportedError(
                "shape-unknown", f'the shape of "{name}" is not known: {kind}', node=name,
                hint="say it in the model's value info, or register the op that makes it with a shape function",
            )  # fmt: skip
        return kind

    return type_of


def _constant(scopes: tuple[Graph, ...]) -> Callable[[str], Const | None]:
    def const_of(name: str) -> Const | None:
        return next((c for g in scopes if name in g and (c := g.const(name)) is not None), None)

    return const_of
