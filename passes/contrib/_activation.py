"""Activations that onnxruntime fuses into the op before them."""

from __future__ import annotations

from typing import Any

from coregraft.passes.decompose._base import scalar
from coregraft.rewriter.passes import NoMatch, OpBuilder, ValueView

#: What each activation takes, in the order of ``activation_params``; nothing for those without parameters.
PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "HardSwish", "Softplus", "Softsign"), ()),
    "Clip": ("min", "max"),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "Celu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "ParametricSoftplus": ("alpha", "beta"),
    "ScaledTanh": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}


def activated(op: OpBuilder, x: ValueView, kind: str, given: dict[str, float]) -> Any:
    """An activation of ``x``, or why it cannot be built. ``given`` must hold what :data:`PARAMETERS` lists."""
    if kind not in PARAMETERS:
        return NoMatch("activation {} is none that onnxruntime fuses", kind)
    missing = [name for name in PARAMETERS[kind] if name not in given]
    if missing:
        return NoMatch("activation {} has no {}", kind, missing[0])
    values = {name: given[name] for name in PARAMETERS[kind]}
    if kind == "Clip":
        return op.Clip(x, scalar(op, values["min"], x), scalar(op, values["max"], x))
    if kind == "ScaledTanh":
        return op.Mul(op.Tanh(op.Mul(x, values["beta"])), values["alpha"])
    if kind == "ParametricSoftplus":
        return op.Mul(op.Softplus(op.Mul(x, values["beta"])), values["alpha"])
    return getattr(op, kind)(x, **values)
