"""Running a graph, or a part of one, by onnxruntime with its own rewrites off; the reference of checked mode."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array, Const, DType, TensorType

#: Newest IR version that every supported onnxruntime loads; nothing of ours needs a newer one.
MAX_IR = 10
#: Size taken for a symbolic dim when nobody says.
ANY_DIM = 2
#: Weights from this size on are shared with onnxruntime, where numpy holds them as it does.
_SHARED_BYTES = 1 << 14
_SHARED_TYPES = frozenset(
    {DType.FLOAT, DType.DOUBLE, DType.FLOAT16, DType.INT64, DType.INT32, DType.INT8, DType.UINT8, DType.BOOL}
)

_MANY_RESULTS = frozenset({"If", "Loop", "Scan", "Split"})


class UnrunnableError(CoregraftError):
    """The graph cannot be run here: an op without a kernel, or inputs that do not fit it.

    Attributes:
        no_kernel: the graph may be right, onnxruntime only has no kernel for an op on its element types.
    """

    def __init__(self, message: str, no_kernel: bool = False) -> None:
        super().__init__("graph-unrunnable", message)
        self.no_kernel = no_kernel


def run(
    g: Graph, feeds: Mapping[str, Array], wanted: Sequence[str] = (), ops: Iterable[int] | None = None
) -> dict[str, Array]:
    """Values of a graph on the given feeds.

    Args:
        feeds: by value name: the inputs, or any values at which a part is cut off.
        wanted: names of the values to return; the graph's outputs (by value name) when empty.
        ops: the part to run; everything that ``wanted`` needs when None.

    Raises:
        UnrunnableError: onnxruntime refuses the graph or the feeds.
    """
    names = list(dict.fromkeys(wanted or g.outputs.values()))
    given = {v: np.asarray(feeds[v]) for v in names if v in feeds}
    given.update({v: c.numpy() for v in names if v not in feeds and (c := g.const(v)) is not None})
    rest = [v for v in names if v not in given]
    if not rest:
        return given
    session = _Session(_part(g, rest, feeds, None if ops is None else set(ops)))
    return {**given, **session.run(rest, feeds)}


class Runner:
    """A graph ready to run many times; one session, the graph's inputs fed whole.

    Args:
        wanted: names of the values to return; those of the graph's outputs when empty.

    Raises:
        UnrunnableError: onnxruntime refuses the graph.
    """

    def __init__(self, g: Graph, wanted: Sequence[str] = ()) -> None:
        names = list(dict.fromkeys(wanted or g.outputs.values()))
        self._known = {v: c.numpy() for v in names if (c := g.const(v)) is not None}
        self._passed = [v for v in names if v in g.inputs]
        self._wanted = [v for v in names if v not in self._known and v not in self._passed]
        if self._wanted:
            part = _part(g, self._wanted, {v: np.zeros(0) for v in g.inputs}, None)
            for value in part.inputs:
                part.nodes[value]["type"] = g.type_of(value)
            self._session = _Session(part)

    def run(self, feeds: Mapping[str, Array], only: Collection[str] | None = None) -> dict[str, Array]:
        """The wanted values by name, or ``only`` some of them.

        Raises:
            UnrunnableError: the feeds do not fit, or an op fails on them.
        """
        values = {**self._known, **{v: np.asarray(feeds[v]) for v in self._passed}}
        computed = [v for v in self._wanted if only is None or v in only]
        if computed:
            values.update(self._session.run(computed, feeds))
        return values if only is None else {v: values[v] for v in only}


def seeded_inputs(g: Graph, seed: int = 0, dims: Mapping[str, int] | None = None) -> dict[str, Array]:
    """Inputs of the right type for a graph, the same for the same graph and seed.

    Integers are drawn from 0..1, which is legal for ids, masks, lengths and most indices.

    Raises:
        UnrunnableError: an input that is not a tensor of a numeric type.
    """
    feeds = {}
    for name in g.inputs:
        kind = g.type_of(name)
        if not isinstance(kind, TensorType) or kind.shape is None or kind.dtype is DType.STRING:
            raise UnrunnableError(f'input "{name}" is {kind}, for which no values are drawn')
        shape = [d if isinstance(d, int) else (dims or {}).get(d or "", ANY_DIM) for d in kind.shape]
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        draw = rng.standard_normal(shape) if kind.dtype.is_float else rng.integers(0, 2, shape)
        feeds[name] = np.asarray(draw).astype(kind.dtype.numpy)
    return feeds


def _part(g: Graph, wanted: Sequence[str], feeds: Mapping[str, Array], ops: set[int] | None) -> Graph:
    """The part of a graph between the fed and the wanted values, as a graph of its own."""
    part = Graph()
    part.graph.update({k: v for k, v in g.graph.items() if k not in ("inputs", "outputs")})
    todo = [v for v in wanted if v not in feeds]
    needed: set[int] = set()
    while todo:
        op_id = g.producer(todo.pop())
        if op_id is None or op_id in needed or (ops is not None and op_id not in ops):
            continue
        needed.add(op_id)
        todo.extend(v for v in g.op(op_id).operands if v not in feeds)
    inputs = [v for v in feeds if v in g]
    for value in inputs:
        part.add_value(value, TensorType(DType.of(feeds[value].dtype), (None,) * feeds[value].ndim))
    part.set_inputs(inputs)
    for op_id in [i for i in g.topological() if i in needed]:
        op = g.op(op_id)
        for value in op.operands:
            if value not in part:
                part.add_value(value, g.type_of(value), g.const(value))
        for value in op.outputs:
            if value:
                part.add_value(value, g.type_of(value))
        part.add_op(op)
    part.set_outputs(wanted)
    used = {v for i in needed for v in g.op(i).operands}
    for value in [v for v in inputs if v not in used and v not in wanted]:
        part.remove_node(value)
    part.set_inputs([v for v in inputs if v in part])
    return part


class _Session:
    """A graph in onnxruntime. Large weights are shared with it, not copied, as far as their memory is laid out so."""

    def __init__(self, g: Graph) -> None:
        import onnxruntime as ort

        from coregraft.rewriter.onnx_io.save import to_model

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # Weights packed for speed would be a second copy of each, which a few runs do not pay back.
        options.add_session_config_entry("session.disable_prepacking", "1")
        weights = _Weights(g)
        model = to_model(g, external=weights.place)
        _forget_shapes(model.graph)
        name_results(model.graph)
        for output in model.graph.output:
            output.ClearField("type")
        model.ir_version = min(model.ir_version, MAX_IR)
        self._shared = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.shared.values()]
        try:
            if self._shared:
                options.add_external_initializers(list(weights.shared), self._shared)
            content = model.SerializeToString()
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except _ort_errors() as error:
            raise _unrunnable(error) from error
        self._inputs = [i.name for i in self._session.get_inputs()]

    def run(self, wanted: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The wanted values by name; feeds that the graph does not use are left out."""
        try:
            found = self._session.run(list(wanted), {name: feeds[name] for name in self._inputs})
        except _ort_errors() as error:
            raise _unrunnable(error) from error
        for name, value in zip(wanted, found, strict=True):
            if isinstance(value, (list, dict)):
                raise UnrunnableError(f'"{name}" is not a tensor')
        return {name: np.asarray(value) for name, value in zip(wanted, found, strict=True)}


