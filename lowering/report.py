"""What a conversion did, as plain data: for people, for ``--json``, for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coregraft.lowering.pipeline import operations
from coregraft.lowering.program import Feature, all_ops
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassReport


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
        target, format, precision, coremltools_pipeline: what was asked for.
        ops_before, ops_after: ONNX op counts by type as loaded and as lowered, bodies included.
        mil_ops: operation counts of the package by MIL type, constants left out.
        passes: a report for each pass that ran.
        fallbacks: one entry for each op that has no lowering of its own: what became of it.
        weight_bytes: bytes of the constants in the package.
        inputs, outputs: the package's features and what they are in the ONNX model.
        names: ONNX value name -> MIL name.
        warnings: remarks that the user should see.
    """

    target: str
    format: str
    precision: str
    coremltools_pipeline: str
    ops_before: Mapping[str, int]
    ops_after: Mapping[str, int]
    mil_ops: Mapping[str, int]
    passes: Sequence[PassReport]
    fallbacks: Sequence[Mapping[str, str]]
    weight_bytes: int
    inputs: Sequence[Feature]
    outputs: Sequence[Feature]
    names: Mapping[str, str]
    warnings: Sequence[str] = field(default_factory=tuple)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values; CPU times are left out, so that it is the same on every run."""
        return {
            "target": self.target,
            "format": self.format,
            "precision": self.precision,
            "coremltools_pipeline": self.coremltools_pipeline,
            "ops_before": dict(self.ops_before),
            "ops_after": dict(self.ops_after),
            "mil_ops": dict(self.mil_ops),
            "passes": [
                {
                    "pass": p.spec,
                    "ops_before": p.ops_before,
                    "ops_after": p.ops_after,
                    "counts": dict(sorted(p.counts.items())),
                    "notes": list(p.notes),
                }
                for p in self.passes
                if p.changed
            ],
            "fallbacks": [dict(entry) for entry in self.fallbacks],
            "weight_bytes": self.weight_bytes,
            "inputs": [feature.as_dict() for feature in self.inputs],
            "outputs": [feature.as_dict() for feature in self.outputs],
            "names": dict(self.names),
            "warnings": list(self.warnings),
        }


def count_ops(graph: Graph) -> dict[str, int]:
    """Ops by type (with the domain where it is not ONNX's own), bodies included; sorted by type."""
    found = Counter(f"{op.domain}.{op.type}" if op.domain else op.type for op in all_ops(graph))
    return dict(sorted(found.items()))


def count_operations(program: Any) -> dict[str, int]:
    """Operations of a MIL program by type, constants left out; sorted by type."""
    found = Counter(str(op.op_type) for op in operations(program) if op.op_type != "const")
    return dict(sorted(found.items()))


def weight_bytes(program: Any) -> int:
    """Bytes of the constants of a MIL program."""
    return sum(int(getattr(op.val.val, "nbytes", 0)) for op in operations(program) if op.op_type == "const")
