"""Types for every value: dtype, shape, symbolic dims kept and computed with.

One sweep in dependency order. An op's result types come from our own rule (:mod:`~coregraft.rewriter.shapes.rules`)
or else from onnx's inference for that one op; weights are never read. Small tensors of shape arithmetic are followed
with their symbols (:mod:`~coregraft.rewriter.shapes.values`). What inference says wins over what the file declares;
where it says nothing, the declaration stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from coregraft.rewriter.graph import AttrRef, Graph, Op
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.shapes import classical, contrib, rules, rules_compute, values  # noqa: F401  # register rules
from coregraft.rewriter.shapes.dim_expr import TooManyTermsError, doubted, names
from coregraft.rewriter.shapes.schema import schema_of, schema_types
from coregraft.rewriter.shapes.site import Site, rule_for
from coregraft.rewriter.shapes.values import Content
from coregraft.rewriter.types import Const, Dim, DType, TensorType, ValueType

if TYPE_CHECKING:
    from coregraft.rewriter.rewriter import Rewriter

_MAX_CALLS = 32  # of functions in functions; also the number of times that a loop's state may lose a dim
_MAX_BODIES = 10_000  # loops in loops are inferred again and again: a hostile model would never end
_MAX_CONE = 512  # ops that are looked back through for one op's operands


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Static shapes at an op that cannot go together: the graph does not run."""

    op: str
    problem: str


def infer_shapes(g: Graph, rewriter: Rewriter | None = None) -> None:
    """Give every value of a graph and of its bodies a type, as far as it can be known.

    Types that are there are completed or corrected, those of the outputs included; inputs are not touched.

    Args:
        rewriter: the graph's rewriter, when a pass is running: every change then is an event that can be undone.
    """
    Inference(g, rewriter=rewriter).run()


def infer_op_types(g: Graph, op_id: int) -> list[ValueType | None]:
    """The types of one op's results, from the types of its operands; None where nothing is known."""
    return Inference(g, cone=_MAX_CONE).results(op_id)


def typed_bodies(g: Graph, op_id: int) -> Mapping[str, Graph]:
    """Copies of an op's bodies, by attribute name, with the types that inference finds for their values."""
    run, op = Inference(g, cone=_MAX_CONE), g.op(op_id)
    control = _CONTROL.get(op.type) if op.domain == "" else None
    return {} if control is None else control(run, op, [run.type_of(v) if v else None for v in op.inputs])[0]


def propagated_value(g: Graph, value: str) -> tuple[Dim, ...] | None:
    """What a small integer tensor of rank 0 or 1 holds, as dims (formulas for symbols, None for an unknown element);
    None when nothing is known, not even how many elements it has."""
    return values.dims(Inference(g, cone=_MAX_CONE).content(value))


