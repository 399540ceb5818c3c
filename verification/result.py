"""The outcome of a comparison of a package with its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from coregraft.verification.compare import Comparison, Tolerance
from coregraft.verification.drift import Drift


@dataclass(frozen=True)
class Verification:
    """The outcome.

    Attributes:
        ok: every output of every draw is within tolerance.
        precision: whose tolerance counts, ``fp16`` or ``fp32``.
        tolerance: what was allowed.
        outputs: for each output the worst comparison over the draws.
        drift: for each value that both sides have, where it was asked for; in program order.
        inputs: what each input was taken to hold.
        warnings: where Core ML leaves a case undefined, by the lift.
        devices: the same as ``outputs``, for each device that Core ML itself was asked for.
    """

    ok: bool
    precision: str
    tolerance: Tolerance
    outputs: Sequence[Comparison]
    drift: Drift | None
    inputs: Mapping[str, str]
    warnings: Sequence[str] = field(default_factory=tuple)
    devices: Mapping[str, Sequence[Comparison]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "precision": self.precision,
            "tolerance": asdict(self.tolerance),
            "outputs": [c.as_dict() for c in self.outputs],
            "drift": None if self.drift is None else self.drift.as_dict(),
            "inputs": dict(self.inputs),
            "warnings": list(self.warnings),
            "devices": {name: [c.as_dict() for c in found] for name, found in self.devices.items()},
        }


def worst(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Of each name the worst comparison, in the order in which the names come first."""
    found: dict[str, Comparison] = {}
    for now in comparisons:
        if now.name not in found or _badness(now) > _badness(found[now.name]):
            found[now.name] = now
    return tuple(found.values())


def _badness(c: Comparison) -> tuple[bool, float]:
    return not c.ok, c.relative_l2 or c.mismatches or 0.0
