"""The Swift class of a custom layer: everything, or everything but the arithmetic."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from coregraft.custom_layers.bodies import Elementwise, Gather, Reduction, elements_of, swift_body
from coregraft.custom_layers.formulas import Element, Fetch, Rank, Size, walk
from coregraft.custom_layers.layer import CustomLayer
from coregraft.custom_layers.shape_rules import inputs_of, swift_shape
from coregraft.custom_layers.spelling import metal
from coregraft.custom_layers.templating import template
from coregraft.custom_layers.use import Setting, Use
from coregraft.rewriter.types import DType

_SWIFT_TYPES = {"bool": "Bool", "int": "Int", "double": "Double", "string": "String"}
#: Words that Swift does not take as a property name without backticks.
_KEYWORDS = frozenset({
    "as", "associatedtype", "break", "case", "catch", "class", "continue", "default", "defer", "deinit", "do", "else",
    "enum", "extension", "fallthrough", "false", "fileprivate", "for", "func", "guard", "if", "import", "in", "init",
    "inout", "internal", "is", "let", "nil", "operator", "private", "protocol", "public", "repeat", "rethrows",
    "return", "self", "static", "struct", "subscript", "super", "switch", "throw", "throws", "true", "try", "typealias",
    "var", "where", "while",
})  # fmt: skip
#: Names that the generated methods use themselves, or call.
_TAKEN = frozenset({
    "attributes", "given", "inputs", "outputs", "position", "r", "result", "shapes", "total", "value", "abs", "acos",
    "asin", "atan", "ceil", "cos", "cosh", "erf", "exp", "floor", "least", "greatest", "log", "max", "min", "pow",
    "sigmoid", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "place", "lanes", "arguments", "half", "half4", "float4",
    "uint", "kernel", "select", "constant", "device", "thread", "texture", "sampler", "rint", "sign",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a class.

    Attributes:
        key: its name in the model.
        kind: how the model holds it: ``bool``, ``int``, ``double`` or ``string``.
        json: the Swift type that the text of a ``string`` decodes to; None when it is the value itself.
        optional: whether some layer of the class comes without it.
    """

    key: str
    kind: str
    json: str | None = None
    optional: bool = False

    @property
    def swift_type(self) -> str:
        return self.json or _SWIFT_TYPES[self.kind]


@dataclass(slots=True)
class Stub:
    """What is known of one class, from all the layers that use it."""

    name: str
    domain: str
    op_type: str
    layer: CustomLayer | None = None
    uses: list[Use] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)

    def add(self, use: Use) -> None:
        """Note one more layer of the class."""
        self.uses.append(use)
        for setting in use.settings:
            known = self.settings.get(setting.key)
            # An empty list tells nothing of its elements: a later, longer one does.
            if known is None or known.json == "[Double]":
                self.settings[setting.key] = setting
            self.present[setting.key] = self.present.get(setting.key, 0) + 1

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters of the class, sorted."""
        found = sorted(self.settings.items())
        return [Parameter(key, s.kind, s.json, self.present[key] < len(self.uses)) for key, s in found]

    @property
    def has_body(self) -> bool:
        """Whether ``evaluate`` is generated whole."""
        return self.layer is not None and bool(self.layer.bodies)

    @property
    def has_shapes(self) -> bool:
        """Whether ``outputShapes`` is generated whole."""
        return self.layer is not None and bool(self.layer.shapes)


def stubs_of(uses: Iterable[Use]) -> list[Stub]:
    """The classes of some layers, sorted by name."""
    found: dict[str, Stub] = {}
    for use in uses:
        stub = found.get(use.class_name)
        if stub is None:
            stub = found[use.class_name] = Stub(use.class_name, use.op.domain or "ai.onnx", use.op.type, use.layer)
        stub.add(use)
    return [found[name] for name in sorted(found)]


def property_name(key: str) -> str:
    """A parameter's name as a Swift property: lower camel case, keywords in backticks."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", key) if word]
    name = "".join(w[0].upper() + w[1:] if i else w[0].lower() + w[1:] for i, w in enumerate(words)) or "value"
    name = f"p{name}" if name[0].isdigit() else name
    return f"`{name}`" if name in _KEYWORDS else name


