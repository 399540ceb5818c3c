"""Formulas of custom layers as Swift and Metal text."""

from __future__ import annotations

from collections.abc import Callable

from coregraft.custom_layers.formulas import (
    FUNCTIONS,
    Call,
    Coordinate,
    Element,
    Fetch,
    Length,
    Local,
    Node,
    Number,
    Parameter,
    ParameterItem,
    Rank,
    Size,
    argument_kinds,
    kind_of,
    walk,
)

#: How a name of a formula is written: (what it is, its name) -> Swift text. ``what`` is one of ``parameter``,
#: ``shape``, ``element`` and ``tensor``.
Spell = Callable[[str, str], str]


def swift(node: Node, spell: Spell, want: str | None = None, *, outside: float | None = None) -> str:
    """A formula in Swift, to stand after ``try`` where it fetches. Ints are ``Int``, reals ``Double``.

    The place of the output's element is ``position``; a fetch outside of its operand gives ``outside``, or throws when
    that is None. Helpers that it may call (``floorDivide``, ``sigmoid``, …) are in the package's ``Tensor.swift``.
    """
    want = want or kind_of(node)
    match node:
        case Number(value=value):
            return repr(float(value)) if want == "real" else repr(value)
        case Parameter(name=name, kind=kind):
            return _converted(spell("parameter", name), kind, want)
        case ParameterItem(name=name, kind=kind, index=index):
            place = swift(index, spell, "int", outside=outside)
            return _converted(f"{spell('parameter', name)}.item({place})", kind, want)
        case Length(name=name):
            return _converted(f"{spell('parameter', name)}.count", "int", want)
        case Size(input=name, axis=axis):
            return _converted(f"{spell('shape', name)}.dim({swift(axis, spell, 'int')})", "int", want)
        case Rank(input=name):
            return _converted(f"{spell('shape', name)}.count", "int", want)
        case Element(input=name):
            return spell("element", name)
        case Local(name=name):
            return name
        case Coordinate(axis=axis):
            return _converted(f"position[{axis}]", "int", want)
        case Fetch(input=name, index=index):
            places = ", ".join(swift(i, spell, "int", outside=outside) for i in index)
            beyond = "" if outside is None else f", outside: {outside!r}"
            return f"{spell('tensor', name)}.value(at: [{places}]{beyond})"
        case Call():
            return _call(node, spell, want, outside)


def _call(call: Call, spell: Spell, want: str, outside: float | None) -> str:
    function = FUNCTIONS[call.function]
    wants = argument_kinds(call, want)
    texts = [swift(a, spell, w, outside=outside) for a, w in zip(call.args, wants, strict=True)]
    integral = function.gives == "same" and want == "int" and function.swift_int is not None
    form = function.swift_int if integral else function.swift
    assert form is not None
    text = form.format(*texts, args=", ".join(texts))
    return f"Int({text})" if function.gives == "int" and want == "int" else text


def _converted(text: str, kind: str, want: str) -> str:
    return f"Double({text})" if (kind, want) == ("int", "real") else text


def metal(node: Node, spell: Spell) -> str | None:
    """A formula of elements and parameters in Metal, on ``float4``; None where Metal has no such function.

    Parameters are members of a struct of floats; operands are ``float4``.
    """
    for part in walk(node):
        if not isinstance(part, Number | Parameter | Element | Call):
            return None
        if isinstance(part, Call) and FUNCTIONS[part.function].metal == "":
            return None
        if isinstance(part, Call) and FUNCTIONS[part.function].takes in ("bool", "select"):
            return None
        if isinstance(part, Call) and FUNCTIONS[part.function].gives == "bool":
            return None
    return _metal(node, spell)


def _metal(node: Node, spell: Spell) -> str:
    match node:
        case Number(value=value):
            return f"float4({float(value)!r}f)"
        case Parameter(name=name):
            return f"float4({spell('parameter', name)})"
        case Element(input=name):
            return spell("element", name)
        case Call(function=name, args=args):
            function = FUNCTIONS[name]
            texts = [_metal(a, spell) for a in args]
            return (function.metal or function.swift).format(*texts, args=", ".join(texts))
    raise AssertionError(node)  # metal() has looked
