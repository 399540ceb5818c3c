"""Running a neuralnetwork with custom layers anywhere: lifted, its layers by their NumPy references."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coregraft.custom_layers import parameters as params
from coregraft.custom_layers.evaluate import NO_REFERENCES, Interpreter, References
from coregraft.custom_layers.layer import Reference
from coregraft.custom_layers.registry import reference_for, registered
from coregraft.custom_layers.use import INPUT_TYPES, OPERANDS, OUTPUT_SHAPES
from coregraft.lowering.lift import lift
from coregraft.lowering.lift.nn.custom import DOMAIN, OP
from coregraft.lowering.program import all_ops
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array, DType


class LiftedNetwork:
    """A neuralnetwork with custom layers, ready to run.

    Args:
        network: path of the ``.mlmodel``, or a graph lifted from it with ``custom=True``.
        references: NumPy references of ONNX ops, by (domain, op type), besides those of registered custom layers.

    Raises:
        InputError: ``package-not-found``; ``package-broken``.
        UnsupportedError: ``lift-op-unsupported``; ``reference-missing`` naming an op that has no reference.
    """

    def __init__(self, network: str | Path | Graph, references: References = NO_REFERENCES) -> None:
        self.graph = network if isinstance(network, Graph) else lift(network, custom=True)
        self._interpreter = Interpreter(_layer_references(self.graph, references))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, as floats, by name.

        Args:
            feeds: by input name.

        Raises:
            UsageError: ``inputs-mismatch``; ``reference-result``.
        """
        kinds = {name: self.graph.tensor_type(name) for name in self.graph.inputs}
        given = {
            name: np.asarray(feeds[name]).astype(DType.FLOAT.numpy if kind is None else kind.dtype.numpy)
            for name, kind in kinds.items()
            if name in feeds
        }
        values = self._interpreter.run(self.graph, given)
        return {name: values[value] for name, value in self.graph.outputs.items()}


def _layer_references(graph: Graph, references: References) -> References:
    """References of the lifted layers, by their class."""
    found: dict[tuple[str, str], Reference] = {}
    for op in (op for op in all_ops(graph) if op.domain == DOMAIN):
        domain, _, op_type = op.attrs[OP].rpartition(".")
        domain = "" if domain == "ai.onnx" else domain
        reference = references.get((domain, op_type)) or reference_for(domain, op_type)
        if reference is None:
            raise UnsupportedError(
                "reference-missing", f"there is no NumPy reference of {op.attrs[OP]}", node=op.name,
                hint="register a custom layer for the op, with a reference",
            )  # fmt: skip
        found[op.key] = _as_layer(domain, op_type, reference)
    return found


def _as_layer(domain: str, op_type: str, reference: Reference) -> Reference:
    """The reference of an op as that of its layer: floats in and out, no empty shapes, attributes as it has them."""

    def run(operands: Sequence[Array | None], attributes: Mapping[str, Any]) -> Sequence[Array]:
        dtypes = [DType[name.upper()].numpy for name in json.loads(attributes[INPUT_TYPES])]
        given = [x.astype(dtype) for x, dtype in zip((x for x in operands if x is not None), dtypes, strict=True)]
        places = json.loads(attributes[OPERANDS]) if OPERANDS in attributes else range(len(given))
        by_place = dict(zip(places, given, strict=True))
        full = [by_place.get(n) for n in range(max(by_place, default=-1) + 1)]
        results = reference(full, _attributes(domain, op_type, attributes))
        shapes = json.loads(attributes[OUTPUT_SHAPES])
        return [np.asarray(r).astype(np.float32).reshape(s) for r, s in zip(results, shapes, strict=True)]

    return run


def _attributes(domain: str, op_type: str, held: Mapping[str, Any]) -> dict[str, Any]:
    layer = registered(domain, op_type)
    lists = {n for n, spec in layer.parameters.items() if spec.json_type} if layer is not None else set()
    own = {name: value for name, value in held.items() if not name.startswith("coregraft_")}
    if layer is None:
        return {name: params.decoded(value) for name, value in own.items()}
    return {name: json.loads(value) if name in lists else value for name, value in own.items()}
