"""What a deployment target can take: a plain value that passes ask without knowing anything of Core ML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from coregraft.rewriter.graph import Op
from coregraft.rewriter.schema import attr, default
from coregraft.rewriter.types import DType

#: Deployment targets, oldest first; each takes what those before it take.
ORDER: tuple[str, ...] = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
FORMATS: tuple[str, ...] = ("mlprogram", "neuralnetwork")


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment target in one of the two model formats.

    Attributes:
        name: deployment target, one of :data:`ORDER`; ``any`` for :meth:`any`.
        format: ``mlprogram`` or ``neuralnetwork``.
        ops: (domain, op type) -> the attributes that its emitter honours; None when everything is supported.
        max_rank: highest rank a tensor may have; None without a limit.
        io_dtypes: element types that a model's inputs and outputs can have as they are.
        has_fp16: whether values can be computed in fp16 of the graph's own choosing.
    """

    name: str
    format: str
    ops: Mapping[tuple[str, str], frozenset[str]] | None = field(default=None, hash=False)
    max_rank: int | None = None
    io_dtypes: frozenset[DType] = frozenset(DType)
    has_fp16: bool = True

    @staticmethod
    def any() -> Target:
        """The target that supports every op, for rewriting ONNX to ONNX."""
        return Target("any", "onnx")

    def supports(self, op: Op) -> bool:
        """Whether an op as it stands, attributes included, has a lowering."""
        return self.why_not(op) is None

    def why_not(self, op: Op) -> str | None:
        """Why an op has no lowering here, as a phrase for a message; None when it has one."""
        if self.ops is None:
            return None
        honoured = self.ops.get(op.key)
        if honoured is None:
            return f"no lowering for {self}"
        for name, value in sorted(unhonoured(op, honoured).items()):
            return f"attribute {name}={value!r} is not honoured for {self}"
        return None

    def __str__(self) -> str:
        return f"{self.name} {self.format}"


def unhonoured(op: Op, honoured: frozenset[str]) -> dict[str, object]:
    """The attributes of an op that matter (differ from the schema default) and are not in ``honoured``."""
    return {
        name: attr(op, name)
        for name, value in op.attrs.items()
        if name not in honoured and value != default(op.domain, op.type, name)
    }


def frozen_ops(ops: Mapping[tuple[str, str], frozenset[str]]) -> Mapping[tuple[str, str], frozenset[str]]:
    """A read-only copy in a fixed order, as :attr:`Target.ops` wants it."""
    return MappingProxyType(dict(sorted(ops.items())))
