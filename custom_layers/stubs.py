"""The Swift class of a custom layer: everything but the arithmetic."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

_SWIFT_TYPES = {"bool": "Bool", "int": "Int", "double": "Double", "string": "String"}
#: Words that Swift does not take as a property name without backticks.
_KEYWORDS = frozenset({
    "as", "associatedtype", "break", "case", "catch", "class", "continue", "default", "defer", "deinit", "do", "else",
    "enum", "extension", "fallthrough", "false", "fileprivate", "for", "func", "guard", "if", "import", "in", "init",
    "inout", "internal", "is", "let", "nil", "operator", "private", "protocol", "public", "repeat", "rethrows",
    "return", "self", "static", "struct", "subscript", "super", "switch", "throw", "throws", "true", "try", "typealias",
    "var", "where", "while",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a layer.

    Attributes:
        key: its name in the model.
        kind: how the model holds it: ``bool``, ``int``, ``double`` or ``string``.
        json: the Swift type that the text of a ``string`` decodes to; None when it is the value itself.
    """

    key: str
    kind: str
    json: str | None = None

    @property
    def swift_type(self) -> str:
        return self.json or _SWIFT_TYPES[self.kind]


@dataclass(slots=True)
class Stub:
    """What is known of one class, from all the layers that use it."""

    name: str
    domain: str
    op_type: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    uses: int = 0
    present: dict[str, int] = field(default_factory=dict)
    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)

    def add(self, parameters: Iterable[Parameter], inputs: int, outputs: int) -> None:
        """Note one more layer of the class: its parameters and how many operands and results it has."""
        self.uses += 1
        self.inputs.add(inputs)
        self.outputs.add(outputs)
        for parameter in parameters:
            known = self.parameters.get(parameter.key)
            # An empty list tells nothing of its elements: a later, longer one does.
            if known is None or known.json == "[Double]":
                self.parameters[parameter.key] = parameter
            self.present[parameter.key] = self.present.get(parameter.key, 0) + 1

    def is_optional(self, key: str) -> bool:
        """Whether some layer of the class comes without a parameter."""
        return self.present[key] < self.uses


def property_name(key: str) -> str:
    """A parameter's name as a Swift property: lower camel case, keywords in backticks."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", key) if word]
    name = "".join(w[0].upper() + w[1:] if i else w[0].lower() + w[1:] for i, w in enumerate(words)) or "value"
    name = f"p{name}" if name[0].isdigit() else name
    return f"`{name}`" if name in _KEYWORDS else name


def render(stub: Stub) -> str:
    """The Swift source of a class."""
    parameters = [stub.parameters[key] for key in sorted(stub.parameters)]
    properties: dict[str, str] = {}
    for parameter in parameters:
        name = property_name(parameter.key)
        while name in properties.values():
            name = f"{name.strip('`')}_"
        properties[parameter.key] = name
    return _template().render(
        stub=stub,
        parameters=parameters,
        properties=properties,
        uses_json=any(p.json for p in parameters),
        uses_tensors=any(p.json == "TensorParameter" for p in parameters),
        inputs=sorted(stub.inputs),
        outputs=sorted(stub.outputs),
    )


@functools.cache
def _template() -> jinja2.Template:
    from importlib import resources

    import jinja2

    text = resources.files("coregraft.custom_layers").joinpath("templates/MLCustomLayer.swift.j2").read_text("utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        autoescape=False,  # the output is Swift
    )  # fmt: skip
    return environment.from_string(text)
