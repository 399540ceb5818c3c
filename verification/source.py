"""The model that a package is compared with."""

from __future__ import annotations

from typing import Any

from coregraft.lowering.convert import graph_of
from coregraft.rewriter.graph import Graph


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