class Inference:
    """One run over one graph. ``mismatches`` lists, in graph order, the ops of the top graph that cannot run.

    Args:
        outer: the run over the graph around a body or function.
        cone: how many contents are worked out at most; who asks for one op's results does not pay for the whole graph.
        rewriter: that of the graph, when changes are to be events.
    """

    def __init__(
        self, g: Graph, outer: Inference | None = None, *, cone: float = math.inf, rewriter: Rewriter | None = None
    ) -> None:
        self.g = g
        self.outer = outer
        self.rewriter = rewriter
        self.mismatches: list[Mismatch] = []
        self.opsets: Mapping[str, int] = g.opsets or (outer.opsets if outer else {"": INTERNAL_OPSET})
        self.functions: Mapping[tuple[str, str, str], Graph] = outer.functions if outer else g.functions
        self.depth: int = outer.depth + 1 if outer else 0
        self.memo: dict[Any, list[ValueType | None]] = outer.memo if outer else {}
        self.bodies_left: list[int] = outer.bodies_left if outer else [_MAX_BODIES]
        self.contents: dict[str, Content | None] = {}
        self.cone = cone

    def run(self) -> None:
        g = self.g
        if self.outer is not None:
            for value in g.free_values():
                g.nodes[value]["type"] = self.outer.type_of(value) or g.nodes[value]["type"]
        for op_id in g.topological():
            types = self.results(op_id, keep_bodies=True)
            op = g.op(op_id)
            for value, kind in zip(op.outputs, types, strict=False):
                if value and kind is not None:
                    self._set_type(value, kind)

    # ---------------------------------------------------------------- what is known of a value

    def type_of(self, value: str) -> ValueType | None:
        data = self.g._node.get(value)
        if data is not None and data["type"] is not None:
            return data["type"]  # type: ignore[no-any-return]
        return self.outer.type_of(value) if self.outer else None

    def content(self, value: str) -> Content | None:
        """What a small tensor holds, from the ops that lead to it, as far as their operands have been inferred."""
        contents, waiting = self.contents, [value]
        while waiting:
            v = waiting[-1]
            if v in contents:
                waiting.pop()
                continue
            op = self._followed(v)
            if op is None:
                contents[v] = self._given(v)
                continue
            missing = [i for i in op.inputs if i and i not in contents and op.type not in ("Shape", "Size")]
            if missing:
                waiting += missing
                continue
            kinds = [self._counted(i) if i else None for i in op.inputs]
            results = values.evaluate(op, [contents.get(i) for i in op.inputs], kinds)
            contents.update((o, c) for o, c in zip(op.outputs, results, strict=True) if o)
        return contents[value]

    def _counted(self, value: str) -> TensorType | None:
        """The type of a tensor whose sizes are taken for numbers: what is not called like an input's may be 0."""
        kind = self.g.tensor_type(value)
        if kind is None or kind.static_shape is not None or kind.shape is None:
            return kind
        return TensorType(kind.dtype, tuple(doubted(d, self.sure) for d in kind.shape))

    @functools.cached_property
    def sure(self) -> frozenset[str]:
        """The names of the dims of the model's inputs."""
        if self.outer is not None:
            return self.outer.sure
        kinds = [self.g.tensor_type(value) for value in self.g.inputs]
        dims = [d for kind in kinds if kind is not None for d in kind.shape or () if isinstance(d, str)]
        return frozenset(name for d in dims for name in names(d))

    def _followed(self, value: str) -> Op | None:
        """The op from whose operands the content of a value can follow; None when there is none, or too much to do."""
        if value not in self.g or (producer := self.g.producer(value)) is None or len(self.contents) > self.cone:
            return None
        op = self.g.op(producer)
        return op if values.follows(op) and _may_be_small(self.g.tensor_type(value)) else None

    def _given(self, value: str) -> Content | None:
        """The content of a constant, here or around this graph."""
        data = self.g._node.get(value)
        if data is not None and data["const"] is not None:
            return values.of_const(data["const"])
        free = data is None or not (self.g._pred[value] or value in self.g.inputs)
        return self.outer.content(value) if free and self.outer is not None else None

    def _set_type(self, value: str, kind: ValueType) -> None:
        data = self.g._node[value]
        new = kind if data["type"] is None else completed(kind, data["type"])
        if self.rewriter is None:
            data["type"] = new
        elif new != data["type"]:
            self.rewriter.set_type(value, new)

    def _set_bodies(self, op_id: int, op: Op, bodies: Mapping[str, Graph]) -> None:
        if all(_same_types(op.attrs[name], body) for name, body in bodies.items()):
            return
        attrs = {**op.attrs, **bodies}
        if self.rewriter is None:
            self.g.nodes[op_id]["op"] = replace(op, attrs=MappingProxyType(attrs))
        else:
            self.rewriter.update(op_id, attrs=attrs)

    # ---------------------------------------------------------------- one op

    def results(self, op_id: int, keep_bodies: bool = False) -> list[ValueType | None]:
        """The types of an op's results. With ``keep_bodies`` the op gets its bodies with their types filled in."""
        op = self.g.op(op_id)
        types = [self.type_of(v) if v else None for v in op.inputs]
        rule = rule_for(op, self.opsets.get("", INTERNAL_OPSET))
        if rule is not None:
            site = Site(op, types, self.content)
            try:
                found = rule(site)
            except TooManyTermsError:
                found = None  # formulas that nobody writes: onnx's own inference knows no formulas
            if site.mismatch:
                self.mismatches.append(Mismatch(op.label, site.mismatch))
            if found is not None:
                return list(found)
        function = self.functions.get((op.domain, op.type, op.overload))
        if function is not None:
            return self._call(op, function, types)
        control = _CONTROL.get(op.type) if op.domain == "" else None
        if control is not None:
            bodies, results = control(self, op, types)
            if keep_bodies:
                self._set_bodies(op_id, op, bodies)
            return results
        return self._by_schema(op, types)

    def body(self, body: Graph, types: Sequence[ValueType | None] = ()) -> Inference:
        """The run over a copy of a body. ``types`` are those of the body's inputs."""
        inner: Graph = body.copy()
        self.bodies_left[0] -= 1
        for value, kind in zip(inner.inputs, types, strict=False):
            if kind is not None:
                inner.nodes[value]["type"] = kind
        run = Inference(inner, self)
        if self.bodies_left[0] > 0:
            run.run()
        return run

    def output_types(self) -> list[ValueType | None]:
        return [self.type_of(v) for v in self.g.outputs.values()]

    def _call(self, op: Op, function: Graph, types: Sequence[ValueType | None]) -> list[ValueType | None]:
        key = (op.domain, op.type, op.overload, tuple(op.attrs.items()), tuple(types))
        if key not in self.memo:
            self.memo[key] = [None] * len(op.outputs)  # a function that calls itself is none of ONNX's
            if self.depth < _MAX_CALLS:
                given = {**function.graph.get("defaults", {}), **op.attrs}
                run = Inference(bound(function, given), self)
                run.outer, run.opsets = None, function.opsets
                for value, kind in zip(run.g.inputs, types, strict=False):
                    run.g.nodes[value]["type"] = kind
                run.contents.update((v, self.content(o)) for v, o in zip(run.g.inputs, op.inputs, strict=False) if o)
                run.run()
                self.memo[key] = run.output_types()
        return self.memo[key]

    def _by_schema(self, op: Op, types: Sequence[ValueType | None]) -> list[ValueType | None]:
        schema = schema_of(op, self.opsets)
        if schema is None or values.is_open(op):
            return [None] * len(op.outputs)
        data = tuple(self._data(v, kind) for v, kind in zip(op.inputs, types, strict=True))
        if any(isinstance(d, Const) for d in data):
            return schema_types(schema, op, types, data)
        key = (op.domain, op.type, tuple(op.attrs.items()), tuple(types), len(op.outputs))
        if key not in self.memo:
            self.memo[key] = schema_types(schema, op, types, data)
        return self.memo[key]

    def _data(self, value: str, kind: ValueType | None) -> Const | None:
        """The content of an operand as a constant, when it is fully known."""
        if not value or not isinstance(kind, TensorType) or not _is_small(kind):
            return None
        content = self.content(value)
        if content is None or not all(isinstance(x, (int, float, np.number)) for x in content.flat):
            return None
        return Const(kind.dtype, content.shape, content.astype(kind.dtype.numpy))


