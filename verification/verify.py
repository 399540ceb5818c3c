"""Does a package compute what the model it was made from computes?

The source runs in onnxruntime with its own rewrites off. The package runs the same way, lifted back to ONNX; on macOS
it can run in Core ML too, side by side. Several draws of seeded inputs; every output; every layer, where asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coregraft.lowering.names import Names, legal
from coregraft.rewriter.errors import InputError, UsageError
from coregraft.rewriter.execute import Runner, UnrunnableError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.shapes.dims import pin_dims
from coregraft.rewriter.types import Array, DType
from coregraft.verification.compare import TOLERANCES, Comparison, Tolerance, bounded_values, compare
from coregraft.verification.drift import Drift, drift, in_chunks, match_values
from coregraft.verification.inputs import draw, given, kinds
from coregraft.verification.source import source_graph

#: In half precision, values inside whose reference is beyond this are masks and the like, bounded on purpose (H3.01).
HALF_LIMIT = 3e4


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


def verify(
    source: Any,
    package: str | Path | Graph,
    *,
    inputs: Mapping[str, Array] | None = None,
    draws: int = 3,
    layers: bool = True,
    tolerance: Tolerance | None = None,
    seed: int = 0,
    devices: Sequence[str] = (),
) -> Verification:
    """Compare a package with the model it was made from.

    Args:
        source: anything :func:`coregraft.convert` takes. Its symbolic dims get the sizes of the package's inputs.
        package: path of a ``.mlpackage`` or ``.mlmodel``, or a graph lifted from one.
        inputs: by input name; seeded draws of the right kind when None.
        draws: how many draws of seeded inputs.
        layers: also compare values inside, on the first draw.
        tolerance: in place of that of the package's precision.
        devices: ``cpu``, ``gpu``, ``ane`` or ``all``: also run the package in Core ML there (macOS).

    Raises:
        UsageError: ``inputs-mismatch``, ``package-mismatch``; ``device-unknown``, ``device-unavailable``.
        InputError: source or package cannot be read; ``source-unrunnable``.
        UnsupportedError: ``lift-op-unsupported``.
    """
    lifted = package if isinstance(package, Graph) else _lift(package)
    graph = source_graph(source)
    features = match_features(graph, lifted)
    pin_dims(graph, {}, {v: shape for v, f in features.inputs.items() if (shape := _shape(graph, lifted, v, f))})
    precision = "fp16" if _has_half(lifted) else "fp32"
    allowed = tolerance or TOLERANCES[precision]
    feeds = [given(graph, inputs)] if inputs is not None else [draw(graph, seed + i) for i in range(draws)]
    chunks = in_chunks(graph, match_values(graph, lifted)) if layers else [[]]
    outputs = [(graph.outputs[ours], lifted.outputs[theirs]) for ours, theirs in features.outputs.items()]
    sides = _Sides(graph, lifted, features, feeds)
    bounded = bounded_values(graph)
    worst: dict[str, Comparison] = {}
    values: dict[str, Comparison] = {}
    references: list[dict[str, Array]] = []
    for i, (wanted, found) in enumerate(sides.run(outputs, chunks[0])):
        references.append({public: wanted[graph.outputs[public]] for public in features.outputs})
        for public, (ours, theirs) in zip(features.outputs, outputs, strict=True):
            now = compare(public, wanted[ours], found[theirs], allowed, bounded=ours in bounded)
            if public not in worst or _worse(now, worst[public]):
                worst[public] = now
        if i == 0:
            values |= _compared(chunks[0], wanted, found, allowed, bounded, precision)
    for chunk in chunks[1:]:
        values |= _compared(chunk, *sides.run([], chunk)[0], allowed, bounded, precision)
    on_device = {d: _on_device(package, d, lifted, features, feeds, references, allowed) for d in devices}
    return Verification(
        ok=all(c.ok for found in (worst.values(), *on_device.values()) for c in found),
        precision=precision,
        tolerance=allowed,
        outputs=tuple(worst.values()),
        drift=drift(graph, values) if layers else None,
        inputs=dict.fromkeys(graph.inputs, "given") if inputs is not None else _said(graph),
        warnings=tuple(lifted.graph.get("lift_warnings", ())),
        devices=on_device,
    )


def _on_device(
    package: str | Path | Graph,
    device: str,
    lifted: Graph,
    features: Features,
    feeds: Sequence[Mapping[str, Array]],
    references: Sequence[Mapping[str, Array]],
    allowed: Tolerance,
) -> tuple[Comparison, ...]:
    """For each output the worst comparison of what Core ML computes on a device with the source."""
    from coregraft.verification.device import predict

    if isinstance(package, Graph):
        raise UsageError("device-unavailable", "a lifted graph does not run in Core ML", hint="give the package's path")
    found = predict(Path(package), [features.translate(feed, lifted) for feed in feeds], device)
    worst: dict[str, Comparison] = {}
    for wanted, got in zip(references, found, strict=True):
        for public, feature in features.outputs.items():
            if feature not in got:
                worst[public] = Comparison(public, False, f'Core ML has no output "{feature}"')
                continue
            now = compare(public, wanted[public], got[feature], allowed)
            if public not in worst or _worse(now, worst[public]):
                worst[public] = now
    return tuple(worst.values())


@dataclass(frozen=True)
class _Sides:
    """Source and package, and what both are fed. They run one after the other: only one has its weights in memory."""

    graph: Graph
    lifted: Graph
    features: Features
    feeds: Sequence[Mapping[str, Array]]

    def run(
        self, outputs: Sequence[tuple[str, str]], layers: Sequence[tuple[str, str]]
    ) -> list[tuple[dict[str, Array], dict[str, Array]]]:
        """Values of both sides: of the first feed all of them, of the others the outputs.

        Raises:
            InputError: ``source-unrunnable``.
            UnrunnableError: it is the package that does not run.
        """
        feeds = self.feeds if outputs else self.feeds[:1]
        try:
            wanted = _runs(self.graph, feeds, [v for v, _ in outputs], [v for v, _ in layers])
        except UnrunnableError as error:
            hint = "onnxruntime must be able to run the model that a package is compared with"
            raise InputError("source-unrunnable", error.message, hint=hint) from error
        given_to = [self.features.translate(feed, self.lifted) for feed in feeds]
        found = _runs(self.lifted, given_to, [v for _, v in outputs], [v for _, v in layers])
        return list(zip(wanted, found, strict=True))


def _runs(
    graph: Graph, feeds: Sequence[Mapping[str, Array]], outputs: Sequence[str], layers: Sequence[str]
) -> list[dict[str, Array]]:
    runner = Runner(graph, [*outputs, *layers])
    return [runner.run(feed, only=outputs if i else None) for i, feed in enumerate(feeds)]


def _compared(
    pairs: Sequence[tuple[str, str]],
    wanted: Mapping[str, Array],
    found: Mapping[str, Array],
    allowed: Tolerance,
    bounded: Collection[str],
    precision: str,
) -> dict[str, Comparison]:
    limit = HALF_LIMIT if precision == "fp16" else np.inf
    return {
        ours: compare(ours, wanted[ours], found[theirs], allowed, limit=limit, bounded=ours in bounded)
        for ours, theirs in pairs
    }


@dataclass(frozen=True)
class Features:
    """How the source's inputs and outputs are called in the package."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def translate(self, feed: Mapping[str, Array], lifted: Graph) -> dict[str, Array]:
        """A feed for the package: its names, types and ranks; inputs that it does not have are left out."""
        given_to = {}
        for name, feature in self.inputs.items():
            kind = lifted.tensor_type(feature)
            array = np.asarray(feed[name])
            if kind is not None:
                array = array.astype(kind.dtype.numpy)
                if kind.static_shape is not None:
                    array = array.reshape(kind.static_shape)
            given_to[feature] = array
        return given_to


