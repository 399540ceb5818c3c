"""One-op graphs through their emitter, and what ONNX's reference implementation says they compute.

Two ways to a result, for two kinds of mistake: coremltools folds the MIL ops (all operands constant), and the numpy
evaluator of :mod:`tests.lowering.mil_numpy` runs them (operands fed).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coregraft.lowering import targets
from coregraft.lowering.emitter import Emitter, mil_opset
from coregraft.lowering.names import Names
from coregraft.lowering.program import Lowered, lower_graph
from coregraft.lowering.registry import table_for
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Array, Const, DType, TensorType
from tests.lowering.mil_numpy import op_types, run_mil


@dataclass(frozen=True)
class Case:
    """One op on given operands.

    Attributes:
        type: ONNX op type.
        operands: an array each; None for an omitted one.
        attrs: its attributes.
        constant: numbers of the operands that exported models hold as constants: never fed.
        outputs: how many results it has.
        want: the results, where ONNX's reference implementation is not to be asked.
    """

    type: str
    operands: tuple[Array | None, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    constant: tuple[int, ...] = ()
    outputs: int = 1
    want: tuple[Array, ...] | None = None

    def __str__(self) -> str:
        shapes = "-".join("none" if a is None else f"{a.dtype}{list(a.shape)}".replace(" ", "") for a in self.operands)
        attrs = ",".join(f"{k}={v}" for k, v in self.attrs.items())
        return f"{self.type}({shapes}){attrs and ':' + attrs}"


def case(
    type: str, *operands: Any, constant: Sequence[int] = (), outputs: int = 1, want: Any = None, **attrs: Any
) -> Case:
    """A :class:`Case`; operands and results are anything numpy takes."""
    arrays = tuple(None if a is None else np.asarray(a) for a in operands)
    wanted = None if want is None else tuple(np.asarray(w) for w in want)
    return Case(type, arrays, attrs, tuple(constant), outputs, wanted)


#: onnx's reference implementation does not take negative pads, nor indices that leave part of an axis out.
_BY_RUNTIME = ("Pad", "GatherElements")


def reference(c: Case) -> list[Array]:
    """The results by ONNX's reference implementation (by onnxruntime where that falls short), or as the case states."""
    if c.want is not None:
        return list(c.want)
    from onnx import ValueInfoProto, helper
    from onnx.reference import ReferenceEvaluator

    names = [f"x{i}" if a is not None else "" for i, a in enumerate(c.operands)]
    feeds = {n: a for n, a in zip(names, c.operands, strict=True) if a is not None}
    results = [f"y{i}" for i in range(c.outputs)]
    infos = [helper.make_tensor_value_info(n, int(DType.of(a.dtype)), a.shape) for n, a in feeds.items()]
    outs = [ValueInfoProto(name=n) for n in results]
    graph = helper.make_graph([helper.make_node(c.type, names, results, **c.attrs)], "one_op", infos, outs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", INTERNAL_OPSET)], ir_version=10)
    if c.type in _BY_RUNTIME:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))
    with np.errstate(all="ignore"):
        return [np.asarray(r) for r in ReferenceEvaluator(model).run(None, feeds)]


def graph_of(c: Case, fed: Sequence[int] = ()) -> Graph:
    """The op as a graph with the types of its results; operands in ``fed`` are inputs, the others constants."""
    g = Graph()
    g.set_opsets({"": INTERNAL_OPSET})
    names = []
    for i, array in enumerate(c.operands):
        names.append("" if array is None else f"x{i}")
        if array is None:
            continue
        if i in fed:
            g.add_input(f"x{i}", TensorType(DType.of(array.dtype), array.shape))
        else:
            g.add_value(f"x{i}", const=Const.of(array))
    results = tuple(f"y{i}" for i in range(c.outputs))
    for name, array in zip(results, reference(c), strict=True):
        g.add_value(name, TensorType(DType.of(array.dtype), array.shape))
    attrs = {k: tuple(v) if isinstance(v, list) else v for k, v in c.attrs.items()}
    g.add_op(Op(c.type, tuple(names), results, attrs, name="op"))
    g.set_outputs(results)
    return g


def folded(c: Case, target: str = "iOS17") -> list[Array | None]:
    """What coremltools computes when every operand is a constant; None where it does not."""
    from coremltools.converters.mil.mil import Builder, Function

    g = graph_of(c)
    goal = targets.get(target)
    emitter = Emitter(g, goal, table_for(target, "mlprogram"), Names())
    with Function({"unused": Builder.placeholder((1,))}, opset_version=mil_opset(goal)), np.errstate(all="ignore"):
        emitter.run()
    values = [emitter.var(name).val for name in g.outputs.values()]
    return [None if v is None else np.asarray(v) for v in values]


def fed_operands(c: Case) -> tuple[int, ...]:
    """The operands that are not held as constants."""
    return tuple(i for i, a in enumerate(c.operands) if a is not None and i not in c.constant)


def lowered(c: Case, target: str = "iOS17") -> Lowered:
    """The program of the op, fed with the operands that are not constants."""
    return lower_graph(graph_of(c, fed_operands(c)), targets.get(target))


def ran(c: Case, target: str = "iOS17") -> list[Array]:
    """What the program computes, by the documented meaning of its ops."""
    program = lowered(c, target)
    feeds = {}
    for feature in program.inputs:
        array = c.operands[int(feature.name[1:])]
        assert array is not None
        feeds[feature.feature] = array.astype(feature.dtype.numpy).reshape(feature.shape or ())
    with np.errstate(all="ignore"):
        found = run_mil(program.program, feeds)
    return [found[f.feature].reshape(f.type.static_shape or ()) for f in program.outputs]


def mil_ops(c: Case, target: str = "iOS17") -> list[str]:
    """The MIL ops of the program, constants, casts and identities left out."""
    return [op for op in op_types(lowered(c, target).program) if op not in ("cast", "identity")]


def find_op(c: Case, mil_type: str, target: str = "iOS17") -> Any:
    """The first MIL op of a type in the program."""
    operations = lowered(c, target).program.functions["main"].operations
    return next(op for op in operations if op.op_type == mil_type)


def assert_equal(found: Array, want: Array) -> None:
    """Equality for integers and bools; for floats within the rounding of a few operations."""
    assert found.shape == want.shape
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(found.astype(np.int64), want.astype(np.int64))
        return
    rtol, atol = (2e-3, 2e-3) if want.dtype == np.float16 else (2e-5, 2e-6)
    np.testing.assert_allclose(found.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol)


def assert_right(c: Case, target: str = "iOS17", *, folds: bool = True) -> None:
    """Both ways give what ONNX's reference implementation gives.

    Args:
        folds: whether coremltools can fold every op of it; when not, only the program is run.
    """
    want = reference(c)
    for value, expected in zip(folded(c, target), want, strict=True):
        assert (value is not None) == folds
        if value is not None:
            assert_equal(value, expected)
    if fed_operands(c):
        for value, expected in zip(ran(c, target), want, strict=True):
            assert_equal(value, expected)