class _Weights:
    """Keeps large weights out of a model; ``shared`` has their arrays by name."""

    def __init__(self, g: Graph) -> None:
        self.shared: dict[str, Array] = {}
        self._graph = g

    def place(self, tensor: Any, const: Const) -> None:
        from coregraft.rewriter.onnx_io.save import place_inline

        outermost = tensor.name in self._graph and self._graph.const(tensor.name) is const
        if not outermost or const.nbytes < _SHARED_BYTES or const.dtype not in _SHARED_TYPES:
            place_inline(tensor, const)
            return
        del tensor.external_data[:]
        tensor.data_location = tensor.EXTERNAL
        for key, value in (("location", "shared"), ("offset", "0"), ("length", str(const.nbytes))):
            tensor.external_data.add(key=key, value=value)
        self.shared[tensor.name] = np.require(const.numpy(), requirements=["C", "A"])


def _forget_shapes(graph: Any) -> None:
    """Take the inferred shapes from a ``GraphProto`` and its bodies.

    Symbolic dims may be too narrow for the sizes that are fed, and where a branch is never taken with the sizes that
    an input is pinned to, they contradict each other: onnxruntime loads no such model, though it runs.
    """
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_shapes(attribute.g)
                for output in attribute.g.output:
                    if output.type.HasField("tensor_type"):
                        output.type.tensor_type.ClearField("shape")


def name_results(graph: Any, numbers: Iterator[int] | None = None) -> None:
    """Give names to the results left out of ops that have any number of them, in a ``GraphProto`` and its bodies:
    onnxruntime 1.31 ends the process at such a gap."""
    numbers = numbers or itertools.count()
    for node in graph.node:
        if node.op_type in _MANY_RESULTS:
            node.output[:] = [name or f"left out {next(numbers)}" for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                name_results(attribute.g, numbers)


def _unrunnable(error: Exception) -> UnrunnableError:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    text = " ".join(str(error).split())
    no_kernel = isinstance(error, state.NotImplemented) or "data type is not supported" in text
    return UnrunnableError(text[:300], no_kernel)


def _ort_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NotImplemented")
    return (*(getattr(state, n) for n in names), state.RuntimeException, RuntimeError, ValueError)
