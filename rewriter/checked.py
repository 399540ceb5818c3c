"""Checked mode: the ops a pass made or changed are run on the values that the original graph gives them.

Only the rewritten region is executed twice: its operands are taken from a run of the graph before the pass, so an
error is not blurred by what lies around it. The declared equivalence class decides what counts as equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coregraft.rewriter.contract import Equivalence, Pass
from coregraft.rewriter.execute import UnrunnableError, run, seeded_inputs
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array


@dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison: a failure, or why nothing was compared, or neither: all equal."""

    failure: str | None = None
    skipped: str | None = None


def compare(pass_: Pass, before: Graph, after: Graph, inputs: Mapping[str, Array] | None = None) -> Verdict:
    """Compare the values that a pass recomputes with those of the graph before it."""
    if pass_.equivalence is Equivalence.LOSSY:
        return Verdict(skipped="the pass is declared lossy")
    region, pairs = _region(before, after) if pass_.compares == "region" else _whole(before, after)
    if not pairs:
        return Verdict()
    operands = sorted({v for i in region for v in after.op(i).operands if _is_boundary(after, region, v)})
    # An output may now be read from a value that was there before: that one is not recomputed.
    kept = {new for _, new in pairs if _is_boundary(after, region, new)}
    wanted = sorted({*operands, *kept, *(old for old, _ in pairs)} & set(before.values()))
    try:
        feeds = dict(inputs) if inputs is not None else seeded_inputs(before)
        reference = run(before, feeds, wanted)
    except UnrunnableError as error:
        return Verdict(skipped=str(error))
    missing = [v for v in operands if v not in reference]
    if missing:
        return Verdict(skipped=f'"{missing[0]}" is not a value of the graph before the pass')
    try:
        recomputed = sorted({new for _, new in pairs} - kept)
        found = run(after, {v: reference[v] for v in operands}, recomputed, region) if recomputed else {}
    except UnrunnableError as error:
        text = f"the rewritten part does not run: {error}"
        return Verdict(skipped=text) if error.no_kernel else Verdict(failure=text)
    reduction = _reduction_length(after, region)
    for old, new in pairs:
        value = found[new] if new in found else reference[new]
        why = difference(reference[old], value, pass_, reduction)
        if why is not None:
            return Verdict(failure=f'"{old}" {why}')
    return Verdict()


def difference(a: Array, b: Array, pass_: Pass, reduction: int = 1) -> str | None:
    """Why two values are not equal in the class that a pass declares, or None when they are.

    REASSOCIATING allows ``eps * (8 + 4 * sqrt(reduction))`` of the largest magnitude, where ``reduction`` is the
    longest sum in the region: the growth of rounding errors that behave like a random walk.
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"is {b.dtype}{list(b.shape)} instead of {a.dtype}{list(a.shape)}"
    if pass_.equivalence is Equivalence.BIT_EXACT or a.dtype.kind not in "fV":
        same = (a == b) | ((a != a) & (b != b))
        return None if bool(np.all(same)) else f"differs in {int(np.sum(~same))} of {a.size} elements"
    if not a.size:
        return None
    x, y = a.astype(np.float64), b.astype(np.float64)
    if not np.array_equal(np.isfinite(x), np.isfinite(y)):
        return "is finite in other places"
    ok = np.isfinite(x)
    scale = float(np.abs(x[ok]).max(initial=0.0))
    error = float(np.abs(x[ok] - y[ok]).max(initial=0.0))
    eps = float(np.finfo(a.dtype).eps) if a.dtype.kind == "f" else 2.0**-7
    bound = eps * (8 + 4 * reduction**0.5) * max(scale, 1e-30)
    if pass_.equivalence is Equivalence.APPROXIMATE:
        bound = max(bound, pass_.bound * max(scale, 1e-30))
    return None if error <= bound else f"differs by {error:.3g}, more than {bound:.3g} (largest magnitude {scale:.3g})"


def _whole(before: Graph, after: Graph) -> tuple[set[int], list[tuple[str, str]]]:
    """All ops, and the values that the graphs return: everything in between may differ."""
    return {i for i, _ in after.ops()}, [(old, after.outputs[name]) for name, old in before.outputs.items()]


def _region(before: Graph, after: Graph) -> tuple[set[int], list[tuple[str, str]]]:
    """The ops that are new or changed or read a constant with another content, and (old, new) values to compare."""
    region = {i for i, op in after.ops() if i not in before or before.op(i) != op}
    folded = []
    for value in after.values():
        const = after.const(value)
        if const is None or value not in before or const is before.const(value):
            continue
        region.update(after.users(value) if before.const(value) is not None else ())
        if before.producer(value) is not None:
            folded.append((value, value))
    pairs = [
        (v, v)
        for i in sorted(region)
        for v in after.op(i).outputs
        if v and v in before and before.producer(v) is not None
    ] + folded
    for name, new in after.outputs.items():
        old = before.outputs.get(name)
        if old is not None and old != new:
            pairs.append((old, new))
    return region, pairs


def _is_boundary(g: Graph, region: set[int], value: str) -> bool:
    return g.const(value) is None and g.producer(value) not in region


def _reduction_length(g: Graph, region: set[int]) -> int:
    """The longest sum that an op of the region takes, as far as constant operands and types tell."""
    longest = 1
    for op_id in region:
        op = g.op(op_id)
        for value in op.inputs:
            kind = g.tensor_type(value) if value else None
            shape = None if kind is None else kind.static_shape
            if not shape:
                continue
            if op.type in ("Conv", "ConvTranspose"):
                longest = max(longest, int(np.prod(shape[1:])))
            elif op.type in ("MatMul", "Gemm", "Linear"):
                longest = max(longest, shape[-1], shape[-2] if len(shape) > 1 else 1)
            elif op.type.startswith("Reduce") or "Norm" in op.type or op.type in ("Softmax", "AveragePool", "CumSum"):
                longest = max(longest, int(np.prod(shape)))
    return longest
