"""How near a result in half precision has to come to the one in full precision.

Half precision rounds each operand, each weight and the result of each op to 11 bits: to within one part in 2^11 of
itself (the roundoff u), or half of 2^-24 for numbers near zero. What rounding the operands does to a result depends on
the op, and is measured: the reference runs on the operands as they are, rounded, and moved by u up or down at random.
A result may leave the range of what these runs give by no more than its own width, or u of its magnitude, times the
number of roundings that are allowed in a row; the results of the ops that an op is taken apart into are rounded too.

A result out of that range is not forgiven: it is told as ``range:inf`` or ``range:nan``, where half precision gives no
finite number at all, or ``rounded``, if the same package without any rounding of values gives the right result; as
``wrong`` if it does not. Integers and truths have to be those of one of these runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

import numpy as np

from coregraft.rewriter.types import Array
from tests.conformance.cases import Case
from tests.conformance.references import reference
from tests.conformance.rules import free_inputs, nodes

#: Unit roundoff of half precision, the distance of its numbers near zero, and what a result in fp32 may be off by.
ROUNDOFF, STEP, NOISE = 2.0**-11, 2.0**-24, 1e-5
#: Roundings that may follow one another.
ROUNDINGS = 8
#: What a result may end as that is not right.
_WORST_FIRST = ("wrong", "range:nan", "range:inf", "rounded")
#: How often the operands are moved at random.
_MOVES = 4
#: Floating-point operands that say how large a result is: half precision leaves them alone.
_SIZES = {"Range": (0, 1, 2), "Resize": (1, 2), "Upsample": (1,)}


def verdict(
    found: Sequence[Array], exact: Callable[[], Sequence[Array]], case: Case, operands: Sequence[Array],
    wanted: Sequence[Array],
) -> tuple[str, str]:  # fmt: skip
    """What a case ended as, and where it differs.

    Args:
        found: the results of the package.
        exact: gives those of the package without rounding of values.
    """
    if not any(_differs(a, want, [want], 1).any() for a, want in zip(found, wanted, strict=True)):
        return "right", ""
    ranges = list(zip(*_references(case, operands, wanted), strict=True))

    def differing(results: Sequence[Array]) -> list[Array]:
        return [_differs(a, want, runs, ROUNDINGS) for a, want, runs in zip(results, wanted, ranges, strict=True)]

    bad = differing(found)
    if not any(which.any() for which in bad):
        return "right", ""
    endings = [
        (_kind(a[which], not unsure.any() and _rounds(case, operands, want)), f"result {i}: {first_of(which, a, want)}")
        for i, (which, unsure, a, want) in enumerate(zip(bad, differing(exact()), found, wanted, strict=True))
        if which.any()
    ]
    return min(endings, key=lambda ending: _WORST_FIRST.index(ending[0]))


def _kind(bad: Array, is_rounding: bool) -> str:
    """What results are that differ, by rounding alone or not."""
    if not is_rounding:
        return "wrong"
    if bad.dtype.kind != "f" or np.isfinite(bad).all():
        return "rounded"
    return "range:nan" if np.isnan(bad).any() else "range:inf"


def first_of(bad: Array, found: Array, want: Array) -> str:
    """How many elements are bad, and the first of them."""
    where = tuple(int(k) for k in np.argwhere(bad)[0])
    return f"{int(bad.sum())} of {bad.size} elements, the first at {where}: {found[where]}, not {want[where]}"


def _differs(found: Array, want: Array, runs: Sequence[Array], roundings: int) -> Array:
    """Which elements lie out of the range of the runs by more than so many roundings explain."""
    if want.dtype.kind != "f":
        return np.asarray(~np.any([found.astype(np.int64) == run.astype(np.int64) for run in runs], axis=0))
    a, expected = _wide(found), _wide(want)
    values = np.stack([np.where(np.isfinite(_wide(run)), _wide(run), expected) for run in runs])
    low, high = values.min(0), values.max(0)
    with np.errstate(invalid="ignore"):
        allowed = roundings * (np.maximum(high - low, ROUNDOFF * np.abs(values).max(0)) + STEP) + NOISE
    inside = (low - allowed <= a) & (a <= high + allowed)
    same = (a == expected) | (np.isnan(a) & np.isnan(expected))
    return np.asarray(~np.where(np.isfinite(expected) & np.isfinite(a), inside, same))


def _wide(array: Array) -> Array:
    """The numbers as fp32 holds them, infinite where it cannot, in a type with room to compute."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32).astype(np.float64)


