"""Small builders over MIL vars that several emitter families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.rewriter.types import Array

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

#: MIL's names of the element types that its ops compute with.
_MIL_NAMES = {"float16": "fp16", "float32": "fp32", "int32": "int32", "bool": "bool", "int8": "int8", "uint8": "uint8"}


def np_type(var: Any) -> np.dtype[Any]:
    """The numpy dtype of a MIL var."""
    from coremltools.converters.mil.mil import types

    dtype: np.dtype[Any] = np.dtype(types.nptype_from_builtin(var.dtype))
    return dtype


def is_float(var: Any) -> bool:
    """Whether a MIL var holds fp16 or fp32."""
    return np_type(var).kind == "f"


def is_const(var: Any) -> bool:
    """Whether a MIL var is known when the package is compiled: a constant, or a compressed one.

    What coremltools itself asks, whether all the inputs of an op are constant, is not enough for Core ML.
    """
    return var.val is not None or is_compressed(var)


def is_compressed(var: Any) -> bool:
    """Whether a MIL var is a constant that the package holds compressed."""
    return var.op is not None and var.op.op_type.startswith("constexpr_")


def named(name: str | None) -> dict[str, str]:
    """The ``name`` argument of a builder call; empty where the builder is to choose."""
    return {} if name is None else {"name": name}


def like(var: Any, value: Any) -> Array:
    """A number or an array in the element type of a MIL var; a number comes as a scalar, as MIL wants it."""
    return np.asarray(value).astype(np_type(var))[()]


def folded(b: Emitter, kind: str, var: Any) -> Any:
    """``abs`` or ``sign`` of a var, at once where it is constant: coremltools folds a half-precision scalar to fp32."""
    return getattr(b.mb, kind)(x=var) if var.val is None else like(var, getattr(np, kind)(var.val))


def cast(b: Emitter, var: Any, dtype: Any, name: str | None = None) -> Any:
    """The var in another element type; the var itself when it has it already and needs no name."""
    target = np.dtype(dtype)
    if np_type(var) == target and name is None:
        return var
    if np_type(var) == target:
        return b.mb.identity(x=var, name=name)
    return b.mb.cast(x=var, dtype=_MIL_NAMES[target.name], **named(name))


def inverse(b: Emitter, var: Any, name: str | None = None) -> Any:
    """``1/x`` and nothing else: the epsilon of MIL's ``inverse`` is 1e-6 in a neuralnetwork when it is given as 0."""
    if b.target.format == "neuralnetwork":
        return b.mb.real_div(x=like(var, 1)[()], y=var, **named(name))
    return b.mb.inverse(x=var, epsilon=like(var, 0)[()], **named(name))


def inverse_root(b: Emitter, var: Any, name: str | None = None) -> Any:
    """``1/√x``, as :func:`inverse`."""
    if b.target.format == "neuralnetwork":
        return inverse(b, b.mb.sqrt(x=var), name)
    return b.mb.rsqrt(x=var, epsilon=like(var, 0)[()], **named(name))


def reshape(b: Emitter, var: Any, shape: Sequence[int], name: str | None = None) -> Any:
    """The var in another shape (one dim may be -1)."""
    return b.mb.reshape(x=var, shape=np.array(shape, np.int32), **named(name))


def transpose(b: Emitter, var: Any, perm: Sequence[int], name: str | None = None) -> Any:
    """The var with its axes in the order ``perm``."""
    return b.mb.transpose(x=var, perm=np.array(perm, np.int32), **named(name))


def channel_view(values: Array, rank: int, axis: int = 1) -> Array:
    """A vector as a tensor of ``rank`` dims that broadcasts along ``axis``."""
    return values.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def channel_var(b: Emitter, var: Any, rank: int, axis: int = 1) -> Any:
    """As :func:`channel_view`, for a vector that may be computed at run time."""
    if var.val is not None:
        return channel_view(var.val, rank, axis)
    return reshape(b, var, [-1 if i == axis % rank else 1 for i in range(rank)])
