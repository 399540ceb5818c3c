"""A whole ML Program as a graph: its features as inputs and outputs, every op through the function that lifts it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from coregraft.lowering.lift.lifter import Fp16, Lifter, Session, opset_target
from coregraft.lowering.lift.registry import table
from coregraft.lowering.lift.spec import Block, Function, MilOp, Package, Slot
from coregraft.rewriter.errors import InputError, UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.opset import required_opset
from coregraft.rewriter.types import DType

#: The state's value after a run is read from the output of this name.
STATE_OUTPUT = "{}_after"


def lift_program(package: Package, *, function: str | None, strict: bool, fp16: Fp16) -> Graph:
    """The graph of one function of a package that holds an ML Program. See :func:`coregraft.lowering.lift.lift`."""
    description = package.model.description
    found = package.program().functions
    name = function or description.defaultFunctionName or "main"
    if name not in found:
        raise UsageError("function-unknown", f'there is no function "{name}"', hint=f"one of {', '.join(found)}")
    chosen: Function = found[name]
    opset_target(chosen.opset)
    _require_lifts(chosen.body)
    lifter = Lifter(Session(chosen.opset, strict, fp16))
    features = next((f for f in description.functions if f.name == name), description)
    for feature in features.input:
        _note_feature(lifter, feature)
    arguments = [_enter(lifter, slot) for slot in chosen.body.inputs]
    results = lifter.run(chosen.body, arguments)
    outputs = dict(zip(chosen.body.outputs, results, strict=True))
    for slot in chosen.body.inputs:
        if slot.kind == "state":
            outputs[STATE_OUTPUT.format(slot.name)] = lifter.resolve(slot.name)
    graph = lifter.graph
    graph.set_outputs(outputs)
    graph.set_opsets({"": required_opset(graph)})
    graph.name = name
    graph.graph["producer_name"] = "coregraft"
    graph.graph["lift_warnings"] = tuple(lifter.session.warnings)
    graph.graph["lift_half"] = _has_half(chosen.body)
    _describe(graph, description.metadata)
    return graph


def _require_lifts(body: Block) -> None:
    """Check that every op can be lifted.

    Raises:
        UnsupportedError: ``lift-op-unsupported`` naming each op type that cannot: how many, and the first one.
    """
    known = table()
    missing: dict[str, list[MilOp]] = defaultdict(list)
    for op in body.walk():
        if op.type != "const" and op.type not in known:
            missing[op.type].append(op)
    if missing:
        lines = [f'{kind} x{len(ops)} (first: "{ops[0].name}")' for kind, ops in sorted(missing.items())]
        raise UnsupportedError(
            "lift-op-unsupported", f"{len(lines)} kind(s) of op cannot be lifted: " + ", ".join(lines),
            node=missing[min(missing)][0].label,
        )  # fmt: skip


def _has_half(body: Block) -> bool:
    """Whether any value, weights included, is held in half precision."""
    slots = (slot for op in body.walk() for slot in op.outputs)
    return any(slot.type is not None and slot.type.dtype is DType.FLOAT16 for slot in slots)


def _enter(lifter: Lifter, slot: Slot) -> str:
    """The value of an input: as the caller feeds it, or rounded where the package takes fp16."""
    if slot.type is None or slot.type.dtype is DType.UNDEFINED:
        raise UnsupportedError("lift-type-unsupported", f'input "{slot.name}" is no tensor', node=slot.name)
    if slot.name in lifter.graph:
        raise InputError("package-broken", f'two inputs are called "{slot.name}"', node=slot.name)
    name = lifter.input(slot.name, slot.type)
    if lifter.simulates and slot.type.dtype is DType.FLOAT16:
        return lifter.round(name, lifter.session.fresh(f"{name}/rounded"))
    return name


def _note_feature(lifter: Lifter, feature: Any) -> None:
    kind = feature.type.WhichOneof("Type")
    warnings = lifter.session.warnings
    if kind == "imageType":
        image = feature.type.imageType
        space = image.ColorSpace.Name(image.colorSpace).lower()
        warnings[f'input "{feature.name}": an image ({space}); feed its pixels as a tensor [1,channels,H,W]'] = None
    if feature.type.isOptional:
        warnings[f'input "{feature.name}": optional in Core ML, to be fed here'] = None


def _describe(graph: Graph, metadata: Any) -> None:
    """Keep what the package says of itself."""
    if metadata.shortDescription:
        graph.graph["doc_string"] = metadata.shortDescription
    words = {"author": metadata.author, "license": metadata.license, "version": metadata.versionString}
    pairs = {**{k: v for k, v in words.items() if v}, **dict(metadata.userDefined)}
    if pairs:
        graph.graph["metadata"] = tuple(sorted(pairs.items()))
