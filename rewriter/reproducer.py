"""The bundle a failing pass leaves behind: the graph before it, the pass, its inputs, versions, a five-line script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

from coregraft.rewriter.contract import Pass
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.pipeline import to_toml
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array

_SCRIPT = '''\
"""Runs the pass that failed, on the graph as it was before it."""
import coregraft as cg

graph = cg.load("before.onnx")
cg.PassManager("pipeline.toml", target={target}, checked=True).run(graph)
'''


def write_reproducer(
    folder: Path, pass_: Pass, before: Graph, error: str, inputs: Mapping[str, Array] | None, target: Target
) -> Path | None:
    """Write the bundle into a new folder under ``folder`` and return it; None when it could not be written."""
    from coregraft.rewriter.onnx_io.save import save

    number = 1
    while (bundle := folder / f"reproducer-{pass_.name.replace(':', '-')}-{number}").exists():
        number += 1
    try:
        bundle.mkdir(parents=True)
        save(before, bundle / "before.onnx")
        (bundle / "pipeline.toml").write_text(to_toml([pass_]), encoding="utf-8")
        (bundle / "error.txt").write_text(error + "\n", encoding="utf-8")
        (bundle / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n", encoding="utf-8")
        goal = "cg.Target.any()" if target.ops is None else f"cg.target({target.name!r}, {target.format!r})"
        (bundle / "repro.py").write_text(_SCRIPT.format(target=goal), encoding="utf-8")
        if inputs is not None:
            np.savez(bundle / "inputs.npz", **dict(inputs))  # type: ignore[arg-type]
    except (OSError, CoregraftError):
        return None  # the failure being reported matters more than its bundle; the caller says there is none
    return bundle


def versions() -> dict[str, str]:
    """The versions that a failure may depend on."""
    names = ("coregraft", "onnx", "onnxruntime", "coremltools", "networkx", "numpy")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
