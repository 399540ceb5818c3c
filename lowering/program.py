"""A graph as a MIL program: inputs and outputs as Core ML takes them, and every op through its emitter."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coregraft.lowering.emitter import MIL_NAMES, Emitter, Fallback, canonical, mil_opset
from coregraft.lowering.names import Names
from coregraft.lowering.pipeline import refuse_empty
from coregraft.lowering.registry import table_for
from coregraft.lowering.sizes import is_known
from coregraft.passes.refusals import why_kept
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.shapes.dim_expr import UNNAMED
from coregraft.rewriter.shapes.dims import symbolic_dims
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import DType, TensorType

#: Core ML counts and addresses elements in int32.
_MOST_ELEMENTS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Feature:
    """An input or output of the package, and what it is in the ONNX model.

    Attributes:
        name: the ONNX name.
        feature: the name in the package.
        type: the ONNX type.
        dtype: element type in the package.
        shape: shape in the package; ``(1,)`` where ONNX has a scalar. None: it depends on the data.
    """

    name: str
    feature: str
    type: TensorType
    dtype: DType
    shape: tuple[int, ...] | None

    def as_dict(self) -> dict[str, Any]:
        """The feature as JSON values."""
        kind = self.type
        return {
            "name": self.name,
            "feature": self.feature,
            "dtype": kind.dtype.name.lower(),
            "shape": None if kind.shape is None else list(kind.shape),
            "feature_dtype": self.dtype.name.lower(),
            "feature_shape": None if self.shape is None else list(self.shape),
        }


@dataclass(frozen=True, slots=True)
class Lowered:
    """A MIL program with the record of what became of the names.

    Attributes:
        program: the ``coremltools`` MIL ``Program``.
        inputs, outputs: the features of the package, in the order of the ONNX model.
        vars: ONNX value name -> MIL var.
        loose: values whose size depends on the data although that of nothing they are computed from does.
    """

    program: Any
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    vars: Mapping[str, Any]
    loose: tuple[str, ...]

    def names(self) -> dict[str, str]:
        """ONNX value name -> MIL name, of the values that the program still has; passes rename and remove some."""
        (function,) = self.program.functions.values()
        there = {id(var) for op in function.operations for var in op.outputs}
        there.update(id(var) for var in function.inputs.values())
        return {value: str(var.name) for value, var in self.vars.items() if id(var) in there}


def build_program(graph: Graph, target: Target) -> Any:
    """The MIL ``Program`` of a graph. See :func:`lower_graph`."""
    return lower_graph(graph, target).program


def lower_graph(graph: Graph, target: Target, fallback: Fallback | None = None) -> Lowered:
    """Lower a graph whose input shapes are numbers.

    Args:
        graph: typed, at the internal opset; it is not changed.
        target: deployment target and format.
        fallback: emits the ops that have no lowering; without it they are an error.

    Raises:
        UnsupportedError: ``dims-unpinned``; ``no-inputs``; ``rank-unsupported``; ``empty-tensor``; ``op-no-lowering``,
            which names all of them; and what the emitters raise.
        CoregraftError: ``lowering-type-mismatch``: an emitter's result is not of the type that the graph says.
    """
    from coremltools.converters.mil.mil import Builder, Function, Program

    require_pinned(graph)
    if fallback is None:
        require_lowerings(graph, target)
    Builder.name_count.clear()  # the builder counts names per process; output must not depend on earlier conversions
    names = Names()
    emitter = Emitter(graph, target, table_for(target.name, target.format), names, fallback)
    inputs = [_input_feature(graph, name, names.take(name), target) for name in graph.inputs]
    outputs = _reserve_outputs(graph, emitter, names)
    placeholders = {
        f.feature: Builder.placeholder(f.shape, _mil_type(io_dtype(f.type.dtype, target, f.name))) for f in inputs
    }
    with Function(placeholders, opset_version=mil_opset(target)) as function:
        for feature in inputs:
            emitter.bind(feature.name, _enter(emitter, feature, function.inputs[feature.feature]))
        emitter.run()
        results = [_leave(emitter, graph, public, feature) for public, feature in outputs]
        function.set_outputs([var for var, _ in results])
    program = Program()
    program.add_function("main", function)
    features = tuple(feature for _, feature in results)
    return Lowered(program, tuple(inputs), features, emitter.emitted(), _where_sizes_come_loose(graph, emitter))


def _where_sizes_come_loose(graph: Graph, emitter: Emitter) -> tuple[str, ...]:
    unknown = (value for value, var in emitter.emitted().items() if not all(map(is_known, var.shape)))
    loose = {value for value in unknown if (kind := graph.tensor_type(value)) is None or kind.static_shape is None}
    ops = (graph.op(op_id) for op_id in graph.topological())
    return tuple(v for op in ops if loose.isdisjoint(op.operands) for v in op.outputs if v in loose)


def require_lowerings(graph: Graph, target: Target) -> None:
    """Check that every op has a lowering, bodies included.

    Raises:
        UnsupportedError: ``op-no-lowering`` listing each op type that has none: how many, the first one, the reason.
    """
    missing: dict[tuple[str, str, str], list[tuple[Graph, int]]] = defaultdict(list)
    for where, op_id in places(graph):
        op = where.op(op_id)
        reason = target.why_not(op)
        if reason is not None:
            missing[(op.domain, op.type, reason)].append((where, op_id))
    if not missing:
        return
    lines = []
    for (domain, kind, reason), alike in sorted(missing.items(), key=lambda item: item[0]):
        where, op_id = alike[0]
        said = why_kept(where if where is graph else where.copy(), op_id, target) or reason
        name = f"{(domain + '.') if domain else ''}{kind}"
        lines.append(f"{name} x{len(alike)} (first: {where.op(op_id).label}): {said}")
    where, op_id = missing[min(missing)][0]
    raise UnsupportedError(
        "op-no-lowering", f"{len(lines)} kind(s) of op cannot be lowered: " + "; ".join(lines),
        node=where.op(op_id).label,
        hint="a newer --target, a pass or plugin that decomposes the op, --fallback cut, which divides the model "
        "there, or --format neuralnetwork, where the op becomes a custom layer",
    )  # fmt: skip


def all_ops(graph: Graph) -> Iterator[Op]:
    """Every op in dependency order, those of bodies after the op that owns them."""
    return (where.op(op_id) for where, op_id in places(graph))


def places(graph: Graph) -> Iterator[tuple[Graph, int]]:
    """Every op with the graph that it is in, the model's or a body, in dependency order."""
    for op_id in graph.topological():
        yield graph, op_id
        for _, body in graph.op(op_id).bodies():
            yield from places(body)


