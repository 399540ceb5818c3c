"""Pipelines as text: ``cleanup,replace-dilated-conv{min-blowup=9}``, as TOML, and as a list; all three round-trip."""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from coregraft.rewriter.contract import Pass
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.registry import pass_class, registered_name

#: What a pipeline may be given as.
PipelineLike = str | Path | Iterable["str | Pass"]

_PASS = re.compile(r"\s*([\w:-]+)\s*(?:\{((?:[^{}\"]|\"[^\"]*\")*)\})?\s*")
_OPTION = re.compile(r"\s*([\w-]+)\s*=\s*(\"[^\"]*\"|[^,\"]*?)\s*(?:,|$)")


def parse_pipeline(source: PipelineLike) -> list[Pass]:
    """The passes of a pipeline: text, a path to a ``.toml`` file, or a mixed list of passes and texts.

    Raises:
        UsageError: ``pipeline-syntax``, ``pass-unknown``, ``option-unknown`` or ``option-value``.
    """
    if isinstance(source, Path) or (isinstance(source, str) and source.endswith(".toml")):
        return from_toml(_read(Path(source)))
    if isinstance(source, str):
        return _parse(source)
    return [p for item in source for p in ([item] if isinstance(item, Pass) else _parse(item))]


def to_text(pipeline: Sequence[Pass]) -> str:
    """The pipeline as text that :func:`parse_pipeline` reads back."""
    return ",".join(p.spec() for p in pipeline)


def to_toml(pipeline: Sequence[Pass]) -> str:
    """The pipeline as TOML: one ``[[pass]]`` table each, options at their default left out."""
    tables = []
    for p in pipeline:
        options = [f"{name} = {_toml(value)}" for name, value in p.options().items()]
        tables.append("\n".join(["[[pass]]", f'name = "{registered_name(type(p))}"', *options]) + "\n")
    return "\n".join(tables)


def from_toml(text: str) -> list[Pass]:
    """The passes of a TOML pipeline.

    Raises:
        UsageError: as :func:`parse_pipeline`.
    """
    try:
        tables = tomllib.loads(text)["pass"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise UsageError("pipeline-syntax", f"not a pipeline file: {error}", hint="it holds [[pass]] tables") from error
    made = []
    for table in tables:
        options = dict(table)
        made.append(make_pass(options.pop("name", ""), options))
    return made


def make_pass(name: str, options: dict[str, Any] | None = None) -> Pass:
    """A pass by name, with options as text or as Python values; keys with dashes or underscores.

    Raises:
        UsageError: ``pass-unknown``, ``option-unknown`` or ``option-value``.
    """
    cls = pass_class(name)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls) if options else {}  # they are slow to read, and most passes get no option
    values: dict[str, Any] = {}
    for key, value in (options or {}).items():
        field = key.replace("-", "_")
        if field not in fields:
            known = ", ".join(k.replace("_", "-") for k in fields) or "none"
            raise UsageError("option-unknown", f'pass "{name}" has no option "{key}"', hint=f"its options: {known}")
        values[field] = _convert(name, key, value, hints[field])
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError("option-value", f'pass "{name}": {error}') from error


def _parse(text: str) -> list[Pass]:
    passes, at = [], 0
    while at < len(text):
        m = _PASS.match(text, at)
        if not m or (m.end() < len(text) and text[m.end()] != ","):
            raise UsageError("pipeline-syntax", f"cannot read the pipeline at {text[at : at + 30]!r}")
        passes.append(make_pass(m[1], _options(m[1], m[2] or "")))
        at = m.end() + 1
    return passes


def _options(name: str, text: str) -> dict[str, Any]:
    options, at = {}, 0
    while at < len(text.rstrip()):
        m = _OPTION.match(text, at)
        if not m:
            raise UsageError("pipeline-syntax", f'cannot read the options of "{name}" at {text[at:]!r}')
        options[m[1]] = m[2].strip('"')
        at = m.end()
    return options


def _convert(name: str, key: str, value: Any, kind: Any) -> Any:
    """A value for an option of type ``kind``: bool, int, float, str, a tuple of one, or one of them or None."""
    bad = UsageError("option-value", f'pass "{name}": {key}={value!r} is not {_say(kind)}')
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kinds = typing.get_args(kind)
        if type(None) in kinds and (value is None or value == "none"):
            return None
        kind = next(k for k in kinds if k is not type(None))
    if typing.get_origin(kind) is tuple:
        items = (value.split("+") if value else []) if isinstance(value, str) else value
        return tuple(_convert(name, key, item, typing.get_args(kind)[0]) for item in items)
    if typing.get_origin(kind) is typing.Literal:
        if value not in typing.get_args(kind):
            raise bad
        return value
    if kind is bool:
        if isinstance(value, bool) or value in ("true", "false"):
            return value in (True, "true")
        raise bad
    if kind in (int, float) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            return kind(value)
        except ValueError:
            raise bad from None
    if kind is str and isinstance(value, str):
        return value
    raise bad


def _say(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError("file-not-found", f"cannot read the pipeline file: {error}", node=str(path)) from error
