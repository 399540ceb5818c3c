"""Keeping coremltools from what it knows of a value in part.

Its ``concat`` joins constants and symbols for the other elements in an array of objects. A slice of that with no symbol
in it counts as a constant, of another element type than the op's; constant folding then fails on it, and NumPy's
functions on whatever is computed from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def forget_part(var: Any) -> None:
    """Let nothing be known of a var whose elements are known in part, now and when its value is inferred again."""
    if var.sym_val is not None and var.val is None:
        var._sym_val = None
        var.op.value_inference = _unknown


def forget_parts(program: Any) -> None:
    """The same for every var of a program, and for all that was computed from one."""
    tainted: set[int] = set()
    for function in program.functions.values():
        for op in _ops(function):
            of_part = any(id(var) in tainted for var in op.get_flattened_inputs())
            for var in op.outputs:
                if of_part or (var.sym_val is not None and var.val is None):
                    tainted.add(id(var))
                    forget_part(var)
                    var._sym_val = None


def _unknown() -> None:
    """What an op says of its value that it cannot infer."""


def _ops(block: Any) -> Iterator[Any]:
    for op in block.operations:
        for inner in op.blocks:
            yield from _ops(inner)
        yield op