def require_pinned(graph: Graph) -> None:
    """Check that the shape of every input is a list of numbers, and that no tensor is beyond all bounds.

    Raises:
        UnsupportedError: ``dims-unpinned`` with the flags that would pin them; ``no-inputs``; ``tensor-too-large``.
    """
    if not graph.inputs:
        raise UnsupportedError(
            "no-inputs", "the model has no inputs, and Core ML wants at least one", hint="store its constant outputs"
        )
    loose = [name for name in graph.inputs if (k := graph.tensor_type(name)) is None or k.static_shape is None]
    if loose:
        found = ", ".join(f'"{name}" {graph.type_of(name) or "of unknown type"}' for name in loose)
        raise UnsupportedError(
            "dims-unpinned", f"the shape of {found} is not a list of numbers", node=loose[0], hint=_flags(graph, loose)
        )
    for value in graph.values():
        kind = graph.tensor_type(value)
        if kind is not None and kind.static_shape is not None and math.prod(kind.static_shape) > _MOST_ELEMENTS:
            raise UnsupportedError("tensor-too-large", f"{kind} has more elements than int32 can count", node=value)


def _flags(graph: Graph, loose: Sequence[str]) -> str | None:
    """The flags that pin inputs: of named dims, and, where some have no name, whole shapes with the known sizes."""
    flags = [f"--dim {name}=VALUE" for name in symbolic_dims(graph)]
    for name in loose:
        kind = graph.tensor_type(name)
        if kind is None:
            continue  # no tensor: no flag can help
        if kind.shape is None:
            flags.append(f"--shape {name}=D0,D1,…")
        elif any(d is None or d in UNNAMED for d in kind.shape):
            flags.append(f"--shape {name}={','.join(str(d) if isinstance(d, int) else 'N' for d in kind.shape)}")
    return " ".join(flags) or None


