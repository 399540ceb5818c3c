"""Does a model in parts compute what the model it was made from computes? The whole chain, without a Mac."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from coregraft.custom_layers.evaluate import NO_REFERENCES, References
from coregraft.custom_layers.manifest_file import MANIFEST
from coregraft.custom_layers.runner import PartsRunner
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.shapes.dims import pin_dims
from coregraft.rewriter.types import Array
from coregraft.verification.compare import TOLERANCES, Tolerance
from coregraft.verification.inputs import described, feeds_for
from coregraft.verification.result import Verification
from coregraft.verification.source import compare_outputs, source_graph


def is_parts(path: str | Path) -> bool:
    """Whether a path is a model in parts: a folder with our manifest."""
    return (Path(path) / MANIFEST).is_file()


def verify_parts(
    source: Any,
    folder: str | Path,
    *,
    inputs: Mapping[str, Array] | None = None,
    draws: int = 3,
    tolerance: Tolerance | None = None,
    seed: int = 0,
    references: References = NO_REFERENCES,
    fp16: Literal["simulate", "exact"] = "simulate",
) -> Verification:
    """Compare a model in parts with the model it was made from.

    Both sides compute the ops that onnxruntime does not know by their NumPy references; what is compared is all the
    rest: the parts, and that the right values go from step to step in the right types.

    Args:
        source: anything :func:`coregraft.convert` takes. Its symbolic dims get the sizes of the parts' inputs.
        folder: the ``.parts`` folder.
        references: by (domain, op type), besides those of registered custom layers.

    Raises:
        UsageError: ``draws-invalid``, ``inputs-mismatch``, ``package-mismatch``, ``reference-result``.
        InputError: ``source-unrunnable``; the source or the folder cannot be read.
        UnsupportedError: ``reference-missing``; ``lift-op-unsupported``.
    """
    runner = PartsRunner(folder, references, fp16)
    graph = source_graph(source)
    _pin(graph, runner.manifest)
    precision = "fp32" if runner.manifest.get("precision") == "fp32" else "fp16"
    allowed = tolerance or TOLERANCES[precision]
    outputs = compare_outputs(graph, feeds_for(graph, inputs, draws, seed), runner.run, references, allowed)
    return Verification(
        ok=all(c.ok for c in outputs),
        precision=precision,
        tolerance=allowed,
        outputs=outputs,
        drift=None,
        inputs=described(graph, inputs),
        warnings=tuple(dict.fromkeys(runner.warnings)),
    )


def _pin(graph: Graph, manifest: Mapping[str, Any]) -> None:
    """Give the source the sizes that the parts were made for.

    Raises:
        UsageError: ``package-mismatch`` for other inputs or outputs than the source's.
    """
    sides = (
        ("inputs", sorted(graph.inputs), sorted(entry["value"] for entry in manifest["inputs"])),
        ("outputs", sorted(graph.outputs), sorted(entry["name"] for entry in manifest["outputs"])),
    )
    for side, ours, theirs in sides:
        if ours != theirs:
            text = f"the model has the {side} {ours}, the parts have {theirs}"
            raise UsageError("package-mismatch", text, hint="are they made from this model?")
    shapes = {entry["value"]: tuple(entry["onnx_shape"]) for entry in manifest["inputs"]}
    loose = {v: s for v, s in shapes.items() if (k := graph.tensor_type(v)) is not None and k.static_shape is None}
    pin_dims(graph, {}, loose)
