"""Integer arithmetic on symbolic dimensions: ``2*seq + 1``, ``(height + 3)//4``.

A dimension under computation is an ``int`` or a :class:`Poly`: a polynomial with integer coefficients whose
atoms are names and what a polynomial cannot say (``a//b``, ``a % b``, ``min``, ``max``), kept as canonical text.
Equal texts are equal dimensions, and a text reads back as the polynomial it came from, so that a type carries
formulas in plain strings. A named dimension is taken to be at least 1, and large enough that no slice,
convolution or pooling of it comes out empty; one whose name ends in ``?`` depends on the data, and may be 0.
"""

from __future__ import annotations

import ast
import functools
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from coregraft.rewriter.types import Dim

#: Texts that exporters write for "not known": two of them are not one dimension.
UNNAMED = frozenset(("", "?", "-1", "None", "unk"))

_NAME = re.compile(r"[A-Za-z_][\w.:]*\??")
_FLOOR_ATOM = re.compile(r"(?:\((?P<sum>.+)\)|(?P<name>[A-Za-z_][\w.:]*))//(?P<by>\d+)")
_MAX_TEXT = 400  # a longer formula helps nobody, and a hostile one must not eat the parser's stack
_MAX_TERMS = 4096  # of a product: each further factor may double what it comes to


class TooManyTermsError(ArithmeticError):
    """A product of more terms than any formula of a real model has."""


@dataclass(frozen=True, slots=True)
class Poly:
    """A polynomial that is not a number: ``(atoms of the monomial, coefficient)`` pairs, in canonical order."""

    terms: tuple[tuple[tuple[str, ...], int], ...]

    def __str__(self) -> str:
        text = ""
        for atoms, factor in self.terms:
            parts = [str(abs(factor))] if abs(factor) != 1 or not atoms else []
            bare = factor == 1 and len(atoms) == 1
            parts += [a if bare or _NAME.fullmatch(a) or a.startswith(("min(", "max(")) else f"({a})" for a in atoms]
            sign = ("-" if factor < 0 else "") if not text else (" - " if factor < 0 else " + ")
            text += sign + "*".join(parts)
        return text

    def __add__(self, other: int | Poly) -> int | Poly:
        total = dict(self.terms)
        for atoms, factor in _terms(other):
            total[atoms] = total.get(atoms, 0) + factor
        return _collect(total)

    def __mul__(self, other: int | Poly) -> int | Poly:
        if isinstance(other, Poly) and len(self.terms) * len(other.terms) > _MAX_TERMS:
            raise TooManyTermsError
        total: dict[tuple[str, ...], int] = {}
        for atoms, factor in self.terms:
            for more, times in _terms(other):
                key = tuple(sorted(atoms + more))
                total[key] = total.get(key, 0) + factor * times
        return _collect(total)

    def __neg__(self) -> int | Poly:
        return self * -1

    def __sub__(self, other: int | Poly) -> int | Poly:
        return self + other * -1

    def __rsub__(self, other: int) -> int | Poly:
        return self * -1 + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: int | Poly) -> int | Poly:
        if isinstance(other, int):
            return self * -1 // -other if other < 0 else _floor_by_int(self, other)
        exact = _divide(self, other)
        return _atom(f"{_grouped(self)}//{_grouped(other)}") if exact is None else exact

    def __rfloordiv__(self, other: int) -> int | Poly:
        return _atom(f"{other}//{_grouped(self)}") if other else 0

    def __mod__(self, other: int | Poly) -> int | Poly:
        quotient = self // other
        rest = self - quotient * other
        if isinstance(rest, int):
            return rest
        return _atom(f"{_grouped(self)} % {_grouped(other)}")

    def __rmod__(self, other: int) -> int | Poly:
        return _atom(f"{other} % {_grouped(self)}")


def symbol(name: str) -> Poly:
    """The dimension of that name."""
    return Poly((((name,), 1),))


@functools.lru_cache(maxsize=8192)
def parse(text: str) -> int | Poly:
    """The formula that a dimension's text says; a text that is no formula is one opaque name."""
    value = evaluate(text, {})
    return symbol(text) if value is None else value


