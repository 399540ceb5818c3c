"""Sizes of tensors, of which some may depend on the data (H4.21).

A size is a number where it is known when the package is compiled. Else it is a :class:`Loose` one, or an int32 scalar
var computed from such: the run time reads it off the tensor. A tensor without elements is one of those cases: Core ML
rules them out where it sees them coming (H4.04), and what it does with one of the run time is not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


@dataclass(frozen=True, slots=True)
class Loose:
    """A size that only the run time knows.

    Attributes:
        symbol: coremltools' name for it: loose sizes with equal symbols are equal.
        var: a tensor that has it.
        axis: where the tensor has it.
    """

    symbol: Any
    var: Any = field(compare=False)
    axis: int = field(compare=False)


#: A number, a :class:`Loose` size, or an int32 scalar var.
Size = Any


def is_known(size: Size) -> bool:
    """Whether a size is a number."""
    return isinstance(size, (int, np.integer))


def sizes_of(var: Any) -> list[Size]:
    """The sizes of a MIL var."""
    return [int(d) if is_known(d) else Loose(d, var, i) for i, d in enumerate(var.shape)]


def run_time(b: Emitter, size: Size) -> Any:
    """A size as an operand: an int32 scalar."""
    if is_known(size):
        return np.int32(size)
    if isinstance(size, Loose):
        return b.mb.gather(x=b.mb.shape(x=size.var), indices=np.int32(size.axis), axis=0)
    return size


def vector(b: Emitter, sizes: Sequence[Size]) -> Any:
    """Sizes as one int32 vector: an array where all are numbers, else a var."""
    if all(map(is_known, sizes)):
        return np.array(sizes, np.int32)
    return b.mb.concat(values=[run_time(b, size) for size in sizes], axis=0)


def product(b: Emitter, sizes: Sequence[Size]) -> Size:
    """The product of some sizes: a number where all of them are."""
    factors = [size for size in sizes if not is_known(size)]
    known = math.prod(size for size in sizes if is_known(size))
    if known != 1 or not factors:
        factors.append(known)
    if len(factors) == 1:
        return factors[0]
    return reduce(lambda x, y: b.mb.mul(x=run_time(b, x), y=run_time(b, y)), factors)


def broadcast_sizes(b: Emitter, vars: Sequence[Any]) -> list[Size]:
    """The sizes that some vars have when they are broadcast against each other."""
    rank = max(len(var.shape) for var in vars)
    padded = [[1] * (rank - len(var.shape)) + sizes_of(var) for var in vars]
    return [reduce(lambda x, y: _joined(b, x, y), column) for column in zip(*padded, strict=True)]


def _joined(b: Emitter, x: Size, y: Size) -> Size:
    if x == 1 or x == y:
        return y
    if y == 1 or (is_known(x) and not is_known(y)):
        return x
    if is_known(y):
        return y
    return where_one(b, x, y, run_time(b, x))


def where_one(b: Emitter, size: Size, then: Size, otherwise: Size) -> Size:
    """``then`` where a size that depends on the data turns out to be 1, else ``otherwise``."""
    is_one = b.mb.equal(x=run_time(b, size), y=np.int32(1))
    return b.mb.select(cond=is_one, a=run_time(b, then), b=run_time(b, otherwise))
