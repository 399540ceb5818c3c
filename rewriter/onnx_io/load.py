"""From an ONNX file to a :class:`~coregraft.rewriter.graph.Graph`, the weights left where they are.

What a graph cannot say in its own terms (a tensor's storage field, doc strings, denotations) travels as residue:
the serialized message without what the graph does say. Only :mod:`coregraft.rewriter.onnx_io.save` reads it.

Facts in ``g.graph`` beside those of :class:`Graph`: ``ir_version``, ``producer_name``, ``producer_version``,
``domain``, ``model_version``, ``doc_string`` (each present only if the file has it), ``metadata`` (pairs),
``graph_doc``, ``graph_metadata``, ``value_info`` (names whose types the file lists, in its order), ``model_rest``,
``graph_rest``.
A function is a Graph as well, with ``attributes`` (names without a default) and ``defaults`` (name -> value).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto

from coregraft.rewriter.collector import collector_off
from coregraft.rewriter.errors import GraphError, InputError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.onnx_io import wire
from coregraft.rewriter.onnx_io.tensors import TensorReader, check_utf8, text
from coregraft.rewriter.opset import OLDEST_OPSET
from coregraft.rewriter.types import Const, DType, OpaqueType, TensorType, ValueType

NEWEST_OPSET = 28
MODEL_FACTS = ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string")
_NO_META: Mapping[str, Any] = MappingProxyType({})


def load(source: str | Path | bytes | memoryview | onnx.ModelProto) -> Graph:
    """Read a model. Weights of a file stay in the file, mapped, until a constant is asked for its values.

    Raises:
        InputError: the file is missing, is not ONNX, is damaged, breaks ONNX's rules, or refers to data that it
            must not read; the code says which (``docs/errors.md``).
    """
    if isinstance(source, onnx.ModelProto):
        return from_model(source)
    folders: tuple[Path, ...] = ()
    if isinstance(source, (str, Path)):
        path = Path(source)
        data = wire.map_file(path)
        folders = (path.parent, path.resolve().parent)
    else:
        path, data = Path("<bytes>"), memoryview(source)
    with collector_off():
        wire.check_model(data, str(path))
        structure, cuts = wire.cut_weights(data) or (data, frozenset())
        try:
            model = onnx.ModelProto.FromString(structure)
        except DecodeError as error:
            raise wire.parse_failure(data, str(path)) from error
        return _Reader(TensorReader(folders, data, cuts)).model(model)


def from_model(model: onnx.ModelProto, base_dir: str | Path | None = None) -> Graph:
    """The graph of a model in memory; ``base_dir`` is the folder that its external data is in.

    Raises:
        InputError: as :func:`load`.
    """
    with collector_off():
        return _Reader(TensorReader(() if base_dir is None else (Path(base_dir),))).model(model)


def function_graph(function: Graph | onnx.FunctionProto | bytes) -> Graph:
    """The body of a model-local function as a graph of its own, free to be edited.

    Args:
        function: a value of ``Graph.functions``, a proto, or a serialized one.

    Raises:
        InputError: as :func:`load`.
    """
    if isinstance(function, Graph):
        body: Graph = function.copy()
        return body
    proto = onnx.FunctionProto.FromString(function) if isinstance(function, bytes) else function
    return _Reader(TensorReader()).function(proto)


class _Reader:
    def __init__(self, tensors: TensorReader) -> None:
        self.tensors = tensors
        self.in_function = False  # a model's functions are read after its graph

    # ---------------------------------------------------------------- model, function, graph

    def model(self, model: onnx.ModelProto) -> Graph:
        if not model.HasField("graph"):
            raise InputError("model-not-onnx", "there is no graph in this file")
        opsets = import_opsets(model.opset_import)
        if not model.graph.output:
            raise InputError("graph-empty", "the graph has no outputs", node=model.graph.name or None)
        g = self.graph(model.graph, opsets, 0)
        for value in g.free_values():
            raise InputError("value-undefined", f'nothing defines the value "{value}"', node=_reader_of(g, value))
        g.set_opsets(opsets)
        for name in MODEL_FACTS:
            if model.HasField(name):
                g.graph[name] = getattr(model, name)
        check_utf8(model.producer_name, model.producer_version, model.domain, model.doc_string)
        if model.metadata_props:
            g.graph["metadata"] = _pairs(model.metadata_props)
        if model.functions:
            functions: dict[tuple[str, str, str], Graph] = {}
            for f in model.functions:
                key = (f.domain, f.name, f.overload)
                if key in functions:
                    raise InputError("value-redefined", f'the function "{f.domain}.{f.name}" is there twice')
                if f.domain in ("", "ai.onnx") and onnx.defs.has(f.name, opsets.get("", 0), ""):
                    # ONNX leaves it to the runtime which of the two a node means
                    raise InputError("value-redefined", f'the function "{f.name}" has the name of an op of ONNX')
                functions[key] = self.function(f)
            g.graph["functions"] = MappingProxyType(functions)
        rest = onnx.ModelProto(
            opset_import=model.opset_import, training_info=model.training_info, configuration=model.configuration
        )
        g.graph["model_rest"] = rest.SerializeToString()
        return g

    def function(self, f: onnx.FunctionProto) -> Graph:
        self.in_function = True
        opsets = import_opsets(f.opset_import)
        check_utf8(f.name, f.domain, f.overload, f.doc_string, *f.attribute, *(a.name for a in f.attribute_proto))
        check_utf8(*f.input, *f.output)
        proto = onnx.GraphProto(node=f.node, name=f.name, value_info=f.value_info)
        proto.input.extend(onnx.ValueInfoProto(name=name) for name in f.input)
        proto.output.extend(onnx.ValueInfoProto(name=name) for name in f.output)
        g = self.graph(proto, opsets, 0)
        for value in g.free_values():
            raise InputError("value-undefined", f'nothing defines the value "{value}" in a function', node=f.name)
        g.set_opsets(opsets)
        g.graph["attributes"] = tuple(f.attribute)
        g.graph["defaults"] = MappingProxyType({a.name: self.attribute(a, opsets, 0) for a in f.attribute_proto})
        g.graph["function"] = (f.domain, f.name, f.overload)
        if f.HasField("doc_string"):
            g.graph["graph_doc"] = f.doc_string
        if f.metadata_props:
            g.graph["graph_metadata"] = _pairs(f.metadata_props)
        return g

    def graph(self, proto: onnx.GraphProto, opsets: Mapping[str, int], depth: int) -> Graph:
        """Build one graph. Writes networkx's adjacency itself: through ``add_edge`` it takes twice as long."""
        if depth > wire.MAX_DEPTH:
            raise InputError("nesting-depth", f"graphs are nested deeper than {wire.MAX_DEPTH}", node=proto.name)
        g = Graph()
        nodes, succ, pred = g._node, g._succ, g._pred

        def add(name: str, type: ValueType | None, const: Const | None) -> None:
            if not name or name.__class__ is not str:
                check_utf8(name)
                raise InputError("name-empty", "an input, output or initializer has no name", node=proto.name or None)
            nodes[name] = {"type": type, "const": const}
            succ[name] = {}
            pred[name] = {}

        inputs = []
        for info in proto.input:
            if info.name in nodes:
                raise InputError("value-redefined", f'the input "{info.name}" is listed twice')
            add(info.name, None, None)
            _set_type(nodes[info.name], info)
            inputs.append(info.name)
        declared = frozenset(inputs)
        for tensor in proto.initializer:
            name = tensor.name
            const = self.tensors.const(tensor, name)
            if name not in nodes:
                add(name, TensorType(const.dtype, const.shape), const)
            elif name in declared and nodes[name]["const"] is None:
                data = nodes[name] = nodes.pop(name)  # constants are saved in the order of the nodes
                data["const"] = const
            else:
                raise InputError("value-redefined", f'the initializer "{name}" is there twice')
        for sparse in proto.sparse_initializer:
            name = sparse.values.name
            if name in nodes:
                raise InputError("value-redefined", f'the sparse initializer "{name}" is there twice')
            const = self.tensors.sparse(sparse)
            add(name, const.type, const)

        sorted_file = True
        for op_id, n in enumerate(proto.node):
            outputs = tuple(n.output)
            captures: tuple[str, ...] = ()
            attrs: Mapping[str, Any] = _NO_META
            documented = False
            name, domain = n.name, n.domain
            if domain not in opsets:
                if domain != "ai.onnx" or "" not in opsets:
                    code = "domain-unknown" if domain not in ("", "ai.onnx") else "opset-unsupported"
                    where = f'{n.op_type} "{n.name or ",".join(outputs)}"'
                    raise InputError(code, f'no opset is imported for the domain "{domain or "ai.onnx"}"', node=where)
                domain = ""
            if n.attribute:
                attributes = n.attribute
                attrs = {a.name: self.attribute(a, opsets, depth) for a in attributes}
                documented = any(a.HasField("doc_string") for a in attributes)
                if len(attrs) != len(attributes):
                    raise InputError("attribute-repeated", "an attribute is there twice", node=n.name or n.op_type)
                bodies = [a for a in attrs.values() if type(a) is Graph]
                if bodies:
                    _refuse_hidden(nodes, bodies)
                    captures = tuple(sorted({v for body in bodies for v in body.free_values()}))
                attrs = MappingProxyType(attrs)
            op_type, overload = n.op_type, n.overload
            check_utf8(op_type, name, overload, *attrs)
            meta = _NO_META
            if (
                n.HasField("doc_string") or n.HasField("overload") or n.metadata_props or n.device_configurations
                or (not name and n.HasField("name")) or (not domain and n.HasField("domain")) or documented
            ):  # fmt: skip
                meta = _node_meta(n)
            op = Op(op_type, tuple(n.input), outputs, attrs, domain, name, overload, captures, None, meta)
            nodes[op_id] = {"op": op, "pos": op_id}
            uses: dict[str, dict[str, Any]] = {}
            pred[op_id] = uses
            for value in (*op.inputs, *captures) if captures else op.inputs:
                if value:
                    if value not in nodes:
                        add(value, None, None)
                    succ[value][op_id] = uses[value] = {}
            defines: dict[str, dict[str, Any]] = {}
            succ[op_id] = defines
            for value in outputs:
                if value:
                    if value not in nodes:
                        add(value, None, None)
                    elif pred[value] or value in declared or nodes[value]["const"] is not None:
                        raise InputError("value-redefined", f'the value "{value}" is defined twice', node=op.label)
                    else:
                        sorted_file = False
                    pred[value][op_id] = defines[value] = {}
        g.graph["next_id"] = len(proto.node)

        g.set_inputs(inputs)
        outs = {}
        for info in proto.output:
            if info.name not in nodes:
                add(info.name, None, None)
            if info.name in outs:
                raise InputError("value-redefined", f'the output "{info.name}" is listed twice')
            outs[info.name] = info.name
            if info.name not in declared and nodes[info.name]["const"] is None:  # what those are is known
                _set_type(nodes[info.name], info)
        g.set_outputs(outs)
        listed = []
        for info in proto.value_info:
            if info.name not in nodes:
                add(info.name, None, None)
            if info.name not in declared:
                _set_type(nodes[info.name], info)
            listed.append(info.name)
        if listed:
            g.graph["value_info"] = tuple(listed)
        _graph_facts(g, proto)
        if not sorted_file:
            try:
                g.topological()
            except GraphError as error:
                raise InputError(error.code, error.message, node=error.node) from None
        return g

    # ---------------------------------------------------------------- attributes

    def attribute(self, a: AttributeProto, opsets: Mapping[str, int], depth: int) -> Any:
        if a.ref_attr_name:
            check_utf8(a.ref_attr_name)
            if not self.in_function:
                raise InputError("attribute-type", f'the attribute "{a.name}" is one of a function, and there is none')
            return AttrRef(a.ref_attr_name, a.type)
        kind = a.type or _kind_of(a)
        if kind == AttributeProto.GRAPH:
            return self.graph(a.g, opsets, depth + 1)
        if kind == AttributeProto.TENSOR:
            return self.tensors.const(a.t, None)
        if kind == AttributeProto.TENSORS:
            return tuple(self.tensors.const(t, None) for t in a.tensors) or RawAttr(a.SerializeToString())
        decode = _DECODE.get(kind)
        return decode(a) if decode else RawAttr(a.SerializeToString())