def known(dim: Dim) -> int | Poly | None:
    """A dimension of a type, ready to compute with; None when nothing is known of it (``-1`` and ``?`` included)."""
    if isinstance(dim, str):
        return None if dim in UNNAMED else parse(dim)
    return None if dim is None or dim < 0 else dim


def as_dim(value: int | Poly | None) -> Dim:
    """A computed dimension as a type holds it; a formula too long to be of use is None."""
    if not isinstance(value, Poly):
        return value if value is None or value >= 0 else None
    text = str(value)
    return text if len(text) <= _MAX_TEXT else None


def evaluate(text: str, sizes: Mapping[str, int | Poly]) -> int | Poly | None:
    """A formula with names replaced by ``sizes``; None when the text is not a formula.

    Besides ``+ - * // %`` and brackets it reads what other tools write: fractions with ``/``, ``floor()``,
    ``ceil()``, ``min()``/``Min()``, ``max()``/``Max()``, ``Mod()`` and ``FloorDiv()``.
    """
    if text in sizes:
        return sizes[text]
    if len(text) > 2 * _MAX_TEXT:
        return None
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if text[match.end() :].lstrip()[:1] == "(":
            return match.group()
        names.append(match.group())
        return f"_[{len(names) - 1}]"

    try:
        tree = ast.parse(_NAME.sub(numbered, text), mode="eval").body
        return _floor(_walk(tree, [sizes.get(name, symbol(name)) for name in names]))
    except (SyntaxError, _NotAFormulaError, ArithmeticError, ValueError):
        return None


@functools.lru_cache(maxsize=8192)
def names(text: str) -> frozenset[str]:
    """The names in a formula; the text itself when it is none."""
    if evaluate(text, {}) is None:
        return frozenset((text,))
    called = _NAME.finditer(text)
    return frozenset(m.group() for m in called if text[m.end() :].lstrip()[:1] != "(")


def doubted(dim: Dim, sure: Collection[str]) -> Dim:
    """A dimension of which only the names in ``sure`` are taken to be at least 1."""
    if not isinstance(dim, str) or dim in UNNAMED:
        return dim
    unsure = {name: symbol(f"{name}?") for name in names(dim) if name not in sure and not name.endswith("?")}
    return as_dim(evaluate(dim, unsure)) if unsure else dim


def minimum(a: int | Poly, b: int | Poly) -> int | Poly:
    """The smaller of two dimensions, decided where that can be."""
    if at_most(a, b):
        return a
    return b if at_most(b, a) else _atom(f"min({', '.join(sorted((str(a), str(b))))})")


def maximum(a: int | Poly, b: int | Poly) -> int | Poly:
    """The larger of two dimensions, decided where that can be."""
    if at_most(a, b):
        return b
    return a if at_most(b, a) else _atom(f"max({', '.join(sorted((str(a), str(b))))})")


def at_most(a: int | Poly, b: int | Poly) -> bool | None:
    """Whether ``a <= b``; None when that depends on the names. Names are at least 1."""
    gap = b - a
    if isinstance(gap, int):
        return gap >= 0
    factors = [factor for atoms, factor in gap.terms if atoms]
    # the gap where every name is 1 and all else is 0: the nearest to zero that it comes
    nearest = sum(f for atoms, f in gap.terms if all(_NAME.fullmatch(a) and a[-1] != "?" for a in atoms))
    if min(factors) > 0 and nearest >= 0:
        return True
    return False if max(factors) < 0 and nearest < 0 else None


class _NotAFormulaError(Exception):
    pass


#: What a formula comes to on the way: a numerator and a positive denominator, since other tools write
#: ``floor(width/2 - 1/2)`` and mean fractions.
_Ratio = tuple["int | Poly", int]

_WHOLE: dict[str, Callable[[Any, Any], Any]] = {
    "min": minimum, "Min": minimum, "max": maximum, "Max": maximum, "Mod": operator.mod, "FloorDiv": operator.floordiv,
}  # fmt: skip


