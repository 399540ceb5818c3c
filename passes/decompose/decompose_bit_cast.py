"""BitCast by integer arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from coregraft.passes.decompose._base import Decomposition, need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView, Rewriter, ValueView
from coregraft.rewriter.types import DType

#: Integers whose bits are those of another: what differs is only how they are read, as with a Cast that wraps.
_AS_CAST = frozenset(
    {(DType.INT8, DType.UINT8), (DType.UINT8, DType.INT8), (DType.INT16, DType.UINT16), (DType.UINT16, DType.INT16)}
) | {(DType.UINT32, DType.INT32), (DType.BOOL, DType.UINT8), (DType.BOOL, DType.INT8)}
#: Float -> the integers that hold its bits. Bits of a negative float, read as uint32, leave int32.
_INTEGERS = {DType.FLOAT: (DType.INT32,), DType.FLOAT16: (DType.INT16, DType.UINT16)}


@dataclass(frozen=True)
class _Layout:
    """A binary float.

    Attributes:
        fraction: bits of it after the leading one.
        lowest, highest: exponents of the least and the greatest normal power of two.
        end: where infinity begins when numbers are rounded to the format.
    """

    fraction: int
    lowest: int
    highest: int
    end: float

    @property
    def unit(self) -> int:
        """The bits of what one step of the exponent adds."""
        return int(2**self.fraction)

    @property
    def infinity(self) -> int:
        return (self.highest - self.lowest + 2) * self.unit


_LAYOUTS = {DType.FLOAT: _Layout(23, -126, 127, math.inf), DType.FLOAT16: _Layout(10, -14, 15, 65520.0)}


@dataclass(frozen=True)
class DecomposeBitCast(Decomposition):
    """Read the bits of a tensor as another type, by arithmetic.

    What it does
    ------------
    Between integers of 8 and 16 bits, from uint32 to int32 and from bool it is a Cast that wraps. The bits of an fp32
    are an int32, and those of an fp16 an int16 or uint16: the exponent is found by a logarithm and put right by
    comparisons, everything else is scaled by powers of two, so that all finite numbers, the zeros of both signs and
    the infinities come out exactly, both ways. NaN loses its sign and payload. Types of 64 bits, int32 as uint32 (which
    Core ML holds in int32) and all others are refused; so are 32 bits in a neuralnetwork, whose integers have 24. Fires
    where the target has no lowering for the op.

    Why it matters
    --------------
    MIL cannot reinterpret the bits of a tensor.

    Example
    -------
    ``y = BitCast <to = uint8> (x: int8)`` becomes ``Cast <to = uint8> (x)``.

    Equivalence
    -----------
    Bit-exact but for NaN, and where a device keeps subnormal numbers and the sign of zero.

    Sources
    -------
    H4.26; ONNX BitCast-26; IEEE 754.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ("BitCast",)
    when_unsupported: ClassVar[bool] = True

    def match_and_rewrite(self, op_id: int, rw: Rewriter) -> bool | NoMatch:
        node = OpView(rw.graph, op_id)
        types = (need(node, 0).dtype, DType(node.attr("to")))
        if rw.target.format == "neuralnetwork" and DType.INT32 in types and types[0] is not types[1]:
            return NoMatch("a neuralnetwork holds integers in fp32, which has 24 bits, not 32")
        return super().match_and_rewrite(op_id, rw)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if x.dtype is None:
            return NoMatch("the type of its input is not known")
        source, target = x.dtype, DType(node.attr("to"))
        if source is target:
            return x
        if (source, target) in _AS_CAST:
            return op.Cast(x, to=int(target))
        if target in _INTEGERS.get(source, ()):
            return op.Cast(_bits(op, x, _LAYOUTS[source], _sign(target)), to=int(target))
        if source in _INTEGERS.get(target, ()):
            return op.Cast(_float(op, x, _LAYOUTS[target], _sign(source)), to=int(target))
        return NoMatch("the bits of {} cannot be read as {} in Core ML", source.name.lower(), target.name.lower())


