"""Golden vectors of custom layers: inputs from a seed, outputs by the reference; what the XCTest compares with."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from coregraft.custom_layers.use import Use
from coregraft.rewriter import execute
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Array, Const, TensorType

#: Elements of all operands and results of a case, at most: a test's resource, not a data set.
_MAX_ELEMENTS = 1 << 18
#: Cases of one class, at most.
_MAX_CASES = 4


def cases(uses: Sequence[Use]) -> list[dict[str, Any]]:
    """The golden cases of the layers of one class: the first that have a reference and are small enough.

    Floats are little-endian fp32 in base64, so that every bit arrives, infinities included.
    """
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for use in uses:
        what = json.dumps([use.parameters, [str(k) for k in use.inputs]])
        if len(found) == _MAX_CASES or what in seen or _size(use) > _MAX_ELEMENTS:
            continue
        seen.add(what)
        operands = drawn(use)
        results = evaluate(use, operands)
        if results is not None:
            found.append(_case(use, operands, results))
    return found


def drawn(use: Use) -> list[Array]:
    """Operands of a layer: constants as they are, floats from a normal distribution, integers from 0 and 1."""
    found = []
    for n, (i, kind) in enumerate(zip(use.operands, use.inputs, strict=True)):
        if i in use.constants:
            found.append(use.constants[i].numpy())
            continue
        rng = np.random.default_rng([n, zlib.crc32(use.class_name.encode())])
        shape = kind.static_shape or ()
        draw = rng.standard_normal(shape) if kind.dtype.is_float else rng.integers(0, 2, shape)
        found.append(np.asarray(draw).astype(np.float32).astype(kind.dtype.numpy))
    return found


def evaluate(use: Use, operands: Sequence[Array]) -> list[Array] | None:
    """The results of a layer by its reference, or by onnxruntime for an op that it has; None when nobody can tell."""
    if use.layer is not None and use.layer.reference is not None:
        given = dict(zip(use.operands, operands, strict=True))
        attributes = {k: v.numpy() if isinstance(v, Const) else v for k, v in use.op.attrs.items()}
        results = use.layer.reference([given.get(i) for i in range(len(use.op.inputs))], attributes)
        return [np.asarray(r) for r, name in zip(results, use.op.outputs, strict=True) if name]
    g = Graph()
    for i, kind in zip(use.operands, use.inputs, strict=True):
        if use.op.inputs[i] not in g:
            g.add_value(use.op.inputs[i], TensorType(kind.dtype, kind.shape), use.constants.get(i))
    for name, kind in zip(filter(None, use.op.outputs), use.outputs, strict=True):
        g.add_value(name, kind)
    g.add_op(use.op)
    g.set_outputs([name for name in use.op.outputs if name])
    g.set_opsets({"": INTERNAL_OPSET, **({use.op.domain: 1} if use.op.domain else {})})
    feeds = {use.op.inputs[i]: x for i, x in zip(use.operands, operands, strict=True)}
    try:
        values = execute.run(g, feeds)
    except execute.UnrunnableError:
        return None
    return [values[name] for name in g.outputs.values()]


def _size(use: Use) -> int:
    return sum(int(np.prod(kind.static_shape or ())) for kind in (*use.inputs, *use.outputs))


def _case(use: Use, operands: Sequence[Array], results: Sequence[Array]) -> dict[str, Any]:
    return {
        "op": use.op.label,
        "parameters": {s.key: {"kind": s.kind, "value": s.value} for s in (*use.settings, *use.shapes)},
        "inputs": [_tensor(x) for x in operands],
        "outputs": [_tensor(x) for x in results],
    }


def _tensor(array: Array) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, "<f4")
    return {"shape": list(array.shape) or [1], "values": base64.b64encode(values.tobytes()).decode()}
