"""One-op graphs of onnxruntime's own ops, against onnxruntime's own kernels."""

from __future__ import annotations

from tests.passes.decompose.conftest import Harness, harness, rng

__all__ = ["Harness", "harness", "rng"]