def completed(found: ValueType | None, declared: ValueType | None) -> ValueType | None:
    """What inference found, with the declaration where it found nothing."""
    if not isinstance(found, TensorType) or not isinstance(declared, TensorType):
        return found if found is not None else declared
    if found == declared:
        return declared
    dtype = found.dtype or declared.dtype
    if found.shape is None:
        return TensorType(dtype, declared.shape)
    if None not in found.shape or declared.shape is None or len(declared.shape) != len(found.shape):
        return TensorType(dtype, found.shape)
    return TensorType(dtype, tuple(d if f is None else f for f, d in zip(found.shape, declared.shape, strict=True)))


def common(a: ValueType | None, b: ValueType | None) -> ValueType | None:
    """The type that holds for a value that has one type or the other: differing dims are unknown."""
    if a == b or not isinstance(a, TensorType) or not isinstance(b, TensorType):
        return a if a == b else None
    dtype = a.dtype if a.dtype is b.dtype else DType.UNDEFINED
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return TensorType(dtype)
    return TensorType(dtype, tuple(x if x == y else None for x, y in zip(a.shape, b.shape, strict=True)))


def _same_types(a: Graph, b: Graph) -> bool:
    """Whether a body and its copy know the same types, in the bodies inside them too."""
    if any(a.type_of(v) != b.type_of(v) for v in a.values()):
        return False
    inner = {op_id: dict(op.bodies()) for op_id, op in b.ops()}
    return all(_same_types(body, inner[op_id][name]) for op_id, op in a.ops() for name, body in op.bodies())


def bound(function: Graph, given: Mapping[str, Any]) -> Graph:
    """A copy of a function's graph with the caller's attributes in place of the references to them."""
    g: Graph = function.copy()
    for op_id, op in list(g.ops()):
        attrs: dict[str, Any] = {}
        for name, value in op.attrs.items():
            if isinstance(value, Graph):
                attrs[name] = bound(value, given)
            elif not isinstance(value, AttrRef):
                attrs[name] = value
            elif value.name in given:
                attrs[name] = given[value.name]
        g.nodes[op_id]["op"] = replace(op, attrs=MappingProxyType(attrs))
    return g


# ---------------------------------------------------------------- control flow

_Bodies = tuple[dict[str, Graph], list[ValueType | None]]


def _if(run: Inference, op: Op, types: Sequence[ValueType | None]) -> _Bodies:
    then, other = run.body(op.attrs["then_branch"]), run.body(op.attrs["else_branch"])
    condition = run.content(op.inputs[0])
    taken = None if condition is None or condition.size != 1 else condition.item()
    if taken is not None:
        results = (then if taken else other).output_types()
    else:
        results = [common(a, b) for a, b in zip(then.output_types(), other.output_types(), strict=False)]
    return {"then_branch": then.g, "else_branch": other.g}, results


