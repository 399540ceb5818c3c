"""The reader of the text form; its grammar is in :mod:`coregraft.rewriter.onnx_io.text`."""

from __future__ import annotations

import base64
import json
import re
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from coregraft.rewriter.errors import GraphError, InputError
from coregraft.rewriter.graph import AttrRef, Floats, Graph, Op, RawAttr, Strings
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import Array, Const, Dim, DType, OpaqueType, TensorType, ValueType

KEYWORDS = frozenset(
    (
        "graph", "opset", "fact", "default", "input", "const", "value", "output", "function", "_",
        "inf", "nan", "true", "false",
    )
)  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
    |(?P<bytes>b64"[^"]*")
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<float>-?(?:\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|inf\b|nan\b))
    |(?P<int>-?\d+)
    |(?P<name>[A-Za-z_/][\w/.\-]*)
    |(?P<mark>[()\[\]{}=:,@?*])""",
    re.VERBOSE,
)
PLAIN = re.compile(r"[A-Za-z_/][\w/.\-]*")
_DTYPES = {d.name.lower(): d for d in DType} | {"float32": DType.FLOAT, "float64": DType.DOUBLE}


def parse(text: str) -> Graph:
    """The graph that a text describes.

    Raises:
        InputError: ``text-syntax``, naming the line.
        GraphError: ``value-redefined``.
    """
    parser = _Parser(text)
    g = parser.graph(end="")
    if not g.opsets:
        g.set_opsets({"": INTERNAL_OPSET})
    return g


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self.at, self.tokens = 0, [("", text[at : at + 10], at)]
                self.fail("this character")
            if found.lastgroup != "skip":
                self.tokens.append((str(found.lastgroup), found.group(), at))
            at = found.end()
        self.tokens.append(("end", "", at))
        self.at = 0

    def fail(self, expected: str) -> NoReturn:
        _, found, at = self.tokens[self.at]
        line = self.text.count("\n", 0, at) + 1
        raise InputError("text-syntax", f"{expected} cannot stand here, at {found!r}", node=f"line {line}")

    def peek(self, text: str, ahead: int = 0) -> bool:
        kind, found, _ = self.tokens[min(self.at + ahead, len(self.tokens) - 1)]
        return found == text and kind in ("mark", "name", "end")

    def take(self, text: str) -> bool:
        if not self.peek(text):
            return False
        self.at += 1
        return True

    def need(self, text: str) -> None:
        if not self.take(text):
            self.fail(f'something other than "{text}"')

    def next(self, *kinds: str) -> str:
        kind, found, _ = self.tokens[self.at]
        if kind not in kinds:
            self.fail(f"something other than a {' or '.join(kinds)}")
        self.at += 1
        return str(json.loads(found)) if kind == "string" else found

    def name(self) -> str:
        return self.next("name", "string")

    # ---------------------------------------------------------------- statements

    def graph(self, end: str) -> Graph:
        g = Graph()
        outputs: dict[str, str] = {}
        while not self.take(end):
            kind, word, _ = self.tokens[self.at]
            if kind == "name" and word in KEYWORDS and not self.peek("=", 1) and word != "_":
                self.at += 1
                self.statement(word, g, outputs)
            else:
                self.op(g)
        g.set_outputs(outputs)
        for value in outputs.values():
            g.add_value(value)
        return g

    def statement(self, word: str, g: Graph, outputs: dict[str, str]) -> None:
        match word:
            case "graph":
                g.name = self.name()
            case "opset":
                domain = self.name() if self.tokens[self.at][0] != "int" else ""
                g.set_opsets({**g.opsets, domain: int(self.next("int"))})
            case "fact":
                key = self.name()
                self.need("=")
                g.graph[key] = self.literal()
            case "default":
                key = self.name()
                self.need("=")
                g.graph["defaults"] = MappingProxyType({**g.graph.get("defaults", {}), key: self.literal()})
            case "function":
                at = (self.name(), self.name(), self.name())
                self.need("{")
                body = self.graph("}")
                body.graph["function"] = at
                g.graph["functions"] = MappingProxyType({**g.functions, at: body})
            case "input":
                value = self.typed(g)
                g.set_inputs([*g.graph.get("inputs", ()), value])
            case "value":
                self.typed(g)
            case "const":
                value, kind = self.name(), self.type() if self.take(":") else None
                self.need("=")
                if value in g.graph.get("inputs", ()):
                    g._node[value] = g._node.pop(value)  # constants are saved in the order of the nodes
                elif value in g and (g.pred[value] or g.const(value) is not None):
                    raise GraphError("value-redefined", f'value "{value}" is defined twice', node=value)
                g.add_value(value, const=self.const(kind))
            case "output":
                public = self.name()
                outputs[public] = self.name() if self.take("=") else public
            case _:
                self.fail(f'a value named "{word}" without quotes')

    def typed(self, g: Graph) -> str:
        value = self.name()
        return g.add_value(value, self.type() if self.take(":") else None)

    def op(self, g: Graph) -> None:
        results: list[tuple[str, ValueType | None]] = []
        while not self.take("="):
            if results:
                self.need(",")
            omitted = self.take("_")
            results.append(("", None) if omitted else (self.name(), self.type() if self.take(":") else None))
        domain, _, op_type = self.name().rpartition(".")
        inputs: list[str] = []
        attrs: dict[str, Any] = {}
        self.need("(")
        while not self.take(")"):
            if (inputs or attrs) and not self.take(","):
                self.fail('something other than "," or ")"')
            if self.peek("=", 1):
                key = self.name()
                self.need("=")
                attrs[key] = _as_declared(domain, op_type, key, self.literal())
            else:
                inputs.append(self.operand(g))
        name = self.name() if self.take("@") else ""
        overload = self.name() if self.take(":") else ""
        captures = sorted({v for body in attrs.values() if isinstance(body, Graph) for v in body.free_values()})
        g.add_op(
            Op(
                op_type, tuple(inputs), tuple(v for v, _ in results), MappingProxyType(attrs), domain, name, overload,
                tuple(captures),
            )
        )  # fmt: skip
        for value, kind in results:
            if kind is not None:
                g.add_value(value, kind)

    def operand(self, g: Graph) -> str:
        if self.take("_"):
            return ""
        if self.tokens[self.at][0] in ("name", "string"):
            return self.name()
        const = self.const(None)
        return g.add_value(g.fresh_name("const"), const=const)

    # ---------------------------------------------------------------- types and literals

    def type(self) -> ValueType:
        word = self.next("name")
        if word == "opaque":
            self.need("(")
            proto = self.data()
            self.need(")")
            return OpaqueType(proto)
        if word not in _DTYPES:
            self.at -= 1
            self.fail("an element type that is not known")
        self.need("[")
        if self.take("*"):
            self.need("]")
            return TensorType(_DTYPES[word])
        dims: list[Dim] = []
        while not self.take("]"):
            if dims:
                self.need(",")
            kind = self.tokens[self.at][0]
            dims.append(None if self.take("?") else int(self.next("int")) if kind == "int" else self.name())
        return TensorType(_DTYPES[word], tuple(dims))

    def data(self) -> bytes:
        return base64.b64decode(self.next("bytes")[4:-1])

    def literal(self) -> Any:
        """The value of an attribute or fact; a bare word is a string."""
        kind, word, _ = self.tokens[self.at]
        if self.take("{"):
            return self.graph("}")
        if self.take("["):
            return _sequence(self.items())
        if kind == "bytes":
            return self.data()
        if kind == "int":
            return int(self.next("int"))
        if kind == "float":
            return float(np.float32(self.next("float")))
        if kind == "name" and word in ("true", "false"):
            self.at += 1
            return int(word == "true")
        if kind == "name" and self.peek("[", 1) and word in _DTYPES:
            return self.const(self.type())
        if kind == "name" and self.peek("(", 1):
            return self.call_literal(self.name())
        return self.name()

    def call_literal(self, word: str) -> Any:
        self.need("(")
        result: Any
        if word == "ref":
            name = self.name()
            self.need(",")
            result = AttrRef(name, int(self.next("int")))
        elif word == "raw":
            result = RawAttr(self.data())
        elif word in ("floats", "strings"):
            result = Floats() if word == "floats" else Strings()
        else:
            self.fail(f'"{word}(" in an attribute')
        self.need(")")
        return result

    def items(self) -> list[Any]:
        found: list[Any] = []
        while not self.take("]"):
            if found:
                self.need(",")
            found.append(self.literal())
        return found

    def const(self, kind: ValueType | None) -> Const:
        if isinstance(kind, OpaqueType) or (kind is not None and kind.static_shape is None):
            self.fail("a constant without a static tensor type")
        if self.tokens[self.at][0] == "name" and not self.peek("true") and not self.peek("false"):
            if kind is None or kind.static_shape is None:
                self.fail("a constant whose type is not given")
            return self.generated(kind.dtype, kind.static_shape)
        flat, shape = self.nested()
        dtype = kind.dtype if kind is not None else _guess(flat)
        array: Array
        if dtype is DType.STRING:
            array = np.empty(len(flat), object)
            array[:] = flat
        else:
            array = np.asarray(flat, None if dtype.is_integer else np.float64).astype(dtype.numpy)
        if kind is not None:
            shape = kind.static_shape or ()
        if array.size != int(np.prod(shape, dtype=np.int64)):
            self.fail(f"a shape {list(shape)} for {array.size} elements")
        return Const(dtype, shape, array.reshape(shape))

    def nested(self) -> tuple[list[Any], tuple[int, ...]]:
        """A scalar or nested list: the elements and the shape."""
        kind = self.tokens[self.at][0]
        if not self.take("["):
            if self.peek("true") or self.peek("false"):
                return [self.name() == "true"], ()
            text = self.data() if kind == "bytes" else self.next("int", "float", "string")
            return [int(text) if kind == "int" else float(text) if kind == "float" else text], ()
        rows: list[tuple[list[Any], tuple[int, ...]]] = []
        while not self.take("]"):
            if rows:
                self.need(",")
            rows.append(self.nested())
        if any(shape != rows[0][1] for _, shape in rows):
            self.fail("a ragged list")
        return [item for row, _ in rows for item in row], (len(rows), *(rows[0][1] if rows else ()))

    def generated(self, dtype: DType, shape: tuple[int, ...]) -> Const:
        word = self.next("name")
        options: dict[str, Any] = {}
        if self.take("("):
            while not self.take(")"):
                if options:
                    self.need(",")
                key = self.name() if self.peek("=", 1) else "value"
                self.take("=")
                kind = self.tokens[self.at][0]
                options[key] = float(self.next("float")) if kind == "float" else self.literal()
        made = _generate(word, dtype, shape, options)
        if made is None or options:
            self.fail(f"the constant {word}({', '.join(options)})")
        return made


def _generate(word: str, dtype: DType, shape: tuple[int, ...], options: dict[str, Any]) -> Const | None:
    """The constant that a generator of the text makes, taking its options out of ``options``."""
    size = int(np.prod(shape, dtype=np.int64))
    array: Array
    match word:
        case "zeros" | "ones" | "full":
            array = np.full(shape, {"zeros": 0, "ones": 1}.get(word) if word != "full" else options.pop("value"))
        case "arange":
            array = options.pop("start", 0) + np.arange(size) * options.pop("step", 1)
        case "normal":
            rng = np.random.default_rng(options.pop("seed", 0))
            array = rng.standard_normal(size) * options.pop("scale", 1.0) + options.pop("mean", 0.0)
        case "uniform":
            rng = np.random.default_rng(options.pop("seed", 0))
            array = rng.uniform(options.pop("low", 0.0), options.pop("high", 1.0), size)
        case "raw":
            return Const(dtype, shape, options.pop("value"))
        case "digest":
            const = Const(dtype, shape, _elided)
            const._digest = bytes.fromhex(options.pop("value"))
            return const
        case _:
            return None
    return Const(dtype, shape, array.astype(dtype.numpy).reshape(shape))


def _elided() -> NoReturn:
    raise GraphError("constant-elided", "the text that this graph was parsed from has only the digest of this constant")


def _guess(flat: list[Any]) -> DType:
    if any(isinstance(v, (str, bytes)) for v in flat):
        return DType.STRING
    if any(isinstance(v, bool) for v in flat):
        return DType.BOOL
    return DType.FLOAT if any(isinstance(v, float) for v in flat) else DType.INT64


def _sequence(items: list[Any]) -> tuple[Any, ...]:
    if items and all(isinstance(i, (str, bytes)) for i in items):
        return Strings(items)
    if any(isinstance(i, float) for i in items):
        return Floats(float(i) for i in items)
    return tuple(items)


def _as_declared(domain: str, op_type: str, key: str, value: Any) -> Any:
    """An attribute as its schema has it: ``alpha=1`` of a FLOAT attribute is 1.0, ``[]`` of STRINGS is STRINGS."""
    from onnx import defs

    from coregraft.rewriter.schema import schema

    known = schema(domain, op_type)
    declared = known.attributes.get(key) if known is not None else None
    if declared is None:
        return value
    if declared.type == defs.OpSchema.AttrType.FLOAT and type(value) is int:
        return float(value)
    if declared.type == defs.OpSchema.AttrType.FLOATS and type(value) is tuple:
        return Floats(float(v) for v in value)
    if declared.type == defs.OpSchema.AttrType.STRINGS and value == ():
        return Strings()
    return value
