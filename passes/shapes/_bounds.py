"""How small and how large a dim can be that is a formula of dims of which only the largest size is known."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from coregraft.rewriter.types import Dim

_NAME = re.compile(r"[A-Za-z_][\w.:]*\??")

Bounds = tuple[int, int]


def bounds(dim: Dim, sizes: Mapping[str, int]) -> Bounds | None:
    """The least and the greatest value of a dim; None where nothing is known of it.

    Each name stands for anything from 0 to its size, and each time for itself, so the bounds are safe, and tight where
    no name comes twice.
    """
    if isinstance(dim, int):
        return dim, dim
    if dim is None:
        return None
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match.group() in ("min", "max"):
            return match.group()
        names.append(match.group())
        return f"_[{len(names) - 1}]"

    try:
        return _walk(ast.parse(_NAME.sub(numbered, dim), mode="eval").body, [sizes[name] for name in names])
    except (SyntaxError, KeyError):
        return None


def _walk(node: ast.expr, sizes: list[int]) -> Bounds | None:
    match node:
        case ast.Constant(value=int(value)):
            return value, value
        case ast.Subscript(slice=ast.Constant(value=int(place))):
            return 0, sizes[place]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            found = _walk(operand, sizes)
            return None if found is None else (-found[1], -found[0])
        case ast.Call(func=ast.Name(id=("min" | "max") as name), args=args):
            parts = [_walk(arg, sizes) for arg in args]
            choose = min if name == "min" else max
            known = [part for part in parts if part is not None]
            return None if len(known) < len(parts) else (choose(p[0] for p in known), choose(p[1] for p in known))
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _walk(left, sizes), _walk(right, sizes)
            return None if a is None or b is None else _combined(op, a, b)
    return None


def _combined(op: ast.operator, a: Bounds, b: Bounds) -> Bounds | None:
    match op:
        case ast.Add():
            return a[0] + b[0], a[1] + b[1]
        case ast.Sub():
            return a[0] - b[1], a[1] - b[0]
        case ast.Mult():
            corners = [x * y for x in a for y in b]
            return min(corners), max(corners)
        case ast.FloorDiv() if b[0] > 0:
            corners = [x // y for x in a for y in b]
            return min(corners), max(corners)
    return None