def _loop(run: Inference, op: Op, types: Sequence[ValueType | None]) -> _Bodies:
    state = list(types[2:])
    counters = [TensorType(DType.INT64, ()), TensorType(DType.BOOL, ())]
    body, results = _fixpoint(run, op.attrs["body"], counters, state, [], 1)
    trips = values.ints(run.content(op.inputs[0]) if op.inputs[0] else None)
    again = body.g.source(next(iter(body.g.outputs.values())))
    begins = len(op.inputs) < 2 or not op.inputs[1] or values.ints(run.content(op.inputs[1])) == [1]
    goes_on = begins and (again == body.g.graph["inputs"][1] or values.ints(body.content(again)) == [1])
    count: Dim = trips[0] if trips and goes_on else None
    stacked = [_prefixed(count, kind, 0) for kind in results[1 + len(state) :]]
    return {"body": body.g}, [*results[1 : 1 + len(state)], *stacked]


def _scan(run: Inference, op: Op, types: Sequence[ValueType | None]) -> _Bodies:
    if run.opsets.get("", INTERNAL_OPSET) < 9:
        return {}, [None] * len(op.outputs)
    count = op.attrs["num_scan_inputs"]
    state, scanned = list(types[: len(types) - count]), types[len(types) - count :]
    in_axes = op.attrs.get("scan_input_axes") or (0,) * count
    if not 0 < count <= len(types) or len(in_axes) != count:
        return {}, [None] * len(op.outputs)  # the checker's to say
    slices: list[ValueType | None] = []
    length: Dim = None
    for kind, axis in zip(scanned, in_axes, strict=True):
        if not isinstance(kind, TensorType) or not kind.shape:
            slices.append(TensorType(kind.dtype) if isinstance(kind, TensorType) else None)
            continue
        at = axis % len(kind.shape)
        length = kind.shape[at] if length is None else length
        slices.append(TensorType(kind.dtype, kind.shape[:at] + kind.shape[at + 1 :]))
    body, results = _fixpoint(run, op.attrs["body"], [], state, slices, 0)
    out_axes = op.attrs.get("scan_output_axes") or (0,) * (len(results) - len(state))
    stacked = [_prefixed(length, kind, axis) for kind, axis in zip(results[len(state) :], out_axes, strict=False)]
    return {"body": body.g}, [*results[: len(state)], *stacked]


def _fixpoint(
    run: Inference, body: Graph, before: Sequence[ValueType | None], state: list[ValueType | None],
    after: Sequence[ValueType | None], first: int,
) -> tuple[Inference, list[ValueType | None]]:  # fmt: skip
    """Infer a body until the types of its state are those it leaves behind; ``state`` is updated, the body's
    results start with ``first`` that are not state."""
    for _ in range(_MAX_CALLS):
        inner = run.body(body, [*before, *state, *after])
        results = inner.output_types()
        kept = [common(a, b if b is not None else _shapeless(a)) for a, b in zip(state, results[first:], strict=False)]
        if kept == state:
            break
        state[:] = kept
    results[first : first + len(state)] = state
    return inner, results


def _shapeless(kind: ValueType | None) -> ValueType | None:
    """All that is certain of a state that a body changes in unknown ways: its element type stays."""
    return TensorType(kind.dtype) if isinstance(kind, TensorType) else kind


def _prefixed(length: Dim, kind: ValueType | None, axis: int) -> ValueType | None:
    if not isinstance(kind, TensorType) or kind.shape is None:
        return TensorType(kind.dtype) if isinstance(kind, TensorType) else None
    at = axis % (len(kind.shape) + 1)
    return TensorType(kind.dtype, (*kind.shape[:at], length, *kind.shape[at:]))


_Control = Callable[[Inference, Op, Sequence[ValueType | None]], _Bodies]
_CONTROL: dict[str, _Control] = {"If": _if, "Loop": _loop, "Scan": _scan}


# ---------------------------------------------------------------- contents


def _is_small(kind: ValueType | None) -> bool:
    """Whether a value may take part in shape arithmetic: few elements, and no matrix of floats."""
    if not isinstance(kind, TensorType) or kind.shape is None or (kind.dtype.is_float and len(kind.shape) > 1):
        return False
    size = 1
    for d in kind.shape:
        if not isinstance(d, int):
            return False
        size *= d
    return size <= values.MAX_ELEMENTS


def _may_be_small(kind: TensorType | None) -> bool:
    return kind is None or kind.shape is None or not all(isinstance(d, int) for d in kind.shape) or _is_small(kind)