_DECODE: dict[int, Callable[[AttributeProto], Any]] = {
    AttributeProto.INT: lambda a: a.i,
    AttributeProto.FLOAT: lambda a: a.f,
    AttributeProto.STRING: lambda a: text(a.s),
    AttributeProto.INTS: lambda a: tuple(a.ints),
    AttributeProto.FLOATS: lambda a: Floats(a.floats),
    AttributeProto.STRINGS: lambda a: Strings(text(s) for s in a.strings),
}


def _kind_of(a: AttributeProto) -> int:
    """The type of an attribute of a file from before attributes said it."""
    for field, kind in (("f", 1), ("i", 2), ("s", 3), ("t", 4), ("g", 5)):
        if a.HasField(field):
            return kind
    for field, kind in (("floats", 6), ("ints", 7), ("strings", 8), ("tensors", 9)):
        if getattr(a, field):
            return kind
    return AttributeProto.UNDEFINED


def import_opsets(imports: Sequence[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """Opset version by domain; ``ai.onnx`` is the empty domain.

    Raises:
        InputError: ``opset-unsupported``; ``text-not-utf8``.
    """
    opsets: dict[str, int] = {}
    for entry in imports:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        check_utf8(domain)
        # of two versions ONNX takes the higher one, and onnxruntime the last
        if entry.version < 1 or opsets.setdefault(domain, entry.version) != entry.version:
            versions = sorted({entry.version, opsets.get(domain, entry.version)})
            raise InputError("opset-unsupported", f'the domain "{domain or "ai.onnx"}" is imported at opset {versions}')
    version = opsets.get("")
    if version is not None and not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise InputError(
            "opset-unsupported", f"opset {version} of ai.onnx is not supported",
            hint=f"opsets {OLDEST_OPSET} to {NEWEST_OPSET} are; onnx.version_converter may bring the model there",
        )  # fmt: skip
    return opsets


def value_type(proto: onnx.TypeProto) -> ValueType | None:
    """The type that a ``TypeProto`` states; None when it states none."""
    kind = proto.WhichOneof("value")
    if kind is None:
        return None
    if kind != "tensor_type":
        return OpaqueType(proto.SerializeToString())
    tensor = proto.tensor_type
    try:
        dtype = DType(tensor.elem_type)
    except ValueError:
        raise InputError("dtype-unknown", f"element type {tensor.elem_type} is not known") from None
    if not tensor.HasField("shape"):
        return TensorType(dtype)
    return TensorType(dtype, tuple([_dim(d) for d in tensor.shape.dim]))


def _dim(d: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if d.dim_param:
        check_utf8(d.dim_param)
        return d.dim_param
    return d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None


def _refuse_hidden(outer: Mapping[Any, Any], bodies: Iterable[Graph]) -> None:
    """ONNX wants the names of a body to be new. Runtimes differ in which of two constants of one name they take."""
    for body in bodies:
        for name, data in body._node.items():
            if data.get("const") is not None and name in outer and name not in body.inputs:
                hidden = outer[name].get("const")
                if hidden is None or hidden.numpy().tobytes() != data["const"].numpy().tobytes():
                    raise InputError("value-redefined", f'an initializer of a body hides another value, "{name}"')


def _set_type(data: dict[str, Any], info: onnx.ValueInfoProto) -> None:
    kind = value_type(info.type)
    if kind is not None:
        data["type"] = kind
    dims = info.type.tensor_type.shape.dim
    if (
        info.HasField("doc_string") or info.metadata_props or info.type.denotation
        or (kind is None and info.HasField("type"))
        or any(d.denotation or d.dim_value < 0 or (d.HasField("dim_param") and not d.dim_param) for d in dims)
    ):  # fmt: skip
        data["info"] = info.SerializeToString()


def _node_meta(n: onnx.NodeProto) -> Mapping[str, Any]:
    """The residue of a node: doc string, metadata, devices, and fields that are there but empty."""
    rest = None
    if n.HasField("doc_string") or n.metadata_props or n.device_configurations:
        check_utf8(n.doc_string)
        rest = onnx.NodeProto(metadata_props=n.metadata_props, device_configurations=n.device_configurations)
        if n.HasField("doc_string"):
            rest.doc_string = n.doc_string
    for field in ("name", "domain", "overload"):
        value = getattr(n, field)
        if (not value and n.HasField(field)) or (field == "domain" and value == "ai.onnx"):
            rest = rest or onnx.NodeProto()
            setattr(rest, field, value)
    docs = {a.name: a.doc_string for a in n.attribute if a.HasField("doc_string")}
    check_utf8(*docs.values())
    if rest is None and not docs:
        return _NO_META
    meta: dict[str, Any] = {} if rest is None else {"rest": rest.SerializeToString()}
    if docs:
        meta["attribute_docs"] = MappingProxyType(docs)
    return MappingProxyType(meta)


def _pairs(entries: Iterable[onnx.StringStringEntryProto]) -> tuple[tuple[str, str], ...]:
    pairs = tuple((p.key, p.value) for p in entries)
    check_utf8(*(item for pair in pairs for item in pair))
    return pairs


def _graph_facts(g: Graph, proto: onnx.GraphProto) -> None:
    check_utf8(proto.name, proto.doc_string)
    g.name = proto.name
    if proto.HasField("doc_string"):
        g.graph["graph_doc"] = proto.doc_string
    if proto.metadata_props:
        g.graph["graph_metadata"] = _pairs(proto.metadata_props)
    if proto.quantization_annotation:
        rest = onnx.GraphProto(quantization_annotation=proto.quantization_annotation)
        g.graph["graph_rest"] = rest.SerializeToString()


def _reader_of(g: Graph, value: str) -> str:
    users = g.users(value)
    return g.op(users[0]).label if users else value
