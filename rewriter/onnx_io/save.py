"""From a :class:`~coregraft.rewriter.graph.Graph` to an ONNX model or file; the inverse of :mod:`.load`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from coregraft.rewriter.errors import GraphError, UsageError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.onnx_io.external import Layout, Staged, external_pieces, same_content
from coregraft.rewriter.onnx_io.load import MODEL_FACTS, import_opsets, value_type
from coregraft.rewriter.onnx_io.tensors import Stored
from coregraft.rewriter.onnx_io.wire import MAX_MESSAGE, splice_weights
from coregraft.rewriter.types import Const, DType, OpaqueType, TensorType, ValueType

#: Puts the content of a constant into its tensor (raw data, a reference to a file, …).
Place = Callable[[TensorProto, Const], None]
#: Weights of the outermost graph of at least so many bytes are written straight to the file.
_STREAMED = 1 << 14
#: In a model over 2 GB, constants of at least so many bytes become external.
_EXTERNAL_IF_HUGE = 1024
#: The first IR versions where initializers need not be inputs, and with functions.
_OLDEST_IR, _FUNCTIONS_IR = 4, 8


def save(g: Graph, path: str | Path, *, external_threshold: int | None = None) -> list[Path]:
    """Write the graph to an ONNX file: the same bytes for the same graph, complete or not at all.

    Constants that came from external data go to a file of the same name beside ``path``, the others into the
    model, or, when that would pass protobuf's 2 GB, to ``<path>.data``. An external file that is there already
    is left alone: reused when it has the same content, and otherwise ``<path>.data`` is written instead.

    Args:
        external_threshold: constants of at least so many bytes go to ``<path>.data``, all others into the model,
            wherever they came from.

    Returns:
        The files that were written, the model first.

    Raises:
        UsageError: ``output-unwritable``. GraphError: as :func:`to_model`.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError("output-unwritable", "the folder does not exist", node=str(path))
    data_name = f"{path.name}.data"
    layout = Layout.as_stored(g) if external_threshold is None else Layout.of_large(g, data_name, external_threshold)
    there = _settle(layout, path.parent, data_name)
    model, streamed = _placed(g, layout)
    if model.ByteSize() + sum(c.nbytes + 8 for c in streamed) > MAX_MESSAGE and external_threshold is None:
        layout = Layout.of_large(g, data_name, _EXTERNAL_IF_HUGE)
        there = _settle(layout, path.parent, data_name)
        model, streamed = _placed(g, layout)
    pieces = splice_weights(model.SerializeToString(deterministic=True), streamed)
    if sum(piece.nbytes for piece in pieces) > MAX_MESSAGE:
        raise UsageError("model-too-large", "the model passes 2 GB; let its weights be external", node=str(path))
    fresh = {path.parent / location: entries for location, entries in layout.files.items() if location not in there}
    with Staged() as files:
        for file, entries in fresh.items():
            files.write(file, external_pieces(entries))
        files.write(path, pieces)
    return [path, *fresh]


def _settle(layout: Layout, folder: Path, data_name: str) -> set[str]:
    """The locations whose file is there already; those taken by other content are moved to ``data_name``."""
    there = set()
    for location, entries in list(layout.files.items()):
        target = folder / location
        if target.is_file() and same_content(target, external_pieces(entries)):
            there.add(location)
        elif location != data_name and target.exists():
            layout.move(location, data_name)
            there.discard(data_name)
    return there


def _placed(g: Graph, layout: Layout) -> tuple[onnx.ModelProto, list[Const]]:
    """The model without its large weights, each of which refers to an external file or has its index in the list."""
    streamed: list[Const] = []
    outermost = {id(c) for v in g.values() if (c := g.const(v)) is not None}

    def place(tensor: TensorProto, const: Const) -> None:
        if layout.refer(tensor, const):
            return
        if id(const) not in outermost or const.nbytes < _STREAMED:
            place_inline(tensor, const)
            return
        _make_internal(tensor)
        tensor.segment.begin = tensor.segment.end = len(streamed)
        streamed.append(const)

    return to_model(g, external=place), streamed


