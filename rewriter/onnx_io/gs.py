"""Exchange with onnx-graphsurgeon, exact both ways, so that a gs script can stand between two passes.

gs has no place for much that ONNX says (metadata, types of sequences, unused initializers, some attributes). Each gs
object made here carries what it stands for in an attribute of its own, and on the way back what the script did not
touch is taken from there. A gs object made by the script, or copied by gs, is read for what gs itself holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter, constant_to_onnx_tensor, dtype_to_onnx
from onnx_graphsurgeon.importers.onnx_importer import OnnxImporter
from onnx_graphsurgeon.ir.function import Function
from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues
from onnx_graphsurgeon.util import misc

from coregraft.rewriter.errors import GraphError, InputError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.onnx_io.load import from_model, value_type
from coregraft.rewriter.onnx_io.save import tensor_proto, to_model, type_proto
from coregraft.rewriter.onnx_io.tensors import TensorReader
from coregraft.rewriter.types import Array, Const, DType, TensorType, ValueType

#: The attribute of a gs object that holds what it stands for.
_KEPT = "_coregraft"
#: What gs is told when a graph has no name.
_NO_NAME = "graph"


def to_graphsurgeon(g: Graph) -> gs.Graph:
    """The graph as a gs graph; the bodies are gs graphs too, and constants are read when gs asks for their values.

    Raises:
        GraphError: ``graph-cycle``.
    """
    if _has_renamed_outputs(g):
        g = from_model(to_model(g))
    functions = [_gs_graph(body, {}, (), key) for key, body in g.functions.items()]
    return _gs_graph(g, {}, functions)


def from_graphsurgeon(graph: gs.Graph) -> Graph:
    """The graph of a gs graph, which may have been made by :func:`to_graphsurgeon`, by gs, or by hand.

    Raises:
        InputError: ``value-redefined``, ``value-undefined``, ``graph-cycle``.
    """
    g = _graph(graph, {})
    g.graph["functions"] = MappingProxyType({_function_key(f): _function(f) for f in graph.functions})
    for value in g.free_values():
        raise InputError("value-undefined", f'nothing defines the value "{value}"', node=value)
    try:
        g.topological()
    except GraphError as error:
        raise InputError(error.code, error.message, node=error.node) from None
    return g


# -------------------------------------------------------------------- to gs


class _LazyConst(LazyValues):  # type: ignore[misc]  # gs is untyped
    """Values of a constant that are read when gs first asks for them."""

    def __init__(self, const: Const, name: str) -> None:
        self.const = const
        self.name = name
        self.shape = const.shape
        self.dtype = const.dtype.numpy
        self.nbytes = const.nbytes

    @property
    def tensor(self) -> onnx.TensorProto:
        return tensor_proto(self.const, self.name)

    def load(self) -> Array:
        return np.array(self.const.numpy())


def _has_renamed_outputs(g: Graph) -> bool:
    return any(public != value for public, value in g.outputs.items()) or any(
        _has_renamed_outputs(body) for _, op in g.ops() for _, body in op.bodies()
    )


def _gs_graph(
    g: Graph, outer: Mapping[str, gs.Tensor], functions: Any, function: tuple[str, str, str] | None = None
) -> gs.Graph:
    tensors: dict[str, gs.Tensor] = {}
    unused: list[gs.Tensor] = []
    outside: dict[str, Any] = {}
    declared = g.graph.get("inputs", ())
    for value in g.values():
        captured = not g.pred[value] and value in outer and value not in declared and g.const(value) is None
        tensors[value] = outer[value] if captured else _gs_tensor(g, value)
        if captured:
            outside[value] = dict(g.nodes[value])
        elif not g.pred[value] and not g.succ[value]:
            unused.append(tensors[value])
    scope = {**outer, **tensors}
    nodes = [_gs_node(g.op(op_id), scope) for op_id in g.topological()]
    facts = dict(g.graph)
    shared: dict[str, Any] = {
        "nodes": nodes, "inputs": [tensors[v] for v in g.inputs], "outputs": [tensors[v] for v in g.outputs],
        "doc_string": g.graph.get("graph_doc", ""), "opset": g.opsets.get(""),
        "import_domains": [onnx.helper.make_opsetid(d, v) for d, v in g.opsets.items()] or None,
    }  # fmt: skip
    if function is None:
        facts_of_model = {k: g.graph.get(k) for k in ("producer_name", "producer_version", "ir_version")}
        made = gs.Graph(**shared, name=g.graph.get("name", _NO_NAME), functions=functions, **facts_of_model)
    else:
        attributes = dict.fromkeys(g.graph.get("attributes", ()))
        defaults = {k: _gs_attribute(v, scope) for k, v in g.graph.get("defaults", {}).items()}
        made = Function(function[1], function[0], **shared, attrs={**attributes, **defaults})
        facts["function"] = function
    constants = [tensors[v] for v in g.values() if g.const(v) is not None]
    vars(made)[_KEPT] = (facts, made.opset, constants, unused, outside)
    return made


def _gs_tensor(g: Graph, value: str) -> gs.Tensor:
    const, kind = g.const(value), g.type_of(value)
    if const is not None:
        made = gs.Constant(value, _LazyConst(const, value))
    elif kind is None:
        made = gs.Variable(value)
    else:
        made = OnnxImporter.import_tensor(onnx.ValueInfoProto(name=value, type=type_proto(kind)))
    vars(made)[_KEPT] = (kind, g.nodes[value].get("info"), _stated(made))
    return made


def _stated(tensor: gs.Tensor) -> Any:
    """What gs says of the type of a variable, to see whether a script has changed it."""
    if isinstance(tensor, gs.Constant):
        return None
    return tensor.dtype, None if tensor.shape is None else tuple(tensor.shape), tensor.type


def _gs_node(op: Op, scope: Mapping[str, gs.Tensor]) -> gs.Node:
    attrs = {k: _gs_attribute(v, scope) for k, v in op.attrs.items() if not isinstance(v, RawAttr)}
    node = gs.Node(
        op.type, op.name, attrs,
        [scope[v] if v else gs.Variable.empty() for v in op.inputs],
        [scope[v] if v else gs.Variable.empty() for v in op.outputs], op.domain or None,
    )  # fmt: skip
    given = {k: list(v) if isinstance(v, list) else v for k, v in attrs.items()}
    vars(node)[_KEPT] = (op, given)
    return node


def _gs_attribute(value: Any, scope: Mapping[str, gs.Tensor]) -> Any:
    if isinstance(value, Const):
        return gs.Constant("", _LazyConst(value, ""))
    if isinstance(value, Graph):
        return _gs_graph(value, scope, ())
    if isinstance(value, AttrRef):
        return gs.Node.AttributeRef(value.name, misc.convert_from_onnx_attr_type(value.type))
    if isinstance(value, tuple):
        return [_gs_attribute(v, scope) for v in value]
    return value


# -------------------------------------------------------------------- from gs


def _function_key(f: Function) -> tuple[str, str, str]:
    facts = vars(f).get(_KEPT, ({},))[0]
    return f.domain or "", f.name, facts.get("function", ("", "", ""))[2]


def _function(f: Function) -> Graph:
    g = _graph(f, {})
    defaults = g.graph.get("defaults", {})
    g.graph["attributes"] = tuple(name for name, value in f.attrs.items() if value is None)
    g.graph["defaults"] = MappingProxyType(
        {k: _attribute(v, defaults.get(k), {}) for k, v in f.attrs.items() if v is not None}
    )
    g.graph["function"] = _function_key(f)
    return g


def _graph(graph: gs.Graph, outer: Mapping[int, str]) -> Graph:
    facts, opset, constants, unused, outside = vars(graph).get(_KEPT, ({}, graph.opset, (), (), {}))
    g = Graph()
    g.graph.update({k: v for k, v in facts.items() if k not in ("inputs", "outputs", "next_id", "functions")})
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    defined = {id(t) for t in inputs} | {id(t) for n in graph.nodes for t in n.outputs}
    scope = dict(outer)
    used = _used(graph) | {id(t) for t in unused}
    kept = [t for t in constants if isinstance(t, gs.Constant) and id(t) in used]
    for tensor in [*kept, *unused, *inputs, *(t for n in graph.nodes for t in (*n.inputs, *n.outputs)), *outputs]:
        if tensor.is_empty() or (id(tensor) in outer and id(tensor) not in defined):
            continue
        if id(tensor) not in scope or (id(tensor) in outer and tensor.name not in g):
            if tensor.name in g:
                raise InputError("value-redefined", f'two gs tensors have the name "{tensor.name}"', node=tensor.name)
            scope[id(tensor)] = tensor.name
            _add_value(g, tensor)
    for node in graph.nodes:
        try:
            g.add_op(_op(node, scope))
        except GraphError as error:
            raise InputError(error.code, error.message, node=error.node) from None
    names = [t.name for t in inputs]
    listed = facts.get("inputs", ())
    constant_inputs = {v for v in listed if v in g and g.const(v) is not None}
    same = [v for v in listed if v not in constant_inputs] == names
    all_inputs = [v for v in listed if v in constant_inputs or v in names]
    g.set_inputs(all_inputs if same else [*names, *sorted(constant_inputs)])
    g.set_outputs([t.name for t in outputs])
    for t in outputs:
        g.add_value(t.name)
    for value, known in outside.items():
        if value in g:
            g.nodes[value].update(known)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in graph.import_domains or ()}
    if graph.opset is not None and (graph.opset != opset or not (opsets or facts)):
        opsets[""] = graph.opset
    for domain in sorted({n.domain for n in graph.nodes if n.domain} - opsets.keys() - {"ai.onnx"}):
        opsets[domain] = 1
    if not outer:
        g.set_opsets(opsets)
    _set_facts(g, graph)
    return g


def _used(graph: gs.Graph) -> set[int]:
    """The identities of all tensors that nodes read or graphs return, in bodies too."""
    found = {id(t) for t in graph.outputs}
    for node in graph.nodes:
        found.update(id(t) for t in node.inputs)
        for body in node.attrs.values():
            if isinstance(body, gs.Graph):
                found |= _used(body)
    return found


def _set_facts(g: Graph, graph: gs.Graph) -> None:
    made_here = _KEPT in vars(graph)
    if not isinstance(graph, Function) and ("name" in g.graph or not made_here or graph.name != _NO_NAME):
        g.name = graph.name or ""
    pairs = (("graph_doc", graph.doc_string),) if isinstance(graph, Function) else (
        ("graph_doc", graph.doc_string), ("producer_name", graph.producer_name),
        ("producer_version", graph.producer_version), ("ir_version", graph.ir_version),
    )  # fmt: skip
    for key, value in pairs:
        if value or key in g.graph:
            g.graph[key] = value


def _add_value(g: Graph, tensor: gs.Tensor) -> None:
    kind, info, stated = vars(tensor).get(_KEPT, (None, None, ()))
    const = _const(tensor) if isinstance(tensor, gs.Constant) else None
    if const is None and stated != _stated(tensor):
        kind = _type(tensor)
    g.add_value(tensor.name, kind, const)
    if info is not None:
        g.nodes[tensor.name]["info"] = info


def _type(variable: gs.Variable) -> ValueType | None:
    if variable.dtype is None:
        return None
    if variable.type == "tensor_type":
        shape = None if variable.shape is None else tuple(variable.shape)
        return TensorType(DType(dtype_to_onnx(variable.dtype)), shape)
    return value_type(OnnxExporter.export_value_info_proto(variable, True).type)


def _const(constant: gs.Constant) -> Const:
    values = constant._values
    if isinstance(values, _LazyConst):
        return values.const
    if isinstance(values, SparseValues):
        return TensorReader().sparse(values.tensor)
    if isinstance(values, LazyValues):
        return TensorReader().const(values.tensor, values.tensor.name)
    if dtype_to_onnx(constant.dtype) != dtype_to_onnx(constant.export_dtype):
        return TensorReader().const(constant_to_onnx_tensor(constant), constant.name)
    return Const(DType.of(values.dtype), values.shape, values)


def _op(node: gs.Node, scope: Mapping[int, str]) -> Op:
    op, given = vars(node).get(_KEPT, (None, {}))
    if op is not None and op.type != node.op:
        op = None
    attrs: dict[str, Any] = {}
    for key, original in op.attrs.items() if op is not None else ():
        if isinstance(original, RawAttr) and key not in node.attrs:
            attrs[key] = original
        elif key in node.attrs:
            untouched = given.get(key) is node.attrs[key] or given.get(key) == node.attrs[key]
            attrs[key] = _attribute(node.attrs[key], original if untouched else None, scope)
    attrs |= {k: _attribute(v, None, scope) for k, v in node.attrs.items() if k not in attrs}
    captures = sorted({v for body in attrs.values() if isinstance(body, Graph) for v in body.free_values()})
    return Op(
        node.op, tuple(_name(t, scope) for t in node.inputs), tuple(_name(t, scope) for t in node.outputs),
        MappingProxyType(attrs), "" if node.domain in (None, "ai.onnx") else node.domain, node.name or "",
        op.overload if op is not None else "", tuple(captures),
        op.origin if op is not None else None, op.meta if op is not None else MappingProxyType({}),
    )  # fmt: skip


def _name(tensor: gs.Tensor, scope: Mapping[int, str]) -> str:
    return "" if tensor.is_empty() else scope[id(tensor)]


def _attribute(value: Any, original: Any, scope: Mapping[int, str]) -> Any:
    """An attribute of ours; ``original`` is what an untouched one was made from."""
    if isinstance(value, gs.Graph):
        return _graph(value, scope)
    if isinstance(value, gs.Constant):
        return _const(value)
    if original is not None:
        return original
    if isinstance(value, gs.Node.AttributeRef):
        return AttrRef(value.name, misc.convert_to_onnx_attr_type(value.type))
    if isinstance(value, (type, np.dtype)):
        return int(dtype_to_onnx(value))
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, (list, tuple)):
        return value
    items = [_attribute(v, None, scope) for v in value]
    if any(isinstance(i, float) for i in items):
        return Floats(float(i) for i in items)
    return Strings(items) if any(isinstance(i, (str, bytes)) for i in items) else tuple(items)
