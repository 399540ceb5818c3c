"""Checks for ``reduce``: does converting this part, and running the result, still go wrong? And which pass does it?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coregraft.rewriter.errors import PassError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.pipeline import PipelineLike
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array
from coregraft.verification.compare import Tolerance
from coregraft.verification.reduce import Reduced, StillFails, reduce
from coregraft.verification.verify import verify


def conversion_fails(options: Mapping[str, Any], tolerance: Tolerance | None = None) -> StillFails:
    """A check: convert with these options, lift, and compare; True when an output is out of tolerance.

    Of the op types to ``own``, those count that the part still has.
    """

    def fails(graph: Graph, inputs: Mapping[str, Array]) -> bool:
        import tempfile

        from coregraft.custom_layers.own import name_of
        from coregraft.lowering.convert import convert
        from coregraft.lowering.package import SUFFIXES

        there = {name_of(op) for _, op in graph.ops()}
        own = [name for name in options.get("own", ()) if name in there]
        done = convert(graph, **{**options, "own": own})
        with tempfile.TemporaryDirectory() as folder:
            package, *_ = done.save(Path(folder) / f"part{SUFFIXES[done.target.format]}")
            return not verify(graph, package, inputs=inputs, layers=False, tolerance=tolerance).ok

    return fails


def guilty_pass(graph: Graph, inputs: Mapping[str, Array], pipeline: PipelineLike, target: Target) -> str | None:
    """The first pass of a pipeline that changes what the graph computes on these inputs; None when none does."""
    try:
        PassManager(pipeline, target, checked=True, inputs=inputs).run(graph)
    except PassError as error:
        if error.code == "pass-broke-contract":
            return error.spec
        raise
    return None


def reduce_conversion(
    graph: Graph, inputs: Mapping[str, Array], options: Mapping[str, Any], tolerance: Tolerance | None = None
) -> Reduced:
    """The smallest part of a model whose conversion still computes something else."""
    return reduce(graph, inputs, conversion_fails(options, tolerance))


def write_bundle(reduced: Reduced, folder: Path, facts: Mapping[str, str]) -> Path:
    """Write a reduced failure: ``reduced.onnx``, ``inputs.npz``, ``README.txt`` and the versions.

    Raises:
        UsageError: ``output-unwritable``.
    """
    import json

    import numpy as np

    from coregraft.rewriter.errors import UsageError
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.reproducer import versions

    try:
        folder.mkdir(parents=True, exist_ok=True)
        save(reduced.graph, folder / "reduced.onnx")
        np.savez(folder / "inputs.npz", **dict(reduced.inputs))  # type: ignore[arg-type]
        (folder / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n", encoding="utf-8")
        lines = [f"{key}: {value}" for key, value in facts.items()]
        lines += [f"ops left: {len(reduced.ops)}", *(f"  {label}" for label in reduced.ops)]
        (folder / "README.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError("output-unwritable", f"cannot write the bundle: {error}", node=str(folder)) from error
    return folder