def _mil_type(dtype: DType) -> Any:
    from coremltools.converters.mil.mil import types

    return types.string_to_builtin(MIL_NAMES[dtype])


def io_dtype(dtype: DType, target: Target, where: str) -> DType:
    """The element type that a value of ``dtype`` crosses the package's border in."""
    inner = canonical(dtype, where, fp16=target.has_fp16)
    if inner in target.io_dtypes:
        return inner
    return DType.INT32 if inner is DType.BOOL else DType.FLOAT


def _declared(dtype: DType, target: Target) -> DType:
    """The element type that a package declares for a feature: a neuralnetwork only has float arrays."""
    return DType.FLOAT if target.format == "neuralnetwork" else dtype


def _input_feature(graph: Graph, name: str, feature: str, target: Target) -> Feature:
    kind = graph.tensor_type(name)
    assert kind is not None and kind.static_shape is not None  # require_pinned has looked
    shape = kind.static_shape or (1,)
    if target.max_rank is not None and len(shape) > target.max_rank:
        raise UnsupportedError(
            "rank-unsupported", f'input "{name}" has rank {len(shape)}, Core ML takes {target.max_rank}', node=name,
            hint="feed it reshaped, and reshape it back as the first op",
        )  # fmt: skip
    refuse_empty(shape, name)  # before an emitter trips over it
    return Feature(name, feature, kind, _declared(io_dtype(kind.dtype, target, name), target), shape)


def _enter(emitter: Emitter, feature: Feature, var: Any) -> Any:
    """The var that the graph sees of an input: a scalar again, and of the type the graph computes in."""
    inner = emitter.dtype(feature.name)
    if inner is not io_dtype(feature.type.dtype, emitter.target, feature.name):
        var = emitter.mb.cast(x=var, dtype=MIL_NAMES[inner], name=emitter.names.take(f"{feature.feature}_inner"))
    if feature.type.rank == 0:
        var = emitter.mb.squeeze(x=var, axes=[0], name=emitter.names.take(f"{feature.feature}_scalar"))
    return var


def _reserve_outputs(graph: Graph, emitter: Emitter, names: Names) -> list[tuple[str, str]]:
    """(public name, feature name) of the outputs; the value an output is read from gets its name where it can."""
    pairs = [(public, names.take(public)) for public in graph.outputs]
    for public, feature in pairs:
        value = graph.outputs[public]
        first = graph.public_names(value)[0] == public
        if first and graph.producer(value) is not None and not _crosses_changed(graph, value, emitter.target):
            emitter.reserve(value, feature)
    return pairs


def _crosses_changed(graph: Graph, value: str, target: Target) -> bool:
    kind = graph.tensor_type(value)
    if kind is None or kind.rank == 0:
        return True
    return io_dtype(kind.dtype, target, value) is not canonical(kind.dtype, value, fp16=target.has_fp16)


def _leave(emitter: Emitter, graph: Graph, public: str, feature: str) -> tuple[Any, Feature]:
    """The var that is output ``public``, under its own name and in a type and rank that Core ML lets out."""
    value = graph.outputs[public]
    kind = emitter.type(value)
    outer = io_dtype(kind.dtype, emitter.target, public)
    var = emitter.var(value)
    mb = emitter.mb
    if kind.rank == 0:
        last = outer is emitter.dtype(value)
        name = feature if last else emitter.names.take(f"{feature}_tensor")
        if emitter.target.format == "mlprogram":
            var = mb.expand_dims(x=var, axes=[0], name=name)
        else:  # which has no scalars: the value has the shape (1,) already, and would get another dim
            var = mb.reshape(x=var, shape=[1], name=name)
    if outer is not emitter.dtype(value):
        var = mb.cast(x=var, dtype=MIL_NAMES[outer], name=feature)
    if var.name != feature or var.op is None or var.op.op_type == "const":
        var = mb.identity(x=var, name=feature)
    known = all(map(is_known, var.shape))
    shape = tuple(int(d) for d in var.shape) if known else None
    return var, Feature(public, feature, kind, _declared(outer, emitter.target), shape)
