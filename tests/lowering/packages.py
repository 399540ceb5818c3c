"""From a graph to a package and back: what a converted model computes, run by onnxruntime after lifting it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import coregraft
from coregraft.lowering.lift import lift
from coregraft.rewriter.execute import run
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array

FORMATS = ("mlprogram", "neuralnetwork")
_SUFFIXES = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}


def assert_agrees(
    model: Graph, feeds: Sequence[Mapping[str, Array]], format: str, precision: str = "fp32", tolerance: float = 1e-5
) -> Any:
    """Convert, save and lift a model, and compare it with itself on some inputs; returns the conversion."""
    done = coregraft.convert(model, precision=precision, format=format, fallback="error")  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{_SUFFIXES[format]}"
        done.save(path)
        lifted = lift(path)
        for values in feeds:
            want = run(model, dict(values))
            given = {
                f.feature: values[f.name].astype(f.dtype.numpy).reshape(f.shape or ()) for f in done.report.inputs
            }
            found = run(lifted, given)
            for f in done.report.outputs:
                array, wanted = found[lifted.outputs[f.feature]], want[model.outputs[f.name]]
                assert array.shape == (wanted.shape or (1,)), f.name
                np.testing.assert_allclose(
                    array.reshape(wanted.shape).astype(np.float64), wanted.astype(np.float64),
                    rtol=tolerance, atol=tolerance, err_msg=f.name,
                )  # fmt: skip
    return done
