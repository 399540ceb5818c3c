"""The text form of a graph: what the fixtures of the tests are written in, and what a diff shows.

One op a line, bodies nested in braces::

    opset 24                                    # 24 is the default; "opset com.microsoft 1" for another domain
    input x: float[N,3,8,8]                     # dims: a number, a name, ?, or a quoted formula; float[*]: any rank
    const w: float[4,3,3,3] = normal(seed=1, scale=0.1)
    const scale = 2.0                           # float[]; a list of ints is int64[n]
    y: float[N,4,8,8] = Conv(x, w, _, pads=[1, 1, 1, 1]) @conv1       # _ is an omitted operand or result
    z = Reshape(Mul_out, [0, -1])               # a literal operand is a constant; types of results may be left out
    output z                                    # "output public = z" when the names differ

A constant is a literal, ``zeros``, ``ones``, ``full(v)``, ``arange(start=0, step=1)``,
``normal(seed=0, scale=1.0, mean=0.0)``, ``uniform(seed=0, low=0.0, high=1.0)``, ``raw(b64"…")``,
or ``digest("…")``: one whose content is not in the text. Names that are not plain are quoted as in JSON.
The text has what a graph says: ops, names, attributes, types, constants, opsets, functions, plain model facts;
not how the file stored it (field choices, doc strings of nodes).
"""

from __future__ import annotations

import base64
import difflib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from coregraft.rewriter.errors import GraphError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.onnx_io.text_parser import KEYWORDS, PLAIN, parse
from coregraft.rewriter.types import Const, Dim, DType, OpaqueType, ValueType

__all__ = ["diff", "equal", "parse", "to_text"]

#: Constants of more elements than this are written as data or digest.
INLINE = 16
#: Keys of ``g.graph`` that have a line of their own, or say how a file stored things.
_NOT_FACTS = frozenset(
    (
        "name", "inputs", "outputs", "opsets", "function", "functions", "defaults", "next_id", "fresh", "value_info",
        "model_rest", "graph_rest",
    )
)  # fmt: skip


def to_text(g: Graph, *, exact: bool = True) -> str:
    """The text of a graph, in program order; ``parse`` gives an equal graph back.

    Args:
        exact: write every constant in full. Otherwise those of more than 16 elements are written as a digest,
            which keeps a text short and still tells any two apart.
    """
    return "\n".join(_graph_lines(g, exact)) + "\n"


def diff(a: Graph | str, b: Graph | str, *, context: int = 3) -> str:
    """A unified diff of two graphs (or their texts), large constants by digest; empty when they are equal."""
    before, after = (to_text(g, exact=False) if isinstance(g, Graph) else g for g in (a, b))
    return "".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), "before", "after", n=context))


def equal(a: Graph, b: Graph) -> bool:
    """Whether two graphs say the same: equal texts, constants compared by digest."""
    return to_text(a, exact=False) == to_text(b, exact=False)


def _graph_lines(g: Graph, exact: bool) -> Iterator[str]:
    if "name" in g.graph:
        yield f"graph {_quoted(g.name)}"
    for domain, version in g.opsets.items():
        yield f"opset {_name(domain) + ' ' if domain else ''}{version}"
    for key, value in sorted(g.graph.items()):
        if key not in _NOT_FACTS and _is_plain_data(value):
            yield f"fact {_name(key)} = {_literal(value, exact)}"
    for key, value in g.graph.get("defaults", {}).items():
        yield f"default {_name(key)} = {_literal(value, exact)}"
    for (domain, name, overload), body in g.functions.items():
        yield f"function {_quoted(domain)} {_quoted(name)} {_quoted(overload)} " + _body(body, exact)
    declared = g.graph.get("inputs", ())
    for value in declared:
        yield f"input {_typed(value, g)}"
    outputs = set(g.outputs.values())
    for value in g.values():
        const = g.const(value)
        if const is not None:
            yield f"const {_name(value)}: {_type(const.type)} = {_const(const, exact)}"
            continue
        unused = not (g.succ[value] or value in outputs)
        if not g.pred[value] and value not in declared and (g.type_of(value) is not None or unused):
            yield f"value {_typed(value, g)}"
    for op_id in g.topological():
        yield _op(g, g.op(op_id), exact)
    for public, value in g.outputs.items():
        yield f"output {_name(public)}" + ("" if public == value else f" = {_name(value)}")