def _walk(node: ast.expr, names: list[int | Poly]) -> _Ratio:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value, 1
        case ast.Subscript(value=ast.Name(id="_"), slice=ast.Constant(value=int(index))):
            return names[index], 1
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            top, bottom = _walk(operand, names)
            return -top, bottom
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, _walk(left, names), _walk(right, names))
        case ast.Call(func=ast.Name(id="floor"), args=[arg]):
            return _floor(_walk(arg, names)), 1
        case ast.Call(func=ast.Name(id="ceil" | "ceiling"), args=[arg]):
            top, bottom = _walk(arg, names)
            return (top + bottom - 1) // bottom, 1
        case ast.Call(func=ast.Name(id=name), args=[first, second]) if name in _WHOLE:
            return _WHOLE[name](_floor(_walk(first, names)), _floor(_walk(second, names))), 1
    raise _NotAFormulaError


def _binary(op: ast.operator, a: _Ratio, b: _Ratio) -> _Ratio:
    match op:
        case ast.Add():
            return a[0] * b[1] + b[0] * a[1], a[1] * b[1]
        case ast.Sub():
            return a[0] * b[1] - b[0] * a[1], a[1] * b[1]
        case ast.Mult():
            return a[0] * b[0], a[1] * b[1]
        case ast.Div() if isinstance(b[0], int) and b[0] > 0:
            return a[0] * b[1], a[1] * b[0]
        case ast.Div() | ast.FloorDiv():
            return a[0] * b[1] // (b[0] * a[1]), 1
        case ast.Mod():
            return _floor(a) % _floor(b), 1
    raise _NotAFormulaError


def _floor(ratio: _Ratio) -> int | Poly:
    top, bottom = ratio
    return top // bottom


def _terms(value: int | Poly) -> tuple[tuple[tuple[str, ...], int], ...]:
    return value.terms if isinstance(value, Poly) else (((), value),)


def _collect(total: dict[tuple[str, ...], int]) -> int | Poly:
    kept = {atoms: factor for atoms, factor in total.items() if factor}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Poly(tuple(sorted(kept.items(), key=lambda term: (-len(term[0]), term[0]))))


def _atom(text: str) -> Poly:
    return symbol(text)


def _grouped(value: int | Poly) -> str:
    text = str(value)
    return text if isinstance(value, int) or _NAME.fullmatch(text) else f"({text})"


def _floor_by_int(value: Poly, by: int) -> int | Poly:
    """``value // by`` with all that divides taken out, and a floor of a floor made one."""
    if by == 0:
        raise ZeroDivisionError
    shared = math.gcd(by, *(factor for atoms, factor in value.terms if atoms))
    whole: dict[tuple[str, ...], int] = {}
    rest: dict[tuple[str, ...], int] = {}
    by //= shared
    for atoms, factor in value.terms:
        factor //= shared  # of the constant the floor: what is left over cannot carry
        if not atoms:
            whole[()], rest[()] = divmod(factor, by)
        else:
            (rest if factor % by else whole)[atoms] = factor if factor % by else factor // by
    outside, inside = _collect(whole), _collect(rest)
    if isinstance(inside, int):
        return outside + inside // by
    atoms, factor = inside.terms[0]
    nested = _FLOOR_ATOM.fullmatch(atoms[0]) if len(atoms) == 1 and factor == 1 else None
    if nested and len(inside.terms) - (() in rest and rest[()] != 0) == 1:
        inner = parse(nested["sum"] or nested["name"])
        return outside + (inner + rest.get((), 0) * int(nested["by"])) // (by * int(nested["by"]))
    return outside + _atom(f"{_grouped(inside)}//{by}")


def _divide(value: int | Poly, by: Poly) -> int | Poly | None:
    """The exact quotient of two polynomials, or None."""
    (lead, times), quotient = by.terms[0], 0
    result: int | Poly = quotient
    for _ in range(16):
        if isinstance(value, int):
            return result if value == 0 else None
        atoms, factor = value.terms[0]
        left = list(atoms)
        for atom in lead:
            if atom not in left:
                return None
            left.remove(atom)
        if factor % times:
            return None
        part = _collect({tuple(left): factor // times})
        result, value = result + part, value - by * part
    return None
