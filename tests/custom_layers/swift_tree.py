"""Swift by its grammar: sources without errors, and the value of the expressions that are generated."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

tree_sitter = pytest.importorskip("tree_sitter")
tree_sitter_swift = pytest.importorskip("tree_sitter_swift")
_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))


def problems(text: str) -> list[str]:
    """The lines of a Swift source at which the grammar finds an error or misses something."""
    found: list[str] = []
    todo = [_PARSER.parse(text.encode()).root_node]
    while todo:
        node = todo.pop()
        if node.type == "ERROR" or node.is_missing:
            found.append(text.splitlines()[node.start_point[0]])
        todo.extend(node.children)
    return found


def functions(text: str) -> set[str]:
    """Names of the functions that a Swift source declares."""
    found: set[str] = set()
    todo = [_PARSER.parse(text.encode()).root_node]
    while todo:
        node = todo.pop()
        if node.type == "function_declaration":
            found.add(node.child_by_field_name("name").text.decode())
        todo.extend(node.children)
    return found


def evaluate(text: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """The value of a Swift expression of literals, names, operators and calls.

    The grammar for editors binds calls more loosely than operators do, so this one has its own reader, by Swift's
    precedences.

    Args:
        names: values by text: ``x``, ``attributes.alpha``, ``x.shape``.
        functions: by name; a method gets what it is called on first.
    """
    reader = _Reader(text, names, functions)
    value = reader.ternary()
    assert reader.at == len(reader.tokens), f"{text}: more than one expression"
    return value


_TOKEN = re.compile(r"\s*(\d+\.\d+(?:e[+-]?\d+)?|\d+|\.?[A-Za-z_]\w*|&&|\|\||[<>=!]=|[-+*/<>!?:()\[\],])")
_LEVELS = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!="), ("+", "-"), ("*", "/"))


class _Reader:
    def __init__(self, text: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> None:
        self.names, self.functions, self.at = names, functions, 0
        self.tokens = _TOKEN.findall(text)
        assert "".join(self.tokens) == text.replace(" ", ""), text

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.next
        assert token and wanted in ("", token), (token, wanted)
        self.at += 1
        return token

    def ternary(self) -> Any:
        condition = self.binary(0)
        if self.next != "?":
            return condition
        assert isinstance(condition, bool), "Swift wants a Bool"
        self.take("?")
        first = self.ternary()
        self.take(":")
        second = self.ternary()
        assert type(first) is type(second), "both branches have one type"
        return first if condition else second

    def binary(self, level: int) -> Any:
        if level == len(_LEVELS):
            return self.prefix()
        value = self.binary(level + 1)
        while self.next in _LEVELS[level]:
            value = _applied(self.take(), value, self.binary(level + 1))
        return value

    def prefix(self) -> Any:
        if self.next not in ("-", "!"):
            return self.postfix()
        sign, operand = self.take(), self.prefix()
        assert isinstance(operand, bool) == (sign == "!")
        return not operand if sign == "!" else -operand

    def postfix(self) -> Any:
        token = self.take()
        if token == "(":
            value = self.ternary()
            self.take(")")
        elif token == "[":
            value = self.arguments("]")
        elif token[0].isdigit():
            value = float(token) if "." in token or "e" in token else int(token)
        elif self.next == "(":
            self.take("(")
            value = self.functions[token](*self.arguments(")"))
        else:
            while self.next.startswith(".") and any(f"{n}.".startswith(f"{token}{self.next}.") for n in self.names):
                token += self.take()
            value = self.names[token]
        while self.next.startswith("."):
            name = self.take()[1:]
            self.take("(")
            value = self.functions[name](value, *self.arguments(")"))
        return value

    def arguments(self, closing: str) -> list[Any]:
        found: list[Any] = []
        while self.next != closing:
            found.append(self.ternary())
            if self.next == ",":
                self.take(",")
        self.take(closing)
        return found


def _applied(sign: str, a: Any, b: Any) -> Any:
    assert type(a) is type(b), f"Swift wants like and like: {a!r} {sign} {b!r}"
    match sign:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            assert isinstance(a, float), "integers are divided by floorDivide"
            return _divided(a, b)
        case "&&":
            return a and b
        case "||":
            return a or b
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[sign]


def _divided(a: float, b: float) -> float:
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def _least(*values: float) -> float:
    return math.nan if any(map(math.isnan, values)) else min(values)


def _greatest(*values: float) -> float:
    return math.nan if any(map(math.isnan, values)) else max(values)


def _real(function: Callable[..., float]) -> Callable[..., float]:
    def call(*arguments: float) -> float:
        assert all(isinstance(a, float) for a in arguments), "a Double is wanted"
        try:
            return function(*arguments)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.inf

    return call


def _rounding(function: Callable[[float], float]) -> Callable[..., float]:
    def call(x: float) -> float:
        assert isinstance(x, float)
        return function(x) if math.isfinite(x) else x

    return call


#: What the formulas' Swift calls, by Python's own mathematics.
SWIFT: Mapping[str, Callable[..., Any]] = {
    **{name: _real(getattr(math, name)) for name in ("exp", "log", "pow", "sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: _real(getattr(math, name)) for name in ("sqrt", "sinh", "cosh", "tanh", "erf")},
    "floor": _rounding(lambda x: float(math.floor(x))),
    "ceil": _rounding(lambda x: float(math.ceil(x))),
    "trunc": _rounding(lambda x: float(math.trunc(x))),
    "rounded": _rounding(lambda x: float(round(x))),
    "abs": abs,
    "Double": float,
    "Int": int,
    "min": min,
    "max": max,
    "least": _least,
    "greatest": _greatest,
    "sigmoid": _real(lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))),
    "signOf": lambda x: x if x == 0 or math.isnan(x) else math.copysign(1.0, x),
    "floorDivide": lambda a, b: a // b if b else 0,
    "floorModulo": lambda a, b: (a % b if b else 0) if isinstance(a, int) else _modulo(a, b),
    "dim": lambda shape, axis: shape[axis],
    "item": lambda values, index: values[index],
}


def _modulo(a: float, b: float) -> float:
    if b == 0 or math.isinf(a) or math.isnan(a) or math.isnan(b):
        return math.nan
    rest = math.fmod(a, b)
    return rest + b if rest and (rest < 0) != (b < 0) else rest
