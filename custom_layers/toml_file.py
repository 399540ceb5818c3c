"""Custom layers from a TOML file, for people who do not write Python.

    [[layer]]
    domain = "com.acme"
    type = "Swish"
    inputs = ["x", "bias?"]
    swift_class = "AcmeSwish"
    elementwise = "x * sigmoid(beta * x)"

    [layer.parameters]
    beta = {type = "float", default = 1.0}

The keys are the options of :func:`coregraft.custom_layers.registry.register_layer`; ``shape`` is a text, or a list of
numbers and texts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coregraft.custom_layers.layer import CustomLayer
from coregraft.custom_layers.registry import layers, register_layer
from coregraft.rewriter.errors import InputError, UsageError

_MAX_BYTES = 1 << 20
#: Keys of a layer -> the types of TOML that each may be.
_KEYS: Mapping[str, tuple[type, ...]] = {
    "domain": (str,), "type": (str,), "inputs": (list,), "outputs": (int,), "swift_class": (str,),
    "parameters": (dict,), "weights": (list,), "dtypes": (str, list), "shape": (str, list),
    "elementwise": (str, list), "gather": (str, list), "outside": (float, int), "reduction": (dict, list),
}  # fmt: skip
#: Keys that list texts.
_TEXTS = ("inputs", "elementwise", "gather", "dtypes")


def load_layers(path: str | Path) -> list[CustomLayer]:
    """Register the layers of a TOML file; one that is registered by this very file already is left as it is.

    Raises:
        UsageError: ``file-not-found``; ``custom-layers-file`` for what is not such a file; and what
            :func:`coregraft.custom_layers.registry.register_layer` raises.
    """
    path = Path(path)
    tables = _tables(path)
    owner = str(path)
    known = {layer.key: layer for layer in layers() if layer.owner == owner}
    found = []
    for n, table in enumerate(tables):
        options = _checked(table, f"layer {n + 1}", path)
        key = options.pop("domain"), options.pop("type")
        found.append(known.get(key) or register_layer(*key, **options, owner=owner))
    return found


def _tables(path: Path) -> list[Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError("file-not-found", "there is no such file", node=str(path)) from error
    except OSError as error:
        raise InputError("file-unreadable", f"the file cannot be read: {error.strerror}", node=str(path)) from error
    if len(content) > _MAX_BYTES:
        raise _bad(path, "it is larger than 1 MB")
    try:
        whole = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(path, f"it is not TOML: {error}") from error
    tables = whole.pop("layer", [])
    if whole or not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise _bad(path, "it consists of [[layer]] tables" + (f", not of {min(whole)}" if whole else ""))
    return tables


def _checked(table: Mapping[str, Any], where: str, path: Path) -> dict[str, Any]:
    for name, value in table.items():
        kinds = _KEYS.get(name)
        if kinds is None:
            raise _bad(path, f"{where} has no {name}; it has {', '.join(_KEYS)}")
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise _bad(path, f"{where}: {name} is {value!r}, not {' or '.join(k.__name__ for k in kinds)}")
        if name in _TEXTS and isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise _bad(path, f"{where}: {name} is a list of texts")
        if name == "reduction" and isinstance(value, list) and not all(isinstance(item, dict) for item in value):
            raise _bad(path, f"{where}: {name} is a list of tables")
    if "type" not in table or "domain" not in table:
        raise _bad(path, f"{where} lacks its domain or type")
    return dict(table)


def _bad(path: Path, problem: str) -> UsageError:
    return UsageError("custom-layers-file", f"the file cannot be used: {problem}", node=str(path))
