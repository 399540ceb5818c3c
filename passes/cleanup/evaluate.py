"""Computing ops with constant operands, in as few onnxruntime sessions as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coregraft.rewriter.execute import name_results
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import required_opset
from coregraft.rewriter.types import Array, Const, DType, TensorType

#: Ops in one session, if their cones allow: its time grows with the square of the number of values that are fed.
_BATCH = 500
#: Element types that onnxruntime takes from and gives to numpy.
_NATIVE = frozenset({
    DType.FLOAT, DType.UINT8, DType.INT8, DType.UINT16, DType.INT16, DType.INT32, DType.INT64, DType.STRING,
    DType.BOOL, DType.FLOAT16, DType.DOUBLE, DType.UINT32, DType.UINT64,
})  # fmt: skip
#: What onnx's reference implementation raises on operands it cannot take; it has no error type of its own.
_REFERENCE_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass
class Evaluation:
    """What came out: a constant for each value that could be computed, and why the others could not."""

    values: dict[str, Const] = field(default_factory=dict)
    failures: list[tuple[Op, str]] = field(default_factory=list)


def evaluate(ops: Sequence[Op], leaves: Mapping[str, Const], wanted: Sequence[str]) -> Evaluation:
    """Compute ``wanted`` values from constants.

    Many ops go through one session, without optimisations and on one thread. Only when that fails are they taken
    apart: by halves of the independent cones, and the cone at fault op by op, with onnx's reference
    implementation for what onnxruntime does not have.

    Args:
        ops: in topological order; every operand is a leaf or the output of an op before.
        leaves: the constants the ops read.
        wanted: values to return. After a failure other values may be returned too.
    """
    result = Evaluation()
    batch: list[list[Op]] = []
    size = 0
    for cone in _components(ops):
        if batch and size + len(cone) > _BATCH:
            _evaluate(batch, leaves, wanted, result)
            batch, size = [], 0
        batch.append(cone)
        size += len(cone)
    _evaluate(batch, leaves, wanted, result)
    return result


def _evaluate(cones: list[list[Op]], leaves: Mapping[str, Const], wanted: Sequence[str], result: Evaluation) -> None:
    if not cones:
        return
    ops = [op for cone in cones for op in cone]
    made = {o for op in ops for o in op.outputs if o}
    try:
        result.values.update(_run(ops, leaves, [v for v in wanted if v in made]))
    except runtime_errors():
        if len(cones) == 1:
            _one_by_one(cones[0], leaves, result)
            return
        half = len(cones) // 2
        _evaluate(cones[:half], leaves, wanted, result)
        _evaluate(cones[half:], leaves, wanted, result)


def _one_by_one(ops: list[Op], leaves: Mapping[str, Const], result: Evaluation) -> None:
    known = dict(leaves)
    for op in ops:
        if any(v not in known for v in op.operands):
            continue  # behind an op that failed
        outputs = [o for o in op.outputs if o]
        try:
            found = _run([op], known, outputs)
        except runtime_errors() as first:
            try:
                found = _run_reference(op, known, outputs)
            except _REFERENCE_ERRORS as second:
                result.failures.append((op, f"{_line(first)}; {_line(second)}"))
                continue
        known.update(found)
        result.values.update(found)


def _run(ops: Sequence[Op], leaves: Mapping[str, Const], wanted: list[str]) -> dict[str, Const]:
    session = Session(ops, {v: leaves[v] for op in ops for v in op.operands if v in leaves}, wanted)
    return session.run({})


class Session:
    """An onnxruntime session over some ops; ``constants`` are bound once, further operands are fed at each run.

    Args:
        fed: names and element types of the operands that :meth:`run` gets.

    Raises:
        Exception: one of :func:`runtime_errors` when onnxruntime lacks an op or a type.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        constants: Mapping[str, Const],
        wanted: Sequence[str],
        fed: Mapping[str, DType] | None = None,
    ) -> None:
        import onnxruntime as ort

        self._wanted = list(wanted)
        # Weights are fed rather than put into the model: no copy through protobuf.
        self._feeds = {name: const.numpy() for name, const in constants.items() if const.dtype in _NATIVE}
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.log_severity_level = 4
        model = _model(ops, constants, self._wanted, fed or {})
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Const]:
        """The wanted values for one set of operands."""
        arrays = self._session.run(self._wanted, {**self._feeds, **feeds})
        return {name: Const.of(array) for name, array in zip(self._wanted, arrays, strict=True)}


def runtime_errors() -> tuple[type[Exception], ...]:
    """The exceptions onnxruntime raises at a model it cannot load or run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented, state.RuntimeException)
    return (*own, state.InvalidProtobuf, state.EPFail, state.NotFound, RuntimeError, ValueError)


def _model(ops: Sequence[Op], constants: Mapping[str, Const], wanted: Sequence[str], fed: Mapping[str, DType]) -> bytes:
    declared = {name: const.dtype for name, const in constants.items() if const.dtype in _NATIVE} | dict(fed)
    g = _graph(ops, declared, wanted)
    for name, const in constants.items():
        if name not in declared:
            g.add_value(name, const=const)
    return _proto(g).SerializeToString()  # type: ignore[no-any-return]


def _graph(ops: Sequence[Op], inputs: Mapping[str, DType], outputs: Sequence[str]) -> Graph:
    g = Graph()
    for name, dtype in inputs.items():
        g.add_value(name, TensorType(dtype))
    g.set_inputs(inputs)
    for op in ops:
        g.add_op(op)
    g.set_outputs(outputs)
    g.set_opsets({"": required_opset(g)})
    return g


def _proto(g: Graph) -> Any:
    from onnx import helper

    from coregraft.rewriter.onnx_io.save import to_model

    model = to_model(g)
    name_results(model.graph)
    model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
    model.graph.name = "cones"
    return model


def _run_reference(op: Op, known: Mapping[str, Const], wanted: list[str]) -> dict[str, Const]:
    from onnx.reference import ReferenceEvaluator

    model = _proto(_graph([op], {v: known[v].dtype for v in op.operands}, wanted))
    with np.errstate(all="ignore"):
        arrays = ReferenceEvaluator(model).run(wanted, {v: known[v].numpy() for v in op.operands})
    if not all(isinstance(a, (np.ndarray, np.generic)) for a in arrays):
        raise TypeError(f"{op.label} does not give tensors")
    return {name: Const.of(array) for name, array in zip(wanted, arrays, strict=True)}


def _components(ops: Sequence[Op]) -> list[list[Op]]:
    """Ops that are connected through computed values, each group in the given order."""
    home: dict[str, int] = {}
    parent: list[int] = list(range(len(ops)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, op in enumerate(ops):
        for value in op.operands:
            if value in home:
                a, b = sorted((find(home[value]), find(i)))
                parent[b] = a
        home.update((o, i) for o in op.outputs if o)
    groups: dict[int, list[Op]] = {}
    for i, op in enumerate(ops):
        groups.setdefault(find(i), []).append(op)
    return list(groups.values())


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
