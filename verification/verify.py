"""Does a package compute what the model it was made from computes?

The source runs in onnxruntime with its own rewrites off. The package runs the same way, lifted back to ONNX; on macOS
it can run in Core ML too, side by side. Several draws of seeded inputs; every output; every layer, where asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coregraft.custom_layers.evaluate import NO_REFERENCES, References
from coregraft.rewriter.errors import InputError, UsageError
from coregraft.rewriter.execute import Runner, UnrunnableError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array, DType
from coregraft.verification.compare import TOLERANCES, Comparison, Tolerance, bounded_values, compare
from coregraft.verification.device import check_device
from coregraft.verification.drift import drift, in_chunks, match_values
from coregraft.verification.features import Features, match_features, pin_sizes
from coregraft.verification.inputs import described, feeds_for
from coregraft.verification.network import has_layers, verify_network
from coregraft.verification.parts import is_parts, verify_parts
from coregraft.verification.result import Verification, worst
from coregraft.verification.source import source_graph

#: In half precision, values inside whose reference is beyond this are masks and the like, bounded on purpose (H3.01).
HALF_LIMIT = 3e4


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
    references: References = NO_REFERENCES,
    fp16: Literal["simulate", "exact"] = "simulate",
) -> Verification:
    """Compare a package with the model it was made from.

    Ops that the app runs (custom layers, islands of a model in parts) are computed by their NumPy references on both
    sides: what is compared is all the rest. Such a package has no drift, and runs on no device here.

    Args:
        source: anything :func:`coregraft.convert` takes. Its symbolic dims get the sizes of the package's inputs.
        package: path of a ``.mlpackage``, ``.mlmodel`` or ``.parts`` folder, or a graph lifted from one of the first
            two.
        inputs: by input name; seeded draws of the right kind when None.
        draws: how many draws of seeded inputs.
        layers: also compare values inside, on the first draw.
        tolerance: in place of that of the package's precision.
        seed: of the first draw; the next have the next ones.
        devices: ``cpu``, ``gpu``, ``ane`` or ``all``: also run the package in Core ML there (macOS).
        references: by (domain, op type), besides those of registered custom layers.
        fp16: as in :func:`coregraft.lowering.lift.lift`.

    Raises:
        UsageError: ``draws-invalid``, ``inputs-mismatch``, ``package-mismatch``, ``reference-result``;
            ``device-unknown``, ``device-unavailable``.
        InputError: source or package cannot be read; ``source-unrunnable``.
        UnsupportedError: ``lift-op-unsupported``; ``reference-missing``.
    """
    if devices and isinstance(package, Graph):
        raise UsageError("device-unavailable", "a lifted graph does not run in Core ML", hint="give the package's path")
    for device in devices:
        check_device(device)
    drawn: dict[str, Any] = {"inputs": inputs, "draws": draws, "seed": seed, "tolerance": tolerance}
    if not isinstance(package, Graph) and is_parts(package):
        _require_no_devices(devices, "a model in parts")
        return verify_parts(source, package, **drawn, references=references, fp16=fp16)
    lifted = package if isinstance(package, Graph) else _lift(package, fp16)
    if has_layers(lifted):
        _require_no_devices(devices, "a network with custom layers")
        return verify_network(source, lifted, **drawn, references=references)
    graph = source_graph(source)
    features = match_features(graph, lifted)
    pin_sizes(graph, lifted, features)
    precision = "fp16" if _has_half(lifted) else "fp32"
    allowed = tolerance or TOLERANCES[precision]
    feeds = feeds_for(graph, inputs, draws, seed)
    chunks = in_chunks(graph, match_values(graph, lifted)) if layers else [[]]
    outputs = [(graph.outputs[ours], lifted.outputs[theirs]) for ours, theirs in features.outputs.items()]
    sides = _Sides(graph, lifted, features, feeds)
    bounded = bounded_values(graph)
    compared: list[Comparison] = []
    values: dict[str, Comparison] = {}
    expected: list[dict[str, Array]] = []
    for i, (wanted, found) in enumerate(sides.run(outputs, chunks[0])):
        expected.append({public: wanted[graph.outputs[public]] for public in features.outputs})
        for public, (ours, theirs) in zip(features.outputs, outputs, strict=True):
            told = features.worded(public, found[theirs])
            compared.append(compare(public, wanted[ours], told, allowed, bounded=ours in bounded))
        if i == 0:
            values |= _compared(chunks[0], wanted, found, allowed, bounded, precision)
    for chunk in chunks[1:]:
        values |= _compared(chunk, *sides.run([], chunk)[0], allowed, bounded, precision)
    given_to = [features.translate(feed, lifted) for feed in feeds] if devices else []
    on_device = {d: _on_device(package, d, features, given_to, expected, allowed) for d in devices}
    return Verification(
        ok=all(c.ok for found in (compared, *on_device.values()) for c in found),
        precision=precision,
        tolerance=allowed,
        outputs=worst(compared),
        drift=drift(graph, values) if layers else None,
        inputs=described(graph, inputs),
        warnings=tuple(lifted.graph.get("lift_warnings", ())),
        devices=on_device,
    )


def _require_no_devices(devices: Sequence[str], what: str) -> None:
    if devices:
        text = f"{what} runs in an app with the Swift classes of its ops only"
        raise UsageError("device-unavailable", text, hint="leave --device out")


def _on_device(
    package: str | Path | Graph,
    device: str,
    features: Features,
    feeds: Sequence[Mapping[str, Array]],
    expected: Sequence[Mapping[str, Array]],
    allowed: Tolerance,
) -> tuple[Comparison, ...]:
    """For each output the worst comparison of what Core ML computes on a device with the source."""
    from coregraft.verification.device import predict

    assert not isinstance(package, Graph)  # verify() has refused it
    compared = []
    for wanted, got in zip(expected, predict(Path(package), feeds, device), strict=True):
        for public, feature in features.outputs.items():
            if feature not in got:
                compared.append(Comparison(public, False, f'Core ML has no output "{feature}"'))
                continue
            compared.append(compare(public, wanted[public], features.worded(public, got[feature]), allowed))
    return worst(compared)


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


def _has_half(lifted: Graph) -> bool:
    """Whether the package computes anything in half precision."""
    if "lift_half" in lifted.graph:
        return bool(lifted.graph["lift_half"])
    return any((k := lifted.tensor_type(v)) is not None and k.dtype is DType.FLOAT16 for v in lifted.values())


def _lift(path: str | Path, fp16: Literal["simulate", "exact"]) -> Graph:
    from coregraft.lowering.lift import lift

    if not Path(path).exists():
        raise InputError("package-not-found", "there is no such package", node=str(path))
    return lift(path, fp16=fp16, custom=True)
