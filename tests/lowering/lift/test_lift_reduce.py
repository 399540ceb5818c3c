"""Reductions, scans, sorting and classifiers of lifted packages against numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.lowering.lift.lifter import Lifter, Session
from coregraft.lowering.lift.spec import Block, MilOp, Slot
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Const, DType, TensorType
from tests.lowering.lift.one_op import agree, floats, mb, program_of, run_graph

X = np.random.default_rng(3).uniform(0.5, 3, (2, 3, 4)).astype(np.float32)
INTS = np.array([[3, -1, 4], [1, -5, 9]], np.int32)


def _log_sum_exp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "reduce_l1_norm": lambda x, **o: np.sum(np.abs(x), **o),
    "reduce_l2_norm": lambda x, **o: np.sqrt(np.sum(x**2, **o)),
    "reduce_log_sum": lambda x, **o: np.log(np.sum(x, **o)), "reduce_log_sum_exp": _log_sum_exp, "reduce_max": np.max,
    "reduce_mean": np.mean, "reduce_min": np.min, "reduce_prod": np.prod, "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **o: np.sum(x**2, **o),
}  # fmt: skip
FRACTIONAL = {"reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp", "reduce_mean"}


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_reduction(name: str) -> None:
    function, x = REDUCTIONS[name], X.astype(np.float64)
    for axes, keep in ((None, False), ([1], True), ([0, -1], False)):
        options = {"keep_dims": keep} if axes is None else {"axes": axes, "keep_dims": keep}
        want = function(x, axis=None if axes is None else tuple(axes), keepdims=keep)
        agree(lambda x, o=options: getattr(mb, name)(x=x, **o), {"x": X}, want=want)


@pytest.mark.parametrize("name", sorted(REDUCTIONS))
def test_reduction_of_integers(name: str) -> None:
    x = np.abs(INTS) if "log" in name else INTS
    want = np.trunc(REDUCTIONS[name](x.astype(np.float64), axis=1)).astype(np.int32)
    agree(lambda x: getattr(mb, name)(x=x, axes=[1]), {"x": x}, want=want, doubts=int(name in FRACTIONAL))


@pytest.mark.parametrize(("name", "function"), [("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)])
def test_arg_reduction(name: str, function: Callable[..., Any]) -> None:
    build = getattr(mb, name)
    agree(lambda x: build(x=x), {"x": X}, want=function(X, axis=-1).astype(np.int32))
    kept = function(X, axis=1, keepdims=True).astype(np.int32)
    agree(lambda x: build(x=x, axis=1, keep_dims=True), {"x": X}, want=kept)
    agree(lambda x: build(x=x, axis=0), {"x": INTS}, want=function(INTS, axis=0).astype(np.int32))
    small = lambda x: mb.cast(x=build(x=x, output_dtype="uint16"), dtype="int32")  # noqa: E731
    agree(small, {"x": X}, "iOS17", want=function(X, axis=-1).astype(np.int32))


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_cumsum(exclusive: bool, backwards: bool) -> None:
    for x in (X, INTS):
        turned = np.flip(x, 1) if backwards else x
        want: Any = np.cumsum(turned, axis=1, dtype=x.dtype)
        want = want - turned if exclusive else want
        want = np.flip(want, 1) if backwards else want
        options = {"axis": 1, "exclusive": exclusive, "reverse": backwards}
        agree(lambda x, o=options: mb.cumsum(x=x, **o), {"x": x}, want=want)
    agree(lambda x: mb.cumsum(x=x), {"x": X}, want=np.cumsum(X, 0))


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(("axis", "k"), [(-1, 2), (1, 3), (0, 1)])
def test_topk(axis: int, k: int, ascending: bool) -> None:
    order = np.argsort(X if ascending else -X, axis=axis).take(range(k), axis=axis)
    values, indices = np.take_along_axis(X, order, axis), order.astype(np.int32)
    options = {"k": k, "axis": axis, "ascending": ascending}
    agree(lambda x: mb.topk(x=x, **options), {"x": X}, want=[values, indices])
    agree(lambda x: mb.topk(x=x, return_indices=False, **options), {"x": X}, "iOS16", want=values)
    agree(lambda x: mb.topk(x=x, sort=False, **options), {"x": X}, "iOS17", want=[values, indices])


def test_topk_of_everything_in_small_integers() -> None:
    def build(x: Any) -> Any:
        values, indices = mb.topk(x=mb.cast(x=x, dtype="int8"), k=3, output_indices_dtype="uint16")
        return [mb.cast(x=values, dtype="int32"), mb.cast(x=indices, dtype="int32")]

    want = [-np.sort(-INTS, axis=-1), np.argsort(-INTS, axis=-1).astype(np.int32)]
    agree(build, {"x": INTS}, "iOS17", want=want)


def test_topk_of_as_many_as_there_are() -> None:
    kind = TensorType(DType.INT32, INTS.shape)
    lifter = Lifter(Session("CoreML7"))
    lifter.bind(Slot("x", kind), lifter.input("x", kind))
    slots = (Slot("values", kind), Slot("indices", kind))
    op = MilOp("topk", "t", {"x": ("x",), "k": (Const.of(np.int32(-1)),)}, slots)
    values, indices = lifter.run(Block((), (op,), ("values", "indices")))  # coremltools cannot write this one
    lifter.graph.set_outputs({"values": values, "indices": indices})
    lifter.graph.set_opsets({"": INTERNAL_OPSET})
    found = run_graph(lifter.graph, {"x": INTS})
    np.testing.assert_array_equal(found["values"], -np.sort(-INTS, axis=-1))
    np.testing.assert_array_equal(found["indices"], np.argsort(-INTS, axis=-1))


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_argsort(axis: int, ascending: bool) -> None:
    want = np.argsort(X if ascending else -X, axis=axis).astype(np.int32)
    agree(lambda x: mb.argsort(x=x, axis=axis, ascending=ascending), {"x": X}, want=want)


@pytest.mark.parametrize("labels", [["cat", "dog", "emu"], [10, 20, 30]])
def test_classifier(labels: list[Any], tmp_path: Path) -> None:
    import coremltools as ct

    from coregraft.lowering.lift import lift
    x = floats([[0.1, 0.7, 0.2]])
    program = program_of(lambda x: mb.softmax(x=x, name="scores"), {"x": x}, "iOS15")
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS15,
        compute_precision=ct.precision.FLOAT32,
        classifier_config=ct.ClassifierConfig(labels, "label"),
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(tmp_path / "c.mlpackage"))
    graph = lift(tmp_path / "c.mlpackage")
    found = run_graph(graph, {"x": x})
    assert found["label"].item() == labels[1]
    np.testing.assert_allclose(found["label_probs"], np.exp(x[0]) / np.exp(x[0]).sum(), rtol=1e-5)
    assert any("is a dictionary in Core ML" in w for w in graph.graph["lift_warnings"])
