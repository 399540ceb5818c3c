"""Optional values of which it is known whether they are there, dissolved into what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, operand
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, ValueView
from coregraft.rewriter.types import OpaqueType


@dataclass(frozen=True)
class DissolveOptionals(Decomposition):
    """Replace optional values by what is in them, and the question whether something is by the answer.

    What it does
    ------------
    OptionalGetElement of what Optional made, or of a value that is not optional at all, becomes that value.
    OptionalHasElement becomes true for those, and false for an Optional without an operand and where the operand is
    left out. An Optional that nobody reads any more is dead code. An optional input of the model stays: whether it is
    there is only known at run time. Fires for every target.

    Why it matters
    --------------
    Core ML has no optional values.

    Example
    -------
    ``o = Optional(x)``, ``y = OptionalGetElement(o)`` becomes ``x``.

    Equivalence
    -----------
    Bit-exact: nothing is computed.

    Sources
    -------
    H5.11; ONNX OptionalGetElement-18, OptionalHasElement-18.
    """

    code: ClassVar[str] = "CG511"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("OptionalGetElement", "OptionalHasElement")

    def build(self, op: OpBuilder, node: OpView) -> Any:
        held = _held(operand(node, 0))
        if isinstance(held, NoMatch):
            return held
        if node.type == "OptionalHasElement":
            return op.const(np.array(held is not None))
        return NoMatch("the optional value that it reads is empty") if held is None else held


def _held(value: ValueView | None) -> ValueView | NoMatch | None:
    """What an optional value holds: None where it is empty, a :class:`NoMatch` where that is not known."""
    if value is None:
        return None
    maker = value.producer
    if maker is not None and maker.type == "Optional":
        return operand(maker, 0)
    kind = value.graph.type_of(value.name)
    if kind is None or (isinstance(kind, OpaqueType) and _is_optional(kind)):
        return NoMatch("whether the optional value is there is only known at run time; pin it")
    return value


def _is_optional(kind: OpaqueType) -> bool:
    from onnx import TypeProto

    return bool(TypeProto.FromString(kind.proto).HasField("optional_type"))
