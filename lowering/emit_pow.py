"""Pow. MIL's ``pow`` is not trusted with squares, constant bases and negative numbers (H3.14, H2.04)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.lowering.registry import lower
from coregraft.lowering.shaping import broadcast_to, full
from coregraft.lowering.sizes import Size, broadcast_sizes, sizes_of
from coregraft.lowering.vars import cast, folded, inverse, inverse_root, is_float, like, named, np_type
from coregraft.rewriter.graph import Op

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter


@lower("Pow")
def power(b: Emitter, op: Op) -> Any:
    """Constant exponents become products and roots, a constant base ``exp``; else ``pow`` of ``|x|``, signed."""
    x = b.var(op.inputs[0])
    exponent, base = b.const(op.inputs[1]), b.const(op.inputs[0])
    y = b.var(op.inputs[1])
    shape = broadcast_sizes(b, (x, y))
    if exponent is not None and exponent.size and bool((exponent == exponent.ravel()[0]).all()):
        name = b.name(op) if sizes_of(x) == shape else None
        found = _uniform(b, x, float(exponent.ravel()[0]), name)
        if found is not None:
            return found if name else broadcast_to(b, found, shape, b.name(op))
    if not is_float(x):
        return _of_integers(b, op, x, y)
    y = cast(b, y, np_type(x))
    if base is not None and base.size == 1 and float(base.reshape(())) > 0:
        return _of_constant(b, op, float(base.reshape(())), y, shape)
    if base is not None and bool((base >= 0).all()):
        return b.mb.pow(x=x, y=y, name=b.name(op))
    return _signed(b, op, x, y, shape)


def _uniform(b: Emitter, x: Any, e: float, name: str | None) -> Any:
    """``x`` to one power by products, roots and an inverse; None where only ``pow`` will do."""
    mb = b.mb
    whole = np.isfinite(e) and e == int(e) and abs(e) <= 64
    if whole and e >= 0:
        return _product(b, x, int(e), name)
    if not is_float(x):
        return None
    if whole:
        return inverse(b, _product(b, x, -int(e), None), name)
    if e == 0.5:
        return mb.sqrt(x=x, **named(name))
    if e == -0.5:
        return inverse_root(b, x, name)
    return mb.mul(x=x, y=mb.sqrt(x=x), **named(name)) if e == 1.5 else None


def _product(b: Emitter, x: Any, n: int, name: str | None) -> Any:
    """``x`` to a power ``n >= 0`` by squaring; ``x·x`` and never ``pow(x, 2)`` (H2.04)."""
    if n == 0:
        return full(b, sizes_of(x), 1, np_type(x), name)
    if n == 1:
        return x
    if n % 2:
        return b.mb.mul(x=_product(b, x, n - 1, None), y=x, **named(name))
    root = _product(b, x, n // 2, None)
    return b.mb.mul(x=root, y=root, **named(name))


def _of_constant(b: Emitter, op: Op, base: float, y: Any, shape: Sequence[Size]) -> Any:
    """A positive constant to a power: ``pow(2, y)`` has been seen computed as y² (H3.14)."""
    y = broadcast_to(b, y, shape)
    if base == 2:
        return b.mb.exp2(x=y, name=b.name(op))
    return b.mb.exp(x=b.mb.mul(x=y, y=like(y, np.log(base))[()]), name=b.name(op))


def _of_integers(b: Emitter, op: Op, x: Any, y: Any) -> Any:
    """Integer bases: ``pow`` on int32 for integer exponents, else in fp32 and truncated, as a C cast does."""
    if not is_float(y):
        return _pow(b, x, y, b.name(op))
    real = _pow(b, b.mb.cast(x=x, dtype="fp32"), cast(b, y, np.float32))
    return b.mb.cast(x=real, dtype="int32", name=b.name(op))


def _signed(b: Emitter, op: Op, x: Any, y: Any, shape: Sequence[Size]) -> Any:
    """``pow`` of ``|x|``; where x is negative, with the sign that a whole y gives it, or NaN. Infinity is even."""
    mb = b.mb
    size = _pow(b, folded(b, "abs", x), y)
    sign = _computed_sign(b, x, y) if y.val is None else like(x, _sign(y.val))
    negative = broadcast_to(b, mb.less(x=x, y=like(x, 0)), shape)
    return mb.select(cond=negative, a=mb.mul(x=size, y=sign), b=size, name=b.name(op))


def _sign(y: Any) -> Any:
    """The sign of a negative number to the power y. Not left to coremltools: it folds fp16 numbers to fp32 ones."""
    y = np.asarray(y, np.float64)
    with np.errstate(invalid="ignore"):  # the remainder of infinity
        odd = np.mod(y, 2) == 1
    return np.where(np.floor(y) == y, np.where(odd, -1.0, 1.0), np.nan)


def _computed_sign(b: Emitter, x: Any, y: Any) -> Any:
    mb = b.mb
    half, one, two, nan = (like(x, v) for v in (0.5, 1, 2, np.nan))
    rest = mb.sub(x=y, y=mb.mul(x=mb.floor(x=mb.mul(x=y, y=half)), y=two))
    sign = mb.sub(x=one, y=mb.mul(x=cast(b, mb.equal(x=rest, y=one), np_type(x)), y=two))
    return mb.select(cond=mb.equal(x=mb.floor(x=y), y=y), a=sign, b=nan)


def _pow(b: Emitter, x: Any, y: Any, name: str | None = None) -> Any:
    """``pow``. A neuralnetwork takes one number or a tensor of the run time: exponents are made to look like that."""
    if b.target.format == "neuralnetwork" and y.val is not None and y.rank:
        shape = broadcast_sizes(b, (x, y))
        anything, y = broadcast_to(b, b.mb.less(x=x, y=like(x, 0)), shape), broadcast_to(b, y, shape)
        y = b.mb.select(cond=anything, a=y, b=y)
    return b.mb.pow(x=x, y=y, **named(name))
