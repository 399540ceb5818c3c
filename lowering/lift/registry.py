"""Which function lifts which MIL op: ``@lifts("conv", …)`` puts it in the table."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from coregraft.rewriter.errors import UsageError

if TYPE_CHECKING:
    from coregraft.lowering.lift.lifter import Lifter
    from coregraft.lowering.lift.spec import MilOp

LiftFn = Callable[["Lifter", "MilOp"], None]


@dataclass(frozen=True, slots=True)
class Lifting:
    """A function that lifts an op.

    Attributes:
        lift: defines each output of the op in the lifter's graph, under the name that ``l.out(op, i)`` gives.
        moves: the results' elements are all elements of the operands (or follow from them without rounding), so that
            simulated fp16 need not round them again.
    """

    lift: LiftFn
    moves: bool


_TABLE: dict[str, Lifting] = {}


def lifts(*types: str, moves: bool = False) -> Callable[[LiftFn], LiftFn]:
    """Register the decorated function for some MIL op types, in all op sets that have them.

    Args:
        types: MIL op types.
        moves: see :class:`Lifting`.

    Raises:
        UsageError: ``lifting-duplicate``.
    """

    def decorate(lift: LiftFn) -> LiftFn:
        for op_type in types:
            if op_type in _TABLE:
                raise UsageError("lifting-duplicate", f"two functions lift {op_type}")
            _TABLE[op_type] = Lifting(lift, moves)
        return lift

    return decorate


def table() -> Mapping[str, Lifting]:
    """MIL op type -> what lifts it."""
    _load_families()
    return MappingProxyType(_TABLE)


@functools.cache
def _load_families() -> None:
    """Import the modules ``lift_*`` beside this one, in the order of their names."""
    import coregraft.lowering.lift as room

    for module in sorted(m.name for m in pkgutil.iter_modules(room.__path__) if m.name.startswith("lift_")):
        importlib.import_module(f"coregraft.lowering.lift.{module}")
