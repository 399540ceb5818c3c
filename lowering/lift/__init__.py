"""Lift: a saved Core ML model back to a graph of ONNX ops, which onnxruntime runs on any machine.

One function lifts one kind of MIL op (``lift_*.py``), by the op's own documentation in coremltools; where that leaves a
case open, the graph's ``lift_warnings`` say what was assumed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from coregraft.rewriter.graph import Graph


def lift(
    path: str | Path,
    *,
    strict: bool = False,
    fp16: Literal["simulate", "exact"] = "simulate",
    function: str | None = None,
    custom: bool = False,
) -> Graph:
    """Read a Core ML model and give it as ONNX.

    Inputs and outputs have the package's feature names. Values that are fp16 in the package are FLOAT in the graph,
    features included. Weights stay in the package's files until they are asked for. A state is an input, and the
    output ``<name>_after``. ``graph.graph["lift_warnings"]`` is a tuple of what was assumed,
    ``graph.graph["lift_half"]`` whether the package holds any value in half precision.

    Args:
        path: an ``.mlpackage``, or an ``.mlmodel`` file.
        strict: refuse what Core ML leaves undefined.
        fp16: ``simulate`` rounds each value that is fp16 in the package once, after its op, with infinity on
            overflow; ``exact`` leaves it as computed in fp32.
        custom: make ops of the custom layers that coregraft made, see :mod:`coregraft.lowering.lift.nn.custom`;
            onnxruntime alone cannot run them.
        function: which function of a package with several; its default one when None.

    Raises:
        InputError: ``package-not-found``; ``package-broken``.
        UnsupportedError: ``lift-op-unsupported`` naming each op that cannot be lifted; ``lift-undefined`` (strict);
            ``lift-format-unsupported``; ``lift-opset-unknown``; ``lift-type-unsupported``.
        UsageError: ``function-unknown``.
    """
    from coregraft.lowering.lift.nn import NETWORKS, lift_network
    from coregraft.lowering.lift.program import lift_program
    from coregraft.lowering.lift.spec import read_package
    from coregraft.rewriter.errors import UnsupportedError, UsageError

    package = read_package(path)
    kind = package.model.WhichOneof("Type")
    if kind in NETWORKS:
        if function is not None:
            raise UsageError("function-unknown", "a neuralnetwork has no functions", hint="leave the function out")
        return lift_network(package, strict=strict, custom=custom)
    if kind != "mlProgram":
        raise UnsupportedError("lift-format-unsupported", f"a model of kind {kind} cannot be lifted", node=str(path))
    return lift_program(package, function=function, strict=strict, fp16=fp16)
