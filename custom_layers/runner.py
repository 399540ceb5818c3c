"""Running a model in parts without a Mac: the manifest's order, the parts lifted, the islands by their references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coregraft.custom_layers.evaluate import NO_REFERENCES, Interpreter, References
from coregraft.custom_layers.manifest_file import broken, inside, read_manifest
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.execute import Runner
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array, DType


class PartsRunner:
    """A model in parts, ready to run.

    Args:
        folder: the ``.parts`` folder.
        references: NumPy references of ops, by (domain, op type), besides those of registered custom layers.
        fp16: as in :func:`coregraft.lowering.lift.lift`.

    Raises:
        InputError: ``package-not-found``; ``parts-broken`` for a manifest that is not one, or names files that are not
            in the folder.
        UnsupportedError: ``lift-op-unsupported`` and others of the lift.
    """

    def __init__(
        self,
        folder: str | Path,
        references: References = NO_REFERENCES,
        fp16: Literal["simulate", "exact"] = "simulate",
    ) -> None:
        from coregraft.lowering.lift import lift
        from coregraft.rewriter.onnx_io.load import load

        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.warnings: list[str] = []
        self._steps: list[_Island | _Part] = []
        for step in self.manifest["steps"]:
            path = inside(self.folder, step["file"])
            if step["kind"] == "custom":
                self._steps.append(_Island(step, load(path), Interpreter(references)))
            else:
                lifted = lift(path, fp16=fp16)
                if missing := [e["feature"] for e in step["outputs"] if e["feature"] not in lifted.outputs]:
                    raise broken(path, f'names the output "{missing[0]}", which its package does not have')
                self.warnings += lifted.graph.get("lift_warnings", ())
                self._steps.append(_Part(step, lifted, Runner(lifted)))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, by name, in the types of the ONNX model.

        Args:
            feeds: by input name; cast to the types in which they cross.

        Raises:
            UsageError: ``inputs-mismatch``; ``reference-result``.
            UnsupportedError: ``reference-missing``; ``int64-overflow`` when an integer cannot cross as int32.
        """
        values = self.values(feeds)
        return {entry["name"]: as_onnx(values[entry["value"]], entry) for entry in self.manifest["outputs"]}

    def values(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every value that crosses, by ONNX name, as it crosses."""
        values: dict[str, Array] = {}
        for entry in self.manifest["inputs"]:
            if entry["value"] not in feeds:
                raise UsageError("inputs-mismatch", f'input "{entry["value"]}" is missing')
            values[entry["value"]] = as_wire(np.asarray(feeds[entry["value"]]), entry)
        for step in self._steps:
            values.update(step.run(values))
        return values


@dataclass(frozen=True)
class _Island:
    """An op of the app's: its entry in the manifest, its model of one op, and what computes it."""

    entry: Mapping[str, Any]
    graph: Graph
    interpreter: Interpreter

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        given = [e for e in (*self.entry["inputs"], *self.entry["captures"]) if e and "constant" not in e]
        found = self.interpreter.run(self.graph, {e["value"]: as_onnx(values[e["value"]], e) for e in given})
        return {e["value"]: as_wire(found[e["value"]], e) for e in self.entry["outputs"] if e and e["value"] in found}


@dataclass(frozen=True)
class _Part:
    """A package: its entry in the manifest, what it was lifted to, and what runs that."""

    entry: Mapping[str, Any]
    graph: Graph
    runner: Runner

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        feeds = {}
        for entry in self.entry["inputs"]:
            kind = self.graph.tensor_type(entry["feature"]) if entry["feature"] in self.graph else None
            if kind is not None:  # a package has no input that nothing reads
                feeds[entry["feature"]] = values[entry["value"]].astype(kind.dtype.numpy)
        found = self.runner.run(feeds)
        return {e["value"]: found[self.graph.outputs[e["feature"]]] for e in self.entry["outputs"]}


def as_wire(array: Array, entry: Mapping[str, Any]) -> Array:
    """A value of the ONNX model as it crosses.

    Raises:
        UsageError: ``inputs-mismatch`` for another shape.
        UnsupportedError: ``int64-overflow``.
    """
    from coregraft.lowering.emitter import canonical_array

    if list(array.shape) not in (entry["onnx_shape"], entry["shape"]):
        raise UsageError("inputs-mismatch", f'"{entry["value"]}" is {list(array.shape)}, not {entry["onnx_shape"]}')
    array = array.reshape(entry["shape"])
    if entry["dtype"] == "int32" and array.dtype.kind in "iu":
        return canonical_array(array, entry["value"])
    return array.astype(entry["dtype"])


def as_onnx(array: Array, entry: Mapping[str, Any]) -> Array:
    """A value that crosses as the ONNX model has it."""
    return array.reshape(entry["onnx_shape"]).astype(DType[entry["onnx_dtype"].upper()].numpy)
