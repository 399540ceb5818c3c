"""Rules of ours that are only there to be timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.rewriter.contract import Equivalence
from coregraft.rewriter.rule import Rule


@dataclass(frozen=True)
class Never(Rule):
    """A rule that looks like the workloads' own blocks and matches none of them."""

    equivalence: ClassVar = Equivalence.BIT_EXACT

    def pattern(self, op: Any, x: Any, w: Any, s: Any, b: Any, m: Any, v: Any) -> Any:
        return op.Relu(op.BatchNormalization(op.MatMul(x, w), s, b, m, v))

    def replacement(self, op: Any, m: Any) -> Any:
        return op.Relu(op.MatMul(m.x, m.w))


@dataclass(frozen=True)
class AddThenRelu(Rule):
    """Two ops to one, without any arithmetic."""

    equivalence: ClassVar = Equivalence.BIT_EXACT

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        return op.Relu(op.Add(x, y))

    def replacement(self, op: Any, m: Any) -> Any:
        return op.domain("benchmark").AddRelu(m.x, m.y)


@dataclass(frozen=True)
class Chain(Rule):
    """``root`` of ``inner`` of something that the workloads do not have."""

    equivalence: ClassVar = Equivalence.BIT_EXACT
    root: str = ""
    inner: str = ""

    def pattern(self, op: Any, x: Any) -> Any:
        return getattr(op, self.root)(getattr(op, self.inner)(op.Selu(x)))

    def replacement(self, op: Any, m: Any) -> Any:
        return m.x


def fifty() -> list[Rule]:
    """Fifty rules that match nothing: :class:`Never` and others rooted at ops that the workloads are made of."""
    roots = ("Relu", "Transpose", "Softmax", "Identity", "Erf", "Sqrt", "Shape", "ReduceMean")
    inner = ("Relu", "Transpose", "Softmax", "Identity", "Erf", "Sqrt", "ReduceMean")
    chains = [Chain(r, i) for r in roots for i in inner]
    return [Never(), *chains[:49]]
