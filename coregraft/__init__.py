"""coregraft: a linter and compiler that takes ONNX models to Core ML.

The public names are loaded on first use: ``import coregraft`` imports none of coremltools, onnx or onnxruntime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coregraft.lowering.convert import Conversion, convert
    from coregraft.lowering.lift import lift
    from coregraft.lowering.targets import get as target
    from coregraft.rewriter.contract import Context, Equivalence, Fact, Finding, Pass
    from coregraft.rewriter.errors import CoregraftError
    from coregraft.rewriter.graph import Graph, Op
    from coregraft.rewriter.manager import PassManager, PipelineResult
    from coregraft.rewriter.onnx_io.gs import from_graphsurgeon, to_graphsurgeon
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.registry import Plugin
    from coregraft.rewriter.rule import Rule, RuleGroup
    from coregraft.rewriter.target import Target
    from coregraft.rewriter.types import Const, DType, TensorType
    from coregraft.verification.verify import verify

__version__ = "0.1.0"

_WHERE = {
    "Const": "coregraft.rewriter.types",
    "Context": "coregraft.rewriter.contract",
    "Conversion": "coregraft.lowering.convert",
    "CoregraftError": "coregraft.rewriter.errors",
    "DType": "coregraft.rewriter.types",
    "Equivalence": "coregraft.rewriter.contract",
    "Fact": "coregraft.rewriter.contract",
    "Finding": "coregraft.rewriter.contract",
    "Graph": "coregraft.rewriter.graph",
    "Op": "coregraft.rewriter.graph",
    "Pass": "coregraft.rewriter.contract",
    "PassManager": "coregraft.rewriter.manager",
    "PipelineResult": "coregraft.rewriter.manager",
    "Plugin": "coregraft.rewriter.registry",
    "Rule": "coregraft.rewriter.rule",
    "RuleGroup": "coregraft.rewriter.rule",
    "Target": "coregraft.rewriter.target",
    "TensorType": "coregraft.rewriter.types",
    "convert": "coregraft.lowering.convert",
    "from_graphsurgeon": "coregraft.rewriter.onnx_io.gs",
    "lift": "coregraft.lowering.lift",
    "load": "coregraft.rewriter.onnx_io.load",
    "save": "coregraft.rewriter.onnx_io.save",
    "target": "coregraft.lowering.targets:get",
    "to_graphsurgeon": "coregraft.rewriter.onnx_io.gs",
    "verify": "coregraft.verification.verify",
}

__all__ = [
    "Const",
    "Context",
    "Conversion",
    "CoregraftError",
    "DType",
    "Equivalence",
    "Fact",
    "Finding",
    "Graph",
    "Op",
    "Pass",
    "PassManager",
    "PipelineResult",
    "Plugin",
    "Rule",
    "RuleGroup",
    "Target",
    "TensorType",
    "__version__",
    "convert",
    "from_graphsurgeon",
    "lift",
    "load",
    "save",
    "target",
    "to_graphsurgeon",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'coregraft' has no attribute {name!r}")
    module, _, attribute = _WHERE[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