def to_model(g: Graph, *, external: Place | None = None) -> onnx.ModelProto:
    """The graph as an ONNX model; a graph straight from ``load`` gives the model it came from.

    Args:
        external: called with every tensor whose content would go into ``raw_data``, to put it elsewhere. By
            default all constants go into the model, also those that came from external data.

    Raises:
        GraphError: ``graph-cycle``, ``attribute-type``.
    """
    model = onnx.ModelProto()
    for name in MODEL_FACTS:
        if name in g.graph:
            setattr(model, name, g.graph[name])
    _pairs(model.metadata_props, g.graph.get("metadata", ()))
    opsets = dict(g.opsets)
    functions: dict[tuple[str, str, str], Graph | onnx.FunctionProto] = dict(g.functions)
    if any(_uses_dialect(op) for _, op in g.ops()):
        from coregraft.rewriter import dialect

        opsets.setdefault(dialect.DOMAIN, dialect.VERSION)
        for f in dialect.functions_for(g):
            functions.setdefault((f.domain, f.name, f.overload), f)
            for needed in f.opset_import:
                opsets.setdefault(needed.domain, needed.version)
    rest = onnx.ModelProto.FromString(g.graph.get("model_rest", b""))
    if import_opsets(rest.opset_import) != opsets:
        del rest.opset_import[:]
        rest.opset_import.extend(onnx.OperatorSetIdProto(domain=d, version=v) for d, v in opsets.items())
        oldest = onnx.helper.find_min_ir_version_for(rest.opset_import, ignore_unknown=True)
        model.ir_version = max(model.ir_version, oldest, _FUNCTIONS_IR if functions else _OLDEST_IR)
    model.MergeFrom(rest)
    _Writer(external or place_inline).graph(g, model.graph)
    for key, f in functions.items():
        model.functions.append(function_proto(f, key) if isinstance(f, Graph) else f)
    return model


def tensor_proto(const: Const, name: str) -> TensorProto:
    """A constant as a tensor with its content."""
    tensor = TensorProto()
    _Writer(place_inline).tensor(const, tensor, name)
    return tensor


def function_proto(g: Graph, key: tuple[str, str, str] | None = None) -> onnx.FunctionProto:
    """The function whose body is ``g``; ``key`` is (domain, name, overload), by default the one it was loaded with."""
    domain, name, overload = key or g.graph["function"]
    proto = onnx.GraphProto()
    _Writer(place_inline).graph(g, proto)
    f = onnx.FunctionProto(
        name=name, input=[i.name for i in proto.input], output=[o.name for o in proto.output],
        attribute=g.graph.get("attributes", ()), node=proto.node, domain=domain, value_info=proto.value_info,
        attribute_proto=[attribute(k, v) for k, v in g.graph.get("defaults", {}).items()],
        opset_import=[onnx.OperatorSetIdProto(domain=d, version=v) for d, v in g.opsets.items()],
        metadata_props=proto.metadata_props,
    )  # fmt: skip
    if overload:
        f.overload = overload
    if proto.HasField("doc_string"):
        f.doc_string = proto.doc_string
    return f


def _uses_dialect(op: Op) -> bool:
    return op.domain == "coregraft" or any(_uses_dialect(inner) for _, body in op.bodies() for _, inner in body.ops())


