"""Does a neuralnetwork with custom layers compute what its model computes? Its layers by their NumPy references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coregraft.custom_layers.evaluate import NO_REFERENCES, Interpreter, References
from coregraft.custom_layers.lifted import LiftedNetwork
from coregraft.rewriter.errors import InputError, UsageError
from coregraft.rewriter.execute import UnrunnableError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.shapes.dims import pin_dims
from coregraft.rewriter.types import Array, TensorType
from coregraft.verification.compare import TOLERANCES, Comparison, Tolerance, compare
from coregraft.verification.inputs import draw, given, kinds
from coregraft.verification.source import source_graph
from coregraft.verification.verify import Verification


def verify_network(
    source: Any,
    path: str | Path,
    *,
    inputs: Mapping[str, Array] | None = None,
    draws: int = 3,
    tolerance: Tolerance | None = None,
    seed: int = 0,
    references: References = NO_REFERENCES,
) -> Verification:
    """Compare a neuralnetwork with the model it was made from, where it has custom layers.

    Both sides compute those ops by their NumPy references; what is compared is all the rest, and that layers get the
    right values, parameters and operands. Inputs and outputs belong together by name, or else by their order.

    Args:
        source: anything :func:`coregraft.convert` takes. Its symbolic dims get the sizes of the network's inputs.
        path: the ``.mlmodel``.
        references: by (domain, op type), besides those of registered custom layers.

    Raises:
        UsageError: ``inputs-mismatch``, ``package-mismatch``, ``reference-result``.
        InputError: ``source-unrunnable``; the source or the package cannot be read.
        UnsupportedError: ``reference-missing``; ``lift-op-unsupported``.
    """
    network = LiftedNetwork(path, references)
    graph = source_graph(source)
    features = _paired("inputs", list(graph.inputs), list(network.graph.inputs))
    results = _paired("outputs", list(graph.outputs), list(network.graph.outputs))
    _pin(graph, network.graph, features)
    allowed = tolerance or TOLERANCES["fp32"]
    feeds = [given(graph, inputs)] if inputs is not None else [draw(graph, seed + i) for i in range(draws)]
    worst: dict[str, Comparison] = {}
    for feed in feeds:
        try:
            wanted = Interpreter(references).run(graph, feed)
        except UnrunnableError as error:
            hint = "onnxruntime must be able to run the model, but for the ops that have references"
            raise InputError("source-unrunnable", error.message, hint=hint) from error
        found = network.run({feature: np.atleast_1d(feed[name]) for name, feature in features.items()})
        for name, feature in results.items():
            value = wanted[graph.outputs[name]]
            # Networks only know floats, and no tensor without dims.
            now = compare(name, value, found[feature].reshape(value.shape).astype(value.dtype), allowed)
            if name not in worst or (worst[name].ok and not now.ok):
                worst[name] = now
    return Verification(
        ok=all(c.ok for c in worst.values()),
        precision="fp32",
        tolerance=allowed,
        outputs=tuple(worst.values()),
        drift=None,
        inputs={name: "given" if inputs is not None else kind.name for name, kind in kinds(graph).items()},
        warnings=tuple(network.graph.graph["lift_warnings"]),
    )


def _paired(side: str, ours: list[str], theirs: list[str]) -> dict[str, str]:
    if len(ours) != len(theirs):
        text = f"the model has the {side} {ours}, the package has {theirs}"
        raise UsageError("package-mismatch", text, hint="is it made from this model?")
    return {name: name for name in ours} if sorted(ours) == sorted(theirs) else dict(zip(ours, theirs, strict=True))


def _pin(graph: Graph, network: Graph, features: Mapping[str, str]) -> None:
    """Give the source the sizes that the network was made for."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, feature in features.items():
        kind, theirs = graph.tensor_type(name), network.tensor_type(feature)
        if kind is not None and kind.static_shape is None and isinstance(theirs, TensorType) and theirs.static_shape:
            shapes[name] = theirs.static_shape
    pin_dims(graph, {}, shapes)
