"""The model that a package is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coregraft.custom_layers.evaluate import Interpreter, References
from coregraft.lowering.convert import graph_of
from coregraft.rewriter.errors import InputError
from coregraft.rewriter.execute import UnrunnableError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array
from coregraft.verification.compare import Comparison, Tolerance, bounded_values, compare
from coregraft.verification.result import worst


def source_graph(source: Any) -> Graph:
    """A graph of one's own whose outputs can be compared: a list of maps gives way to the tensor it is made from.

    That is what ``drop-zip-map`` makes of such an output, and what the package returns.

    Args:
        source: anything :func:`coregraft.convert` takes.

    Raises:
        InputError: as :func:`coregraft.lowering.convert.graph_of`.
    """
    g = graph_of(source)
    g.set_outputs({name: _tensor(g, value) for name, value in g.outputs.items()})
    return g


def _tensor(g: Graph, value: str) -> str:
    producer = g.producer(value)
    if producer is None or g.op(producer).key != ("ai.onnx.ml", "ZipMap"):
        return value
    return g.op(producer).inputs[0]


def compare_outputs(
    graph: Graph,
    feeds: Sequence[Mapping[str, Array]],
    run: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    references: References,
    allowed: Tolerance,
) -> tuple[Comparison, ...]:
    """For each output of the source the worst comparison with what ``run`` makes of the same feed.

    Ops of the source that onnxruntime does not know are computed by their references.

    Args:
        run: from the source's inputs to arrays by the names of its outputs.

    Raises:
        InputError: ``source-unrunnable``.
        UnsupportedError: ``reference-missing``.
    """
    source, bounded = Interpreter(references), bounded_values(graph)
    found: list[Comparison] = []
    for feed in feeds:
        try:
            wanted = source.run(graph, feed)
        except UnrunnableError as error:
            hint = "onnxruntime must be able to run the model, but for the ops that have references"
            raise InputError("source-unrunnable", error.message, hint=hint) from error
        theirs = run(feed)
        for name, value in graph.outputs.items():
            found.append(compare(name, wanted[value], theirs[name], allowed, bounded=value in bounded))
    return worst(found)
