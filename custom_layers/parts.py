"""The steps of a cut as graphs of their own, and those of Core ML as programs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coregraft.custom_layers.cut import Cut, Size, Step
from coregraft.custom_layers.layers import class_name
from coregraft.lowering import pipeline
from coregraft.lowering.metadata import Metadata, describe
from coregraft.lowering.program import Lowered, io_dtype, lower_graph
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import TensorType


@dataclass(frozen=True)
class Part:
    """A step that Core ML runs.

    Attributes:
        name: of its package, without the suffix.
        graph: what it computes; inputs and outputs are named as in the whole graph.
        lowered: the program, with its features.
        metadata: of its package.
    """

    name: str
    graph: Graph
    lowered: Lowered
    metadata: Metadata


@dataclass(frozen=True)
class Island:
    """A step that the app runs: one op.

    Attributes:
        name: unique among the islands, fit for a file name.
        graph: the op alone, its weights as constants; inputs and outputs are named as in the whole graph.
        op: the op.
        class_name: of the Swift class that runs it.
        why: why Core ML does not.
    """

    name: str
    graph: Graph
    op: Op
    class_name: str
    why: str


def wire_sizes(g: Graph, target: Target) -> Size:
    """Bytes of the values of a graph in the type in which they cross between parts: fp32 or int32, fp16 from iOS 16."""

    def size(value: str) -> int | None:
        kind = g.tensor_type(value)
        shape = kind.static_shape if kind is not None else None
        if kind is None or shape is None or (target.max_rank is not None and len(shape) > target.max_rank):
            return None
        try:
            dtype = io_dtype(kind.dtype, target, value)
        except UnsupportedError:
            return None
        return TensorType(dtype, shape).nbytes

    return size


def step_graph(g: Graph, ops: Iterable[int]) -> Graph:
    """Some ops of a graph as a graph of their own.

    Its inputs are the values that they read and others make, in the order of their use; its outputs those of their
    results that others read or that are outputs of the whole, in the order of production. Constants are shared.
    """
    ops = list(ops)
    inside = set(ops)
    public = set(g.outputs.values())
    part = Graph()
    part.graph.update({k: v for k, v in g.graph.items() if k not in ("inputs", "outputs", "metadata")})
    outputs: list[str] = []
    for op_id in ops:
        op = g.op(op_id)
        for value in op.operands:
            if value in part:
                continue
            if g.const(value) is None and g.producer(value) not in inside:
                part.add_input(value, g.nodes[value]["type"])
            else:
                part.add_value(value, g.type_of(value), g.const(value))
        for value in filter(None, op.outputs):
            part.add_value(value, g.type_of(value))
            if value in public or any(user not in inside for user in g.users(value)):
                outputs.append(value)
        part.add_op(op)
    part.set_outputs(outputs)
    return part


def convert_part(g: Graph, step: Step, name: str, target: Target, ml_pipeline: str, words: dict[str, str]) -> Part:
    """A step of Core ML's as a program.

    Raises:
        UnsupportedError: ``cut-impossible`` when the step would have no input; and what lowering raises.
    """
    graph = step_graph(g, step.ops)
    if not graph.inputs:
        raise UnsupportedError(
            "cut-impossible", f"part of the model depends on no input: {g.op(step.ops[0]).label} and others",
            node=g.op(step.ops[0]).label, hint="fold it into constants with the pass fold-constants",
        )  # fmt: skip
    lowered = lower_graph(graph, target)
    pipeline.run(lowered.program, target, ml_pipeline)
    return Part(name, graph, lowered, describe(graph, lowered.inputs, lowered.outputs, words))


def island_of(g: Graph, step: Step, taken: set[str], why: str) -> Island:
    """An op of the app's as an island; ``taken`` are the names given out so far."""
    op = g.op(step.ops[0])
    stem = re.sub(r"[^A-Za-z0-9]+", "_", op.name or next(filter(None, op.outputs))).strip("_") or "island"
    name = next(n for i in range(len(taken) + 1) if (n := f"{stem}_{i}" if i else stem).lower() not in taken)
    taken.add(name.lower())
    kind = class_name(op)
    if any(op.bodies()):  # its body is not a parameter: such ops share no class
        kind = f"{kind}_{name}"
    return Island(name, step_graph(g, step.ops), op, kind, why)


def cost_of(g: Graph, cut: Cut, step: Step) -> dict[str, Any]:
    """What an island costs per run: bytes from and to Core ML."""
    op = g.op(step.ops[0])
    reads = sum(cut.crossing.get(v, 0) for v in op.operands)
    return {"reads_bytes": reads, "writes_bytes": sum(cut.crossing.get(v, 0) for v in op.outputs if v)}