class _Writer:
    """Writes graphs; ``place`` decides where the content of constants goes."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def graph(self, g: Graph, out: onnx.GraphProto, outer: _Names | None = None) -> None:
        """Write ``g`` into ``out``; ``outer`` names the values it captures when it is a body."""
        names = _names(g, outer)
        name_of = names.of
        for op_id in g.topological():
            self.op(g.op(op_id), out.node.add(), names)
        for public, value in names.copies:
            name = names.public[public]
            out.node.add(op_type="Identity", input=[name_of[value]], output=[name], name=f"{name}_output")
        name = g.graph.get("name", "graph")  # ONNX wants one; a file without has ""
        if name:
            out.name = name
        declared = g.graph.get("inputs", ())
        for value in g.values():
            const = g.const(value)
            if const is None:
                continue
            if const.storage is not None and const.storage.kind == "sparse":
                sparse = out.sparse_initializer.add()
                sparse.ParseFromString(const.storage.rest)
                sparse.values.name = name_of[value]
            else:
                self.tensor(const, out.initializer.add(), name_of[value])
        if "graph_doc" in g.graph:
            out.doc_string = g.graph["graph_doc"]
        for value in declared:
            _info(out.input.add(), name_of[value], g, value)
        for public, value in g.outputs.items():
            _info(out.output.add(), names.public[public], g, value)
        known = {*declared, *g.outputs.values()}
        listed = [v for v in g.graph.get("value_info", ()) if v in g]
        known.update(listed)
        for value in (*listed, *(v for v in g.values() if v not in known and g.const(v) is None)):
            if g.type_of(value) is not None and (g.pred[value] or value in g.graph.get("value_info", ())):
                _info(out.value_info.add(), name_of[value], g, value)
        _pairs(out.metadata_props, g.graph.get("graph_metadata", ()))
        if "graph_rest" in g.graph:
            out.MergeFromString(g.graph["graph_rest"])

    def op(self, op: Op, out: onnx.NodeProto, names: _Names) -> None:
        name_of = names.of
        out.input.extend([name_of[v] if v else "" for v in op.inputs])
        out.output.extend([name_of[v] if v else "" for v in op.outputs])
        if op.name:
            out.name = op.name
        out.op_type = op.type
        for name, value in op.attrs.items():
            if isinstance(value, Graph):
                a = out.attribute.add(name=name, type=AttributeProto.GRAPH)
                self.graph(value, a.g, names.inside(op.captures))
            elif isinstance(value, Const):
                a = out.attribute.add(name=name, type=AttributeProto.TENSOR)
                self.tensor(value, a.t, None)
            else:
                out.attribute.append(attribute(name, value))
        if op.domain:
            out.domain = op.domain
        if op.overload:
            out.overload = op.overload
        if "rest" in op.meta:
            out.MergeFromString(op.meta["rest"])
        docs = op.meta.get("attribute_docs", {})
        for a in out.attribute if docs else ():
            if a.name in docs:
                a.doc_string = docs[a.name]

    def tensor(self, const: Const, out: TensorProto, name: str | None) -> None:
        stored: Stored | None = const.storage
        if stored is not None and stored.kind != "sparse":
            out.ParseFromString(stored.rest)
        if name is not None:
            out.name = name
        out.dims.extend(const.shape)
        out.data_type = int(const.dtype)
        if stored is not None and stored.kind == "typed":
            return
        if const.dtype is DType.STRING:
            out.string_data.extend(s if isinstance(s, bytes) else str(s).encode() for s in const.numpy().ravel())
        else:
            self.place(out, const)


def place_inline(tensor: TensorProto, const: Const) -> None:
    """Put a constant's content into ``raw_data``: what is done with those that ``external`` does not keep out."""
    _make_internal(tensor)
    raw = const.raw()
    tensor.raw_data = raw if isinstance(raw, bytes) else bytes(raw)