def _op(g: Graph, op: Op, exact: bool) -> str:
    results = ", ".join(_typed(v, g) if v else "_" for v in op.outputs)
    arguments = [_name(v) if v else "_" for v in op.inputs]
    arguments += [f"{k if PLAIN.fullmatch(k) else _quoted(k)}={_literal(v, exact)}" for k, v in op.attrs.items()]
    kind = _name(f"{op.domain}.{op.type}" if op.domain else op.type)
    tail = (f" @{_name(op.name)}" if op.name else "") + (f":{_name(op.overload)}" if op.overload else "")
    return f"{results} = {kind}({', '.join(arguments)}){tail}"


def _body(g: Graph, exact: bool) -> str:
    lines = [line for text in _graph_lines(g, exact) for line in text.split("\n")]
    return "{\n" + "".join(f"  {line}\n" for line in lines) + "}"


def _name(name: str) -> str:
    return name if PLAIN.fullmatch(name) and name not in KEYWORDS else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _typed(value: str, g: Graph) -> str:
    kind = g.type_of(value)
    return _name(value) if kind is None else f"{_name(value)}: {_type(kind)}"


def _type(kind: ValueType) -> str:
    if isinstance(kind, OpaqueType):
        return f"opaque({_base64(kind.proto)})"
    if kind.shape is None:
        return f"{kind.dtype.name.lower()}[*]"
    return f"{kind.dtype.name.lower()}[{','.join(_dim(d) for d in kind.shape)}]"


def _dim(dim: Dim) -> str:
    return "?" if dim is None else _name(dim) if isinstance(dim, str) else str(dim)


def _base64(data: bytes | memoryview) -> str:
    return f'b64"{base64.b64encode(data).decode()}"'


def _is_plain_data(value: Any) -> bool:
    return isinstance(value, (int, float, str, bytes)) or (isinstance(value, tuple) and all(map(_is_plain_data, value)))


def _literal(value: Any, exact: bool) -> str:
    match value:
        case Graph():
            return _body(value, exact)
        case Const():
            return f"{_type(value.type)} {_const(value, exact)}"
        case AttrRef():
            return f"ref({_name(value.name)}, {value.type})"
        case RawAttr():
            return f"raw({_base64(value.proto)})"
        case bytes():
            return _base64(value)
        case str():
            return _quoted(value)
        case float() | np.floating():
            return _float(float(value), DType.FLOAT)
        case int() | np.integer():
            return str(int(value))
        case tuple() | list():
            if not value and isinstance(value, (Floats, Strings)):
                return "floats()" if isinstance(value, Floats) else "strings()"
            return f"[{', '.join(_literal(v, exact) for v in value)}]"
        case _:
            raise GraphError("attribute-type", f"{type(value).__name__} cannot be an attribute")


def _float(value: float, dtype: DType) -> str:
    """The shortest decimal that reads back as the same number of that type."""
    short = str(np.float32(value)) if dtype is not DType.DOUBLE else repr(value)
    if value == value and float(np.asarray(float(short), dtype.numpy)) != value:
        short = repr(value)
    return short if any(c in short for c in ".en") else short + ".0"


def _const(const: Const, exact: bool) -> str:
    if const.size > INLINE and (not exact or const.dtype is not DType.STRING):
        return f"raw({_base64(const.raw())})" if exact else f'digest("{const.digest().hex()}")'
    array = const.numpy()
    if const.dtype is DType.STRING:
        items = [_literal(v if isinstance(v, (str, bytes)) else str(v), True) for v in array.ravel()]
    elif const.dtype is DType.BOOL:
        items = ["true" if v else "false" for v in array.ravel()]
    elif const.dtype.is_integer:
        items = [str(int(v)) for v in array.ravel()]
    elif const.dtype.is_float:
        items = [_float(float(v), const.dtype) for v in array.ravel()]
        same = np.asarray([float(i) for i in items]).astype(array.dtype)
        if same.tobytes() != array.tobytes():
            return f"raw({_base64(const.raw())})"  # a NaN with a payload
    else:
        return f"raw({_base64(const.raw())})"
    return f"[{', '.join(items)}]" if const.shape else items[0]