def _sign(dtype: DType) -> int:
    """What the top bit of an integer type adds."""
    return int(2 ** (dtype.bits - 1)) * (1 if dtype.name.startswith("UINT") else -1)


def _bits(op: OpBuilder, x: ValueView, layout: _Layout, sign: int) -> Any:
    """The bits of floats, as int32."""
    real = op.Cast(x, to=int(DType.FLOAT)) if x.dtype is not DType.FLOAT else x
    size = op.Abs(real)
    finite = op.Less(size, _real(op, layout.end))
    held = op.Where(finite, size, _real(op, 1))
    # Right to within one, and held among the exponents that there are.
    guess = op.Floor(op.Mul(op.Log(held), _real(op, 1 / math.log(2))))
    guess = op.Clip(guess, _real(op, layout.lowest), _real(op, layout.highest))
    step = op.Cast(op.Sub(guess, _real(op, layout.lowest)), to=int(DType.INT32))
    # 2 to 4 where the guess is right: twice the number, so that no power of two in the table is subnormal.
    powers = np.array([math.ldexp(1, 1 - e) for e in range(layout.lowest, layout.highest + 1)], np.float32)
    scaled = op.Mul(held, op.Gather(op.const(powers), step, axis=0))
    above = op.GreaterOrEqual(scaled, _real(op, 4))
    below = op.And(op.Less(scaled, _real(op, 2)), op.Greater(step, _integer(op, 0)))
    scaled = op.Mul(scaled, op.Where(above, _real(op, 0.5), op.Where(below, _real(op, 2), _real(op, 1))))
    change = op.Where(above, _integer(op, 1), op.Where(below, _integer(op, -1), _integer(op, 0)))
    step = op.Add(step, change)
    # The leading one counts as a step of the exponent; a subnormal number has none.
    fraction = op.Cast(op.Round(op.Mul(scaled, _real(op, layout.unit // 2))), to=int(DType.INT32))
    bits = op.Add(op.Mul(step, _integer(op, layout.unit)), fraction)
    infinity, quiet = (_integer(op, layout.infinity + extra) for extra in (0, layout.unit // 2))
    no_number = op.Where(op.IsNaN(real), quiet, infinity)
    zero = _real(op, 0)
    negative = op.Or(op.Less(real, zero), op.Less(op.Div(_real(op, 1), real), zero))
    return op.Add(op.Where(finite, bits, no_number), op.Where(negative, _integer(op, sign), _integer(op, 0)))


def _float(op: OpBuilder, x: ValueView, layout: _Layout, sign: int) -> Any:
    """The floats that integers are the bits of, in fp32."""
    bits, zero = op.Cast(x, to=int(DType.INT32)), _integer(op, 0)
    negative = op.Less(bits, zero) if sign < 0 else op.GreaterOrEqual(bits, _integer(op, sign))
    bits = op.Sub(bits, op.Where(negative, _integer(op, sign), zero))
    step = op.Div(bits, _integer(op, layout.unit))
    fraction = op.Sub(bits, op.Mul(step, _integer(op, layout.unit)))
    normal = op.Cast(op.Greater(step, zero), to=int(DType.FLOAT))
    scaled = op.Add(op.Mul(op.Cast(fraction, to=int(DType.FLOAT)), _real(op, 1 / layout.unit)), normal)
    exponents = [layout.lowest, *range(layout.lowest, layout.highest + 1), 0]
    powers = np.array([math.ldexp(1, e) for e in exponents], np.float32)
    size = op.Mul(scaled, op.Gather(op.const(powers), step, axis=0))
    no_number = op.Where(op.Greater(fraction, zero), _real(op, math.nan), _real(op, math.inf))
    last = op.Equal(step, _integer(op, layout.infinity // layout.unit))
    # A product, since a choice between zeros of two signs may lose the sign.
    return op.Mul(op.Where(last, no_number, size), op.Where(negative, _real(op, -1), _real(op, 1)))


def _real(op: OpBuilder, value: float) -> Any:
    return op.const(np.array(value, np.float32))


def _integer(op: OpBuilder, value: int) -> Any:
    return op.const(np.array(value, np.int32))
