"""Does a neuralnetwork with custom layers compute what its model computes? Its layers by their NumPy references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coregraft.custom_layers.evaluate import NO_REFERENCES, References
from coregraft.custom_layers.lifted import LiftedNetwork
from coregraft.lowering.lift.nn.custom import DOMAIN
from coregraft.lowering.program import all_ops
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array
from coregraft.verification.compare import TOLERANCES, Tolerance
from coregraft.verification.features import match_features, pin_sizes
from coregraft.verification.inputs import described, feeds_for
from coregraft.verification.result import Verification
from coregraft.verification.source import compare_outputs, source_graph


def has_layers(lifted: Graph) -> bool:
    """Whether a lifted package has custom layers of ours, in bodies too."""
    return any(op.domain == DOMAIN for op in all_ops(lifted))


def verify_network(
    source: Any,
    package: str | Path | Graph,
    *,
    inputs: Mapping[str, Array] | None = None,
    draws: int = 3,
    tolerance: Tolerance | None = None,
    seed: int = 0,
    references: References = NO_REFERENCES,
) -> Verification:
    """Compare a neuralnetwork with the model it was made from, where it has custom layers.

    Both sides compute those ops by their NumPy references; what is compared is all the rest, and that layers get the
    right values, parameters and operands.

    Args:
        source: anything :func:`coregraft.convert` takes. Its symbolic dims get the sizes of the network's inputs.
        package: path of the ``.mlmodel``, or a graph lifted from it with ``custom=True``.
        references: by (domain, op type), besides those of registered custom layers.

    Raises:
        UsageError: ``draws-invalid``, ``inputs-mismatch``, ``package-mismatch``, ``reference-result``.
        InputError: ``source-unrunnable``; the source or the package cannot be read.
        UnsupportedError: ``reference-missing``; ``lift-op-unsupported``.
    """
    network = LiftedNetwork(package, references)
    graph = source_graph(source)
    features = match_features(graph, network.graph)
    pin_sizes(graph, network.graph, features)
    allowed = tolerance or TOLERANCES["fp32"]

    def run(feed: Mapping[str, Array]) -> dict[str, Array]:
        found = network.run(features.translate(feed, network.graph))
        return {name: found[feature] for name, feature in features.outputs.items()}

    outputs = compare_outputs(graph, feeds_for(graph, inputs, draws, seed), run, references, allowed)
    return Verification(
        ok=all(c.ok for c in outputs),
        precision="fp32",
        tolerance=allowed,
        outputs=outputs,
        drift=None,
        inputs=described(graph, inputs),
        warnings=tuple(network.graph.graph["lift_warnings"]),
    )
