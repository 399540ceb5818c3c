"""The files of a model in parts: the manifest that says what runs when, the islands, and golden vectors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coregraft.custom_layers.cut import Cut
from coregraft.custom_layers.evaluate import Interpreter, attributes
from coregraft.custom_layers.parts import Island, Part, cost_of
from coregraft.lowering.program import Feature, io_dtype
from coregraft.rewriter import execute
from coregraft.rewriter.errors import CoregraftError, UnsupportedError
from coregraft.rewriter.graph import Floats, Graph, Op, Strings
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array, Const

SCHEMA_VERSION = 1
#: Relative L2 that a golden vector allows, by precision; those of ``coregraft verify``.
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
Json = dict[str, Any]


def tensor(g: Graph, value: str, target: Target) -> Json:
    """How a value crosses (``dtype``, ``shape``) and what it is in the model (``onnx_dtype``, ``onnx_shape``)."""
    kind = g.tensor_type(value)
    if kind is None or kind.static_shape is None:
        raise UnsupportedError("shape-unknown", f'the shape of "{value}" is not known', node=value)
    return {
        "value": value,
        "dtype": io_dtype(kind.dtype, target, value).numpy.name,
        "shape": list(kind.static_shape or (1,)),
        "onnx_dtype": kind.dtype.name.lower(),
        "onnx_shape": list(kind.static_shape),
    }


def manifest(
    g: Graph, cut: Cut, steps: Sequence[Part | Island], target: Target, precision: str, goldens: Mapping[str, Json]
) -> Json:
    """The manifest as JSON values.

    Args:
        steps: the cut's steps in order.
        goldens: record of the golden vectors by name of step.
    """
    entries = []
    for step, where in zip(steps, cut.steps, strict=True):
        entry = _part(step, g, target) if isinstance(step, Part) else _island(step, g, target)
        if isinstance(step, Island):
            entry |= {"group": where.stage, "cost": cost_of(g, cut, where)}
        entries.append(entry | {"golden": goldens.get(step.name)})
    return {
        "schema_version": SCHEMA_VERSION,
        "target": target.name,
        "precision": precision,
        "tolerance": TOLERANCES[precision],
        "inputs": [tensor(g, v, target) for v in g.inputs],
        "outputs": [{"name": name, **tensor(g, v, target)} for name, v in g.outputs.items()],
        "steps": entries,
        "cost": {
            "parts": len(cut.parts),
            "islands": len(cut.islands),
            "crossing_bytes": cut.bytes,
            "repeated_constant_bytes": sum(cut.repeated.values()),
            "crossing": dict(cut.crossing),
        },
    }


def _part(part: Part, g: Graph, target: Target) -> Json:
    def entries(features: Sequence[Feature]) -> list[Json]:
        return [{**tensor(g, f.name, target), "feature": f.feature} for f in features]

    return {
        "kind": "core-ml",
        "name": part.name,
        "file": f"{part.name}.mlpackage",
        "inputs": entries(part.lowered.inputs),
        "outputs": entries(part.lowered.outputs),
    }


def _island(island: Island, g: Graph, target: Target) -> Json:
    op = island.op

    def operand(n: int, value: str) -> Json | None:
        if not value:
            return None
        const = g.const(value)
        entry = tensor(g, value, target)
        return entry if const is None else {**entry, "constant": constant_file(island, n)}

    return {
        "kind": "custom",
        "name": island.name,
        "class": island.class_name,
        "domain": op.domain or "ai.onnx",
        "op_type": op.type,
        "why": island.why,
        "file": f"islands/{island.name}.onnx",
        "attributes": {name: _attribute(island, name, op) for name in attributes(op)},
        "inputs": [operand(n, v) for n, v in enumerate(op.inputs)],
        "captures": [tensor(g, v, target) for v in op.captures if g.const(v) is None],
        "outputs": [tensor(g, v, target) if v else None for v in op.outputs],
    }


def _attribute(island: Island, name: str, op: Op) -> Json:
    """An attribute with its type, so that 1 and 1.0 stay apart; what JSON cannot hold is in a file."""
    raw, value = op.attrs.get(name), attributes(op)[name]
    if isinstance(raw, Const):
        file = attribute_file(island, name)
        return {"type": "tensor", "dtype": value.dtype.name, "shape": list(value.shape), "file": file}
    if isinstance(value, (int, float, str)):
        return {"type": {int: "int", float: "float", str: "string"}[type(value)], "value": _number(value)}
    if isinstance(value, tuple) and all(isinstance(v, (int, float, str)) for v in value):
        return {"type": _list_type(raw, value), "value": [_number(v) for v in value]}
    return {"type": "graph" if isinstance(raw, Graph) else "opaque", "file": f"islands/{island.name}.onnx"}


def _list_type(raw: Any, value: Sequence[Any]) -> str:
    if isinstance(raw, Floats) or any(isinstance(v, float) for v in value):
        return "floats"
    return "strings" if isinstance(raw, Strings) or any(isinstance(v, str) for v in value) else "ints"


def _number(value: float | str) -> float | str:
    """A float that JSON does not have by its name, as Swift's decoder is told to read it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def constant_file(island: Island, n: int) -> str:
    return f"islands/{island.name}.operand{n}.bin"


