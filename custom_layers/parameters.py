"""What a parameter of a custom layer can be, and how it is held in a model: a scalar or a string (hazard H8.02).

Lists are held as JSON text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Const

#: Kinds by their name in TOML; the Python spellings mean the same.
KINDS: tuple[str, ...] = ("bool", "float", "floats", "int", "ints", "string", "strings")
_PYTHON: Mapping[Any, str] = {
    bool: "bool", float: "float", int: "int", str: "string",
    list[float]: "floats", list[int]: "ints", list[str]: "strings",
}  # fmt: skip
#: What formulas may do with a kind (see :class:`coregraft.custom_layers.expressions.Scope`).
_SCOPE = {"bool": "bool", "float": "real", "int": "int", "floats": "reals", "ints": "ints"}
_INT32 = 1 << 31
#: Longest text of a parameter; what is longer is data, and belongs into an operand.
MAX_TEXT = 1 << 20


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A parameter of a registered layer.

    Attributes:
        name: of the ONNX attribute.
        kind: one of :data:`KINDS`.
        default: its value where the attribute is absent; None when it must be there.
    """

    name: str
    kind: str
    default: Any = None

    @property
    def scope_kind(self) -> str:
        """Its kind in formulas; empty where they cannot use it."""
        return _SCOPE.get(self.kind, "")

    @property
    def held_as(self) -> str:
        """The kind of the model's own value: ``bool``, ``int``, ``double`` or ``string``."""
        return {"bool": "bool", "int": "int", "float": "double"}.get(self.kind, "string")

    @property
    def json_type(self) -> str | None:
        """The Swift type that its text decodes to; None where it is a plain value."""
        return {"ints": "[Int]", "floats": "[Double]", "strings": "[String]"}.get(self.kind)


def read_specs(given: Mapping[str, Any], where: str) -> dict[str, ParameterSpec]:
    """Parameters from ``{"alpha": float, "axis": {"type": "int", "default": -1}}``, sorted by name.

    Raises:
        UsageError: ``custom-layer-parameter``.
    """
    return {name: _spec(name, given[name], where) for name in sorted(given)}


def _spec(name: str, given: Any, where: str) -> ParameterSpec:
    if not isinstance(name, str) or not name:
        raise _unfit(where, f"{name!r} is no name of a parameter")
    if isinstance(given, Mapping):
        if unknown := sorted(set(given) - {"type", "default"}):
            raise _unfit(where, f"parameter {name} has no {unknown[0]}; it has a type and maybe a default")
        kind, default = given.get("type"), given.get("default")
    else:
        kind, default = given, None
    try:
        kind = _PYTHON.get(kind, kind)
    except TypeError:  # unhashable: no type at all
        kind = None
    if kind not in KINDS:
        raise _unfit(where, f"a layer cannot hold parameter {name} of type {given!r}; it holds {', '.join(KINDS)}")
    spec = ParameterSpec(name, kind)
    if default is None:
        return spec
    try:
        return ParameterSpec(name, kind, value_of(spec, default, where))
    except UnsupportedError as error:
        raise _unfit(where, f"the default of {error.message.removeprefix(where + ' ')}") from error


def value_of(spec: ParameterSpec, value: Any, where: str) -> Any:
    """An attribute's value as its parameter: a bool, int, float, str, or a tuple of one of the last three.

    Raises:
        UnsupportedError: ``custom-layer-mismatch``: it is of another type, or a layer cannot hold it.
    """
    if spec.kind.endswith("s"):
        if not isinstance(value, list | tuple):
            raise _wrong(where, spec, value)
        items = [_scalar(spec, item, where) for item in value]
        if spec.kind == "floats" and not all(map(math.isfinite, items)):
            raise _wrong(where, spec, value, "a list can only hold finite numbers")
        return tuple(items)
    return _scalar(spec, value, where)


def _scalar(spec: ParameterSpec, value: Any, where: str) -> Any:
    if isinstance(value, bytes):
        try:
            value = _text(value)
        except ValueError as error:
            raise _wrong(where, spec, value, "it is not UTF-8") from error
    match spec.kind.removesuffix("s"):
        case "bool" if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
            return bool(value)
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            if not -_INT32 <= value < _INT32:
                raise _wrong(where, spec, value, "it does not fit into 32 bits")
            return value
        case "float" if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        case "string" if isinstance(value, str):
            return value
    raise _wrong(where, spec, value)


def held(value: Any) -> bool | int | float | str:
    """A parameter's value as the model holds it."""
    if isinstance(value, tuple | dict):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    assert isinstance(value, bool | int | float | str)
    return value


def unregistered(value: Any) -> tuple[Any, str | None]:
    """An attribute that nobody declared, as a layer holds it, and the Swift type its text decodes to.

    Raises:
        ValueError: a layer cannot hold it; the text says why.
    """
    if isinstance(value, bytes):
        value = _text(value)
    if isinstance(value, int) and not -_INT32 <= value < _INT32:
        raise ValueError(f"={value} does not fit into 32 bits")
    if isinstance(value, int | float | str):
        return value, None
    kind = "TensorParameter" if isinstance(value, Const) else "[Double]"
    if isinstance(value, Const):
        value = {"shape": list(value.shape), "values": value.numpy().ravel().tolist()}
    elif isinstance(value, Graph):
        raise ValueError("is a graph")
    elif not isinstance(value, tuple) or any(not isinstance(v, int | float | str | bytes) for v in value):
        raise ValueError("is not a number, a string or a list of them")
    else:
        value = tuple(_text(v) if isinstance(v, bytes) else v for v in value)
        kinds = {type(item) for item in value}
        kind = "[Int]" if kinds == {int} else "[String]" if kinds == {str} else "[Double]"
    try:
        text = held(value)
    except ValueError as error:
        raise ValueError("holds an infinity or a NaN") from error
    if len(str(text)) > MAX_TEXT:
        raise ValueError("is larger than a layer's parameters can be")
    return text, kind


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError("is a string that is not UTF-8") from error


def _wrong(where: str, spec: ParameterSpec, value: Any, why: str = "") -> UnsupportedError:
    text = f"{where} {spec.name}={value!r} cannot be the parameter of type {spec.kind}" + (f": {why}" if why else "")
    return UnsupportedError("custom-layer-mismatch", text, node=where)


def _unfit(where: str, problem: str) -> UsageError:
    return UsageError("custom-layer-parameter", f"{where}: {problem}")


def decoded(value: Any) -> Any:
    """What :func:`unregistered` made of a list or tensor, as it was; a text that is none of those stays one."""
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    if isinstance(found, dict) and set(found) == {"shape", "values"}:
        return np.array(found["values"]).reshape(found["shape"])
    return tuple(found) if isinstance(found, list) else value
