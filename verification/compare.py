"""How far two tensors are apart, and whether that is within a stated tolerance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array


@dataclass(frozen=True)
class Tolerance:
    """What is allowed of an output.

    Attributes:
        relative_l2: norm of the difference over norm of the reference, for floating point.
        mismatches: share of elements that may differ, for integers and booleans.
        of_one: absolute error always allowed of values that are computed with the precision of one, however small
            they are: what comes out of a sigmoid or a sine.

    Raises:
        UsageError: ``tolerance-invalid``.
    """

    relative_l2: float
    mismatches: float = 0.0
    of_one: float = 0.0

    def __post_init__(self) -> None:
        if not self.relative_l2 >= 0:  # NaN, too: everything would be out of it
            raise UsageError("tolerance-invalid", f"{self.relative_l2} is no tolerance", hint="a number from 0 on")


#: By compute precision of the package. Integers that come out of half-precision comparisons (argmax, thresholds) may
#: differ where two candidates are within rounding; one in a hundred is allowed, and the share is reported.
#: What is allowed of one is four roundings of it in fp32, in which the source computes.
TOLERANCES = {"fp32": Tolerance(1e-4, 0.0, 2.0**-22), "fp16": Tolerance(2e-2, 1e-2, 2.0**-22)}
#: Ops whose small results come of sums with one or a half, or of reduced arguments.
_OF_ONE = frozenset({"Cos", "HardSigmoid", "Sigmoid", "Sin"})
_MOVES = frozenset({
    "Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
})  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """How two tensors compare.

    Attributes:
        name: of the output or value.
        ok: within tolerance.
        why: what is wrong, or empty.
        max_abs, max_rel, relative_l2, cosine, snr_db: of the difference; None for integers, and where undefined.
        argmax_agreement: share of rows whose largest element is at the same place (floating point of rank 2 or more).
        mismatches: share of elements that differ (integers and booleans).
        reference_absmax: largest magnitude of the reference.
    """

    name: str
    ok: bool
    why: str = ""
    max_abs: float | None = None
    max_rel: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None
    snr_db: float | None = None
    argmax_agreement: float | None = None
    mismatches: float | None = None
    reference_absmax: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    name: str,
    reference: Array,
    found: Array,
    tolerance: Tolerance,
    *,
    limit: float = np.inf,
    bounded: bool = False,
) -> Comparison:
    """Compare a tensor with its reference.

    Args:
        name: of what they are, for the result.
        limit: elements whose reference is larger than this are left out where the other is finite: values that half
            precision cannot hold, bounded on purpose, such as a mask. Where the other is infinite it has overflowed.
        bounded: the values are computed with the precision of one (see :class:`Tolerance`).
    """
    if found.shape != reference.shape and not _scalar_pair(found, reference):
        return Comparison(name, False, f"shape {list(found.shape)} instead of {list(reference.shape)}")
    found = found.reshape(reference.shape)
    if reference.dtype.kind == found.dtype.kind == "O":  # strings
        return _exact(name, reference, found, tolerance)
    if reference.dtype.kind not in "fViub" or found.dtype.kind not in "fViub":
        return Comparison(name, False, f"{found.dtype} cannot be compared with {reference.dtype}")
    if reference.dtype.kind not in "fV":
        return _exact(name, reference, found, tolerance)
    a, b = reference.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    keep = ~((np.abs(a) > limit) & np.isfinite(b))
    a, b = a[keep], b[keep]
    if not a.size:
        return Comparison(name, True)
    finite = np.isfinite(a)
    same = np.isfinite(b) == finite
    if not same.all() or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        wrong = int((~same).sum()) or int((~finite).sum())
        return Comparison(name, False, f"{wrong} element(s) are finite in one and not in the other")
    a, b = a[finite], b[finite]
    if not a.size:
        return Comparison(name, True)
    delta = np.abs(a - b)
    norm, error = float(np.linalg.norm(a)), float(np.linalg.norm(delta))
    floor = math.sqrt(a.size) * 1e-7  # a reference of zeros: a difference at rounding level of one is no error
    relative = error / max(norm, floor)
    largest = float(delta.max())
    product = norm * float(np.linalg.norm(b))
    ok = relative <= tolerance.relative_l2 or (bounded and largest <= tolerance.of_one)
    return Comparison(
        name,
        ok,
        "" if ok else f"relative L2 {relative:.3g} is more than {tolerance.relative_l2:g}",
        max_abs=largest,
        max_rel=float((delta / np.maximum(np.abs(a), 1e-12)).max(initial=0.0)),
        relative_l2=relative,
        cosine=float(a @ b) / product if product else None,
        snr_db=20 * float(np.log10(norm / error)) if error and norm else None,
        argmax_agreement=_argmax(reference, found),
        reference_absmax=float(np.abs(a).max(initial=0.0)),
    )


def bounded_values(graph: Graph) -> frozenset[str]:
    """The values computed with the precision of one: results of sigmoids and sines, moved at most."""
    found: set[str] = set()
    for op_id in graph.topological():
        op = graph.op(op_id)
        operands = op.inputs if op.type == "Concat" else op.inputs[:1]
        if not op.domain and (op.type in _OF_ONE or (op.type in _MOVES and all(v in found for v in operands))):
            found.update(op.outputs)
    return frozenset(found)


def _scalar_pair(found: Array, reference: Array) -> bool:
    """Core ML has no rank 0 at the boundary: a scalar comes back as one element."""
    return reference.shape == () and found.shape == (1,)


def _exact(name: str, reference: Array, found: Array, tolerance: Tolerance) -> Comparison:
    different = reference != found  # numpy compares unlike types by value; a NaN equals nothing
    share = float(different.mean()) if different.size else 0.0
    ok = share <= tolerance.mismatches
    why = "" if ok else f"{int(different.sum())} of {different.size} elements differ"
    return Comparison(name, ok, why, mismatches=share)


def _argmax(a: Array, b: Array) -> float | None:
    if a.ndim < 2 or a.shape[-1] < 2 or not a.size:
        return None
    return float((a.argmax(-1) == b.argmax(-1)).mean())