def _references(case: Case, operands: Sequence[Array], wanted: Sequence[Array]) -> Iterator[Sequence[Array]]:
    """The wanted results, and those of the reference on operands and weights as they are, rounded, and moved.

    A run that fails, or whose results have other shapes since those depend on the data, is left out.
    """
    yield wanted
    names = [info.name for info in free_inputs(case.model)]
    fixed = _sizes(case.model)
    for change in (_same, _rounded, *(_mover(seed) for seed in range(_MOVES))):
        feeds = {k: a if k in fixed else _changed(a, change) for k, a in zip(names, operands, strict=False)}
        results = reference(_with_weights(case.model, change, fixed), feeds)
        if results is not None and [a.shape for a in results] == [a.shape for a in wanted]:
            yield results


def _sizes(model: Any) -> set[str]:
    """The operands that say how large a result is."""
    return {name for node in nodes(model) for i in _SIZES.get(node.op_type, ()) for name in node.input[i : i + 1]}


def _same(array: Array) -> Array:
    return array


def _rounded(array: Array) -> Array:
    return array.astype(np.float16).astype(array.dtype)


def _mover(seed: int) -> Callable[[Array], Array]:
    random = np.random.default_rng(seed)

    def move(array: Array) -> Array:
        signs = random.choice([-1.0, 1.0], array.shape)
        if array.dtype == np.float16:
            return np.nextafter(array, (signs * np.inf).astype(np.float16), where=np.isfinite(array), out=array.copy())
        return (array * (1 + signs * ROUNDOFF)).astype(array.dtype)

    return move


def _changed(array: Array, change: Callable[[Array], Array]) -> Array:
    return np.asarray(change(array)) if array.dtype.kind == "f" else array


def _with_weights(model: Any, change: Callable[[Array], Array], fixed: Set[str]) -> Any:
    """The model with its floating-point constants and attributes changed."""
    from onnx import AttributeProto, ModelProto, numpy_helper

    copy = ModelProto()
    copy.CopyFrom(model)
    tensors = [tensor for tensor in copy.graph.initializer if tensor.name not in fixed]
    for node in nodes(copy):
        for attribute in node.attribute if fixed.isdisjoint(node.output) else ():
            if attribute.type == AttributeProto.TENSOR:
                tensors.append(attribute.t)
            elif attribute.type == AttributeProto.FLOATS:
                attribute.floats[:] = change(np.array(attribute.floats, np.float32)).tolist()
            elif attribute.type == AttributeProto.FLOAT:
                attribute.f = float(change(np.array(attribute.f, np.float32)))
    for tensor in tensors:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(_changed(array, change), tensor.name))
    return copy


def _rounds(case: Case, operands: Sequence[Array], want: Array) -> bool:
    """Whether half precision may have a part in a result: not where integers are made of integers alone."""
    from onnx import numpy_helper

    weights = (numpy_helper.to_array(t) for t in case.model.graph.initializer)
    held = (numpy_helper.to_array(a.t) for node in nodes(case.model) for a in node.attribute if a.HasField("t"))
    attributes = any(a.HasField("f") or a.floats for node in nodes(case.model) for a in node.attribute)
    return attributes or any(a.dtype.kind == "f" for a in (want, *operands, *weights, *held))