def attribute_file(island: Island, name: str) -> str:
    return f"islands/{island.name}.{name}.bin"


def write_island(island: Island, target: Target, folder: Path) -> None:
    """The op as an ONNX model of one node; constant operands and tensor attributes as raw little-endian bytes, too."""
    from coregraft.rewriter.onnx_io.save import save

    (folder / "islands").mkdir(exist_ok=True)
    save(island.graph, folder / "islands" / f"{island.name}.onnx")
    for n, value in enumerate(island.op.inputs):
        const = island.graph.const(value)
        if const is not None:
            dtype = io_dtype(const.dtype, target, value).numpy
            (folder / constant_file(island, n)).write_bytes(_bytes(const.numpy().astype(dtype)))
    for name, attribute in island.op.attrs.items():
        if isinstance(attribute, Const):
            (folder / attribute_file(island, name)).write_bytes(_bytes(attribute.numpy()))


def write_goldens(
    g: Graph, steps: Sequence[Part | Island], target: Target, interpreter: Interpreter, folder: Path
) -> dict[str, Json]:
    """Golden vectors of every step that can be computed here: what the graph computes, as it crosses.

    The inputs of a step are those that the model hands it on seeded inputs of its own. Behind an island without a
    reference they are drawn instead, and the step's record says so.

    Returns:
        By name of step the record that the manifest has of it.
    """
    (folder / "golden").mkdir()
    values: dict[str, Array] = execute.seeded_inputs(g)
    records: dict[str, Json] = {}
    for step in steps:
        graph = step.graph
        chained = all(v in values for v in graph.inputs)
        feeds = {v: a for v, a in execute.seeded_inputs(graph).items() if v not in values}
        feeds |= {v: values[v] for v in graph.inputs if v in values}
        try:
            found = interpreter.run(graph, feeds)
        except (UnsupportedError, execute.UnrunnableError) as error:
            if not _expected(error):
                raise
            continue
        if chained:
            values.update(found)
        sides = {
            side: [(entry, _wire(array, entry)) for entry, array in pairs]
            for side, pairs in (
                ("input", [(tensor(graph, v, target), feeds[v]) for v in graph.inputs]),
                ("output", [(tensor(graph, v, target), found[v]) for v in graph.outputs.values()]),
            )
        }
        records[step.name] = _write_golden(folder, step.name, "model" if chained else "drawn", sides)
    return records


def _expected(error: CoregraftError) -> bool:
    return error.code in ("reference-missing", "graph-unrunnable")


def _write_golden(folder: Path, name: str, source: str, sides: Mapping[str, list[tuple[Json, Array]]]) -> Json:
    record: Json = {"npz": f"golden/{name}.npz", "binary": f"golden/{name}.bin", "from": source}
    arrays: dict[str, Array] = {}
    offset = 0
    with (folder / f"golden/{name}.bin").open("wb") as file:
        for side, pairs in sides.items():
            entries = []
            for n, (entry, array) in enumerate(pairs):
                arrays[f"{side}_{n}"] = array
                entries.append({**{k: entry[k] for k in ("value", "dtype", "shape")}, "offset": offset})
                offset += file.write(_bytes(array))
            record[f"{side}s"] = entries
    with (folder / f"golden/{name}.npz").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own keywords
    return record


def _wire(array: Array, entry: Json) -> Array:
    """A value as it crosses."""
    return array.astype(entry["dtype"]).reshape(entry["shape"])


def _bytes(array: Array) -> bytes:
    flat = np.ascontiguousarray(array)
    return flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes()


def write_json(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