def match_features(graph: Graph, lifted: Graph) -> Features:
    """Match inputs and outputs by name, spelt as Core ML spells it, or, where no name fits, by place.

    Raises:
        UsageError: ``package-mismatch`` when that leaves an input of the package or an output without partner.
    """
    names = Names()  # those of a package of ours are given out in this order
    spelt_inputs, spelt_outputs = ({name: names.take(name) for name in side} for side in (graph.inputs, graph.outputs))
    inputs = _pair(spelt_inputs, list(lifted.inputs), optional=True)
    outputs = _pair(spelt_outputs, list(lifted.outputs), optional=False)
    return Features(inputs, outputs)


def _pair(spelt: Mapping[str, str], theirs: list[str], *, optional: bool) -> dict[str, str]:
    """Our names to theirs.

    Args:
        spelt: our names, and how a package of ours spells each.
        optional: one of ours may be missing there.
    """
    pairs = {}
    left, ours = list(theirs), list(spelt)
    for name in ours:
        match = next((t for t in (spelt[name], name, legal(name)) if t in left), None)
        if match is not None:
            pairs[name] = match
            left.remove(match)
    missing = [name for name in ours if name not in pairs]
    if len(missing) == len(left):
        pairs.update(zip(missing, left, strict=True))
    elif left or not optional:
        text = f"model has {ours}, package has {theirs}"
        raise UsageError("package-mismatch", text, hint="is it made from this model?")
    return pairs


def _shape(graph: Graph, lifted: Graph, value: str, feature: str) -> tuple[int, ...] | None:
    ours, theirs = graph.tensor_type(value), lifted.tensor_type(feature)
    shape = None if theirs is None else theirs.static_shape
    if shape is None or ours is None or ours.static_shape is not None:
        return None
    return () if ours.rank == 0 else shape


def _said(graph: Graph) -> dict[str, str]:
    return {name: kind.name for name, kind in kinds(graph).items()}


def _has_half(lifted: Graph) -> bool:
    """Whether the package computes anything in half precision."""
    if "lift_half" in lifted.graph:
        return bool(lifted.graph["lift_half"])
    return any((k := lifted.tensor_type(v)) is not None and k.dtype is DType.FLOAT16 for v in lifted.values())


def _worse(a: Comparison, b: Comparison) -> bool:
    if a.ok != b.ok:
        return not a.ok
    return (a.relative_l2 or a.mismatches or 0.0) > (b.relative_l2 or b.mismatches or 0.0)


def _lift(path: str | Path) -> Graph:
    from coregraft.lowering.lift import lift

    if not Path(path).exists():
        raise InputError("package-not-found", "there is no such package", node=str(path))
    return lift(path)
