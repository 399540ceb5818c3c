"""Reading the manifest of a model in parts: everything in it is checked before anything is done with it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from coregraft.custom_layers.manifest import SCHEMA_VERSION
from coregraft.rewriter.errors import InputError
from coregraft.rewriter.types import DType

MANIFEST = "manifest.json"
_WIRE_TYPES = ("float16", "float32", "int32")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a ``.parts`` folder.

    Raises:
        InputError: ``package-not-found``; ``parts-broken`` for what is no manifest, is not whole, or reads a value
            that nothing before has made.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise InputError("package-not-found", "there is no such folder", node=str(folder))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise broken(path, f"cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise broken(path, f"is not a manifest of schema version {SCHEMA_VERSION}")
    for key in ("inputs", "outputs", "steps"):
        if not isinstance(content.get(key), list):
            raise broken(path, f"has no list of {key}")
    _check_values(path, content)
    return content


def _check_values(path: Path, content: Mapping[str, Any]) -> None:
    """Check every entry, and that each value is made before it is read."""
    made = {_value(path, entry) for entry in content["inputs"]}
    for step in content["steps"]:
        if not isinstance(step, dict) or step.get("kind") not in ("core-ml", "custom"):
            raise broken(path, "has a step of unknown kind")
        custom = step["kind"] == "custom"
        sides = ("inputs", "outputs", "captures") if custom else ("inputs", "outputs")
        if not isinstance(step.get("file"), str) or not all(isinstance(step.get(side), list) for side in sides):
            raise broken(path, "has a step without a file, inputs or outputs")
        reads = [*step["inputs"], *(step["captures"] if custom else ())]
        if custom:  # operands and results that are left out have no entry; constants are in the step's own file
            reads = [e for e in reads if e is not None and not (isinstance(e, dict) and "constant" in e)]
        makes = [e for e in step["outputs"] if e is not None or not custom]
        if not custom and not all(isinstance(e, dict) and isinstance(e.get("feature"), str) for e in (*reads, *makes)):
            raise broken(path, "has a part whose values have no features")
        _require(path, made, (_value(path, entry) for entry in reads))
        made.update(_value(path, entry) for entry in makes)
    _require(path, made, (_value(path, entry) for entry in content["outputs"]))
    if not all(isinstance(entry.get("name"), str) for entry in content["outputs"]):
        raise broken(path, "has an output without a name")


def _value(path: Path, entry: Any) -> str:
    """The name of a value, its entry checked."""
    if not isinstance(entry, dict) or not isinstance(entry.get("value"), str):
        raise broken(path, "has an entry that is no value")
    name: str = entry["value"]
    shapes: list[Any] = [entry.get("shape"), entry.get("onnx_shape")]
    if not all(isinstance(s, list) and all(type(d) is int and d >= 0 for d in s) for s in shapes):
        raise broken(path, f'has no shape of "{name}"')
    if math.prod(shapes[0]) != math.prod(shapes[1]):
        raise broken(path, f'has two shapes of "{name}" that do not fit')
    if entry.get("dtype") not in _WIRE_TYPES or str(entry.get("onnx_dtype")).upper() not in DType.__members__:
        raise broken(path, f'has no element type of "{name}"')
    return name


def _require(path: Path, made: set[str], names: Iterable[str]) -> None:
    for name in names:
        if name not in made:
            raise broken(path, f'reads "{name}", which nothing before has made')


def inside(folder: Path, name: str) -> Path:
    """A file of the folder, by its name in the manifest.

    Raises:
        InputError: ``parts-broken`` for a file that is missing or elsewhere.
    """
    pure = PurePosixPath(name)
    path = folder / pure
    if pure.is_absolute() or ".." in pure.parts or not path.exists():
        raise broken(path, f'names "{name}", which is not in the folder')
    return path


def broken(path: Path, what: str) -> InputError:
    """The error of a manifest."""
    return InputError("parts-broken", f"the manifest {what}", node=str(path))