def _unique(keys: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    found: dict[str, str] = {}
    used = set(taken)
    for key in keys:
        name = property_name(key)
        while name.strip("`") in used:
            name = f"{name.strip('`')}_"
        used.add(name.strip("`"))
        found[key] = name
    return found


def render(stub: Stub) -> str:
    """The Swift source of a class."""
    return template("MLCustomLayer.swift.j2").render(**_context(stub))


def render_kernel(stub: Stub) -> str:
    """The Metal source of a class."""
    return template("Kernel.metal.j2").render(**_context(stub))


def has_kernel(stub: Stub) -> bool:
    """Whether the kernel is generated whole: elementwise, of one operand, on its own shape."""
    return bool(_context(stub)["kernel_formulas"])


def _context(stub: Stub) -> dict[str, Any]:
    properties = _unique(sorted(stub.settings))
    operands = _unique(stub.layer.inputs, _TAKEN) if stub.layer is not None else {}
    inputs = sorted({len(use.operands) for use in stub.uses})
    outputs = sorted({len(use.outputs) for use in stub.uses})
    kernel_inputs = list(operands.values()) or [f"input{n}" for n in range(max(inputs))]
    scalars = {p.key: p for p in stub.parameters if p.kind in ("int", "double", "bool") and not p.optional}
    names = _unique(scalars, {*kernel_inputs, *_TAKEN})
    return {
        "stub": stub,
        "parameters": stub.parameters,
        "properties": properties,
        "inputs": inputs,
        "outputs": outputs,
        "roles": _roles(stub),
        "shape_lines": _shape_lines(stub, properties, operands),
        "body_lines": _body_lines(stub, properties, operands),
        "kernel_inputs": kernel_inputs,
        "kernel_outputs": max(outputs),
        "kernel_parameters": [(names[key], _as_float(p, properties[key])) for key, p in scalars.items()],
        "kernel_formulas": _kernel_formulas(stub, operands, names),
    }


def _as_float(parameter: Parameter, name: str) -> str:
    return f"attributes.{name} ? 1 : 0" if parameter.kind == "bool" else f"Float(attributes.{name})"


def _roles(stub: Stub) -> list[str]:
    layer = stub.layer
    if layer is None:
        return []
    words = [
        f"{name}{' (may be left out)' if name in layer.optional else ''}{' (constant)' if n in layer.weights else ''}"
        for n, name in enumerate(layer.inputs)
    ]
    return [f"Operands of the op: {', '.join(words)}."] if words else []


def _shape_lines(stub: Stub, properties: dict[str, str], operands: dict[str, str]) -> list[str]:
    layer = stub.layer
    if layer is None or not layer.shapes:
        return []

    def spell(what: str, name: str) -> str:
        return f"attributes.{properties[name]}" if what == "parameter" else operands[name]

    used = {name for rule in layer.shapes for name in inputs_of(rule)}
    lines = [
        f"let {operands[name]} = try shapes.operand({n}, of: given)"
        for n, name in enumerate(layer.inputs) if name in used
    ]  # fmt: skip
    rules = [swift_shape(rule, spell) for rule in layer.shapes]
    if not used:
        lines.append("_ = given")
    return [*lines, "return try coreMLShapes([", *(f"    {rule}," for rule in rules), "])"]


def _body_lines(stub: Stub, properties: dict[str, str], operands: dict[str, str]) -> list[str]:
    layer = stub.layer
    if layer is None or not layer.bodies:
        return []

    def spell(what: str, name: str) -> str:
        match what:
            case "parameter":
                return f"attributes.{properties[name]}"
            case "shape":
                return f"{operands[name]}.shape"
            case "element":
                return f"{operands[name]}.element(at: position)"
        return operands[name]

    lines: list[str] = []
    for n, name in enumerate(layer.inputs):
        if any(name in _mentioned(body) for body in layer.bodies):
            lines.append(f"let {operands[name]} = try Tensor(shapes.operand({n}, of: inputs))")
    for n, (body, dtype) in enumerate(zip(layer.bodies, layer.dtypes, strict=True)):
        kinds = {use.outputs[n].dtype for use in stub.uses} if isinstance(dtype, str) else {dtype}
        lines += ["", f"// {body.text}", *swift_body(body, f"outputs[{n}]", spell, whole=not any(map(_is_real, kinds)))]
    return lines


def _is_real(dtype: DType) -> bool:
    return dtype.is_float


def _mentioned(body: Elementwise | Gather | Reduction) -> set[str]:
    formulas = [body.of, body.then] if isinstance(body, Reduction) else [body.formula]
    return {p.input for f in formulas for p in walk(f) if isinstance(p, Element | Fetch | Size | Rank)}


def _kernel_formulas(stub: Stub, operands: dict[str, str], names: dict[str, str]) -> list[str]:
    layer = stub.layer
    if layer is None or not layer.bodies or len(layer.inputs) != 1:
        return []
    formulas = []
    for body in layer.bodies:
        text = None
        if isinstance(body, Elementwise) and elements_of(body.formula) == layer.inputs:
            text = metal(
                body.formula,
                lambda what, name: f"{operands[name]}Value" if what == "element" else f"arguments.{names[name]}",
            )
        if text is None:
            return []
        formulas.append(text)
    return formulas


def left_to_do(stub: Stub) -> Sequence[str]:
    """What a person has to write of a class."""
    left = [] if stub.has_body else ["`evaluate`"]
    if not stub.has_shapes:
        left.append("`outputShapes` for other input shapes than the converted ones")
    return left
