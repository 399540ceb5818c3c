"""Running graphs that onnxruntime cannot: the ops it does not know by their NumPy references, the rest by itself."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from coregraft.custom_layers.cut import eager_steps
from coregraft.custom_layers.layer import Reference
from coregraft.custom_layers.registry import reference_for
from coregraft.rewriter import execute, schema
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Array, Const, TensorType

#: References by (domain, op type).
References = Mapping[tuple[str, str], Reference]

NO_REFERENCES: References = MappingProxyType({})
#: Domains that onnxruntime has ops of, and onnx no schemas.
_KNOWN_DOMAINS = ("com.microsoft",)


class Interpreter:
    """Runs graphs with the help of references.

    Args:
        references: by (domain, op type); they win over those of registered custom layers, and over onnxruntime.
    """

    def __init__(self, references: References = NO_REFERENCES) -> None:
        self._references = references

    def reference(self, op: Op) -> Reference | None:
        """The reference of an op, or None."""
        return self._references.get(op.key) or reference_for(op.domain, op.type)

    def is_foreign(self, g: Graph, op: Op) -> bool:
        """Whether onnxruntime alone cannot run an op, because of what it is or of what is in its bodies."""
        if self.reference(op) is not None:
            return True
        known = schema.has_schema(op) or op.domain in _KNOWN_DOMAINS or op.domain == "coregraft"
        if not known and (op.domain, op.type, op.overload) not in g.functions:
            return True
        return any(self.is_foreign(g, inner) for _, body in op.bodies() for _, inner in body.ops())

    def run(self, g: Graph, feeds: Mapping[str, Array], wanted: Sequence[str] = ()) -> dict[str, Array]:
        """Values of a graph, by value name.

        Args:
            feeds: the inputs, or any values at which a part is cut off.
            wanted: the values to return; those of the graph's outputs when empty.

        Raises:
            UnsupportedError: ``reference-missing`` for an op that neither onnxruntime nor a reference can compute.
            UsageError: ``reference-result`` when a reference does not give what the graph says of the op.
            UnrunnableError: onnxruntime refuses a part.
        """
        names = list(dict.fromkeys(wanted or g.outputs.values()))
        foreign = [i for i, op in g.ops() if self.is_foreign(g, op)]
        if not foreign:
            return execute.run(g, feeds, names)
        values: dict[str, Array] = dict(feeds)
        for step in eager_steps(g, foreign):
            if step.custom:
                values.update(self._op(g, g.op(step.ops[0]), values))
                continue
            inside = set(step.ops)
            made = [v for i in step.ops for v in g.op(i).outputs if v and v not in values]
            needed = [v for v in made if v in names or any(user not in inside for user in g.users(v))]
            if needed:
                values.update(execute.run(g, values, needed, step.ops))
        return {name: _value(g, name, values) for name in names}

    def _op(self, g: Graph, op: Op, values: Mapping[str, Array]) -> dict[str, Array]:
        reference = self.reference(op)
        if reference is not None:
            operands = [_value(g, v, values) if v else None for v in op.inputs]
            return _checked(g, op, reference(operands, attributes(op)))
        if op.key == ("", "If"):
            results = self._if(g, op, values)
        elif op.key == ("", "Loop"):
            results = self._loop(g, op, values)
        else:
            raise UnsupportedError(
                "reference-missing", f"there is no NumPy reference of {op.label}", node=op.label,
                hint="register a custom layer for the op, with a reference",
            )  # fmt: skip
        return {name: result for name, result in zip(op.outputs, results, strict=True) if name}

    def _if(self, g: Graph, op: Op, values: Mapping[str, Array]) -> list[Array]:
        taken = bool(np.asarray(_value(g, op.inputs[0], values)).reshape(()))
        return self._body(g, op, op.attrs["then_branch" if taken else "else_branch"], {}, values)

    def _loop(self, g: Graph, op: Op, values: Mapping[str, Array]) -> list[Array]:
        body: Graph = op.attrs["body"]
        limit, condition, *state = (_value(g, v, values) if v else None for v in op.inputs)
        alive = condition is None or bool(condition.reshape(()))
        rows: list[list[Array]] = []
        for n in itertools.count():
            if not alive or (limit is not None and n >= int(limit.reshape(()))):
                break
            arguments = [np.asarray(n, np.int64), np.asarray(alive), *state]
            found = self._body(g, op, body, dict(zip(body.inputs, arguments, strict=True)), values)
            alive = bool(found[0].reshape(()))
            state = list(found[1 : 1 + len(state)])
            rows.append(found[1 + len(state) :])
        scans = [np.stack(column) for column in zip(*rows, strict=True)] if rows else []
        wanted = len(op.outputs) - len(state)
        if len(scans) != wanted:  # no turn, so nothing says of what shape the rows would have been
            raise UnsupportedError("reference-missing", f"{op.label} makes no turn and has rows to give", node=op.label)
        return [*(np.asarray(s) for s in state), *scans]

    def _body(
        self, g: Graph, op: Op, body: Graph, arguments: Mapping[str, Array | None], values: Mapping[str, Array]
    ) -> list[Array]:
        inner = body.copy()
        inner.graph["opsets"], inner.graph["functions"] = g.opsets, g.functions
        captured = {v: _value(g, v, values) for v in op.captures if v in inner}
        feeds = {**captured, **{name: value for name, value in arguments.items() if value is not None}}
        names = list(inner.outputs.values())
        found = self.run(inner, feeds, names)
        return [found[name] for name in names]


def attributes(op: Op) -> dict[str, Any]:
    """The attributes of an op, schema defaults included, as plain Python: tensors are arrays, texts are ``str``."""
    known = schema.schema(op.domain, op.type)
    names = sorted({*op.attrs, *(known.attributes if known is not None else ())})
    values = {name: schema.attr(op, name) for name in names}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Const):
        return value.numpy()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def _value(g: Graph, name: str, values: Mapping[str, Array]) -> Array:
    if name in values:
        return np.asarray(values[name])
    const = g.const(name)
    if const is None:
        raise UsageError("inputs-mismatch", f'no value is given for "{name}"', node=name)
    return const.numpy()


def _checked(g: Graph, op: Op, results: Sequence[Array]) -> dict[str, Array]:
    """Results of a reference by name, in the types that the graph says."""
    if len(results) != len(op.outputs):
        raise _wrong(op, f"gives {len(results)} results instead of {len(op.outputs)}")
    found: dict[str, Array] = {}
    for name, result in zip(op.outputs, results, strict=True):
        if not name:
            continue
        array, kind = np.asarray(result), g.type_of(name)
        if isinstance(kind, TensorType):
            if kind.static_shape is not None and array.shape != kind.static_shape:
                raise _wrong(op, f'gives "{name}" the shape {list(array.shape)} instead of {list(kind.static_shape)}')
            if kind.dtype.is_float != np.issubdtype(array.dtype, np.floating):
                raise _wrong(op, f'gives "{name}" as {array.dtype} instead of {kind.dtype.name.lower()}')
            array = array.astype(kind.dtype.numpy, copy=False)
        found[name] = array
    return found


def _wrong(op: Op, what: str) -> UsageError:
    return UsageError("reference-result", f"the reference of {op.label} {what}", node=op.label)