def _make_internal(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of a graph in the file. ``of`` is by value, ``public`` by output; ``copies`` are the (output, value)
    pairs that take an Identity; ``new`` are the names that this graph or one around it did not have before."""

    of: dict[str, str]
    public: dict[str, str]
    copies: list[tuple[str, str]]
    new: frozenset[str]

    def inside(self, captures: Iterable[str]) -> _Names:
        """What a body must know."""
        return _Names({v: self.of[v] for v in captures}, {}, [], self.new)


def _names(g: Graph, outer: _Names | None) -> _Names:
    """Name the values so that each output has its public name.

    The value behind an output takes the public name, unless it is an input, a constant, captured, or an output
    already; then the output is a copy of it. A value whose name is taken by that gives way. Inputs and outputs of a
    body go by position, so theirs may give way as well.

    Raises:
        GraphError: ``value-redefined``: an output that cannot have its public name.
    """
    inputs = g.graph.get("inputs", ())
    new = outer.new if outer else frozenset()
    name_of = dict(outer.of) if outer else {v: v for v in inputs}
    taken = {*new, *name_of.values()}

    def free(name: str) -> str:
        n = 0
        found = name
        while found in taken or (n and found in g):
            n += 1
            found = f"{name}_{n}"
        taken.add(found)
        return found

    public = {p: name_of[v] if p == v in name_of else free(p) for p, v in g.outputs.items()}
    if outer is None and any(name != final for name, final in public.items()):
        raise GraphError("value-redefined", "an output has the name of an input that it is not", node=g.name or None)
    name_of |= {v: public[p] for p, v in g.outputs.items() if p == v}
    copies = []
    for name, value in g.outputs.items():
        if name != value and (value in name_of or value in inputs or g.const(value) is not None):
            copies.append((name, value))
        else:
            name_of[value] = public[name]
    for value in g.values():
        if value not in name_of:
            name_of[value] = free(value)
    changed = [final for v, final in name_of.items() if final != v] + [public[name] for name, _ in copies]
    return _Names(name_of, public, copies, new.union(changed))


def attribute(name: str, value: Any) -> AttributeProto:
    """An attribute that holds no graph.

    Raises:
        GraphError: ``attribute-type``: ONNX has no attribute of that Python type.
    """
    a = AttributeProto(name=name)
    match value:
        case RawAttr():
            a.ParseFromString(value.proto)
        case AttrRef():
            a.ref_attr_name, a.type = value.name, value.type  # type: ignore[assignment]
        case bool() | int() | np.integer() | np.bool_():
            a.i, a.type = int(value), AttributeProto.INT
        case float() | np.floating():
            a.f, a.type = float(value), AttributeProto.FLOAT
        case str() | bytes():
            a.s, a.type = value if isinstance(value, bytes) else value.encode(), AttributeProto.STRING
        case Const():
            a.type = AttributeProto.TENSOR
            _Writer(place_inline).tensor(value, a.t, None)
        case tuple() | list():
            _sequence(a, value)
        case _:
            raise GraphError("attribute-type", f"{type(value).__name__} cannot be an attribute", node=name)
    return a


def _sequence(a: AttributeProto, value: Iterable[Any]) -> None:
    items = list(value)
    if isinstance(value, Strings) or (items and isinstance(items[0], (str, bytes))):
        a.type = AttributeProto.STRINGS
        a.strings.extend(s if isinstance(s, bytes) else s.encode() for s in items)
    elif isinstance(value, Floats) or any(isinstance(i, (float, np.floating)) for i in items):
        a.type = AttributeProto.FLOATS
        a.floats.extend(float(i) for i in items)
    elif items and all(isinstance(i, Const) for i in items):
        a.type = AttributeProto.TENSORS
        for item in items:
            _Writer(place_inline).tensor(item, a.tensors.add(), None)
    elif all(isinstance(i, (int, np.integer)) for i in items):
        a.type = AttributeProto.INTS
        a.ints.extend(int(i) for i in items)
    else:
        raise GraphError("attribute-type", "the items of the list are not of one type", node=a.name)


def _info(out: onnx.ValueInfoProto, name: str, g: Graph, value: str) -> None:
    kind = g.type_of(value)
    info = g.nodes[value].get("info")
    if info is not None:
        out.ParseFromString(info)
        if value_type(out.type) != kind:
            out.ClearField("type")
    out.name = name
    if kind is not None and not out.HasField("type"):
        out.type.CopyFrom(type_proto(kind))


def type_proto(kind: ValueType) -> onnx.TypeProto:
    """The ``TypeProto`` that states a type."""
    proto = onnx.TypeProto()
    if isinstance(kind, OpaqueType):
        proto.ParseFromString(kind.proto)
        return proto
    assert isinstance(kind, TensorType)
    proto.tensor_type.elem_type = int(kind.dtype)
    if kind.shape is not None:
        proto.tensor_type.shape.SetInParent()
        for dim in kind.shape:
            d = proto.tensor_type.shape.dim.add()
            if isinstance(dim, str):
                d.dim_param = dim
            elif dim is not None:
                d.dim_value = dim
    return proto


def _pairs(out: Any, pairs: Iterable[tuple[str, str]]) -> None:
    for key, value in pairs:
        out.add(key=key, value=value)


