"""Names that Core ML takes, made from ONNX names: legal, unique and the same on every run."""

from __future__ import annotations

import re

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")
#: Words of the MIL text format; a value must not be called like one.
_RESERVED = frozenset({
    "any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", "string", "state",
    "bf16", "fp16", "fp32", "fp64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
})  # fmt: skip


def legal(name: str) -> str:
    """The name in the form ``[a-zA-Z_][a-zA-Z0-9_]*`` that MIL asks for, spelt as coremltools would spell it."""
    name = _ILLEGAL.sub("_", name) or "_"
    if name[0].isdigit():
        name = f"var_{name}"
    return f"{name}_workaround" if name in _RESERVED else name


class Names:
    """Hands out legal names, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def take(self, name: str) -> str:
        """A legal name made from ``name`` that nobody has yet: with ``_1``, ``_2``, … appended where needed."""
        base = candidate = legal(name)
        n = self._next.get(base, 0)
        while candidate in self._taken:
            n += 1
            candidate = f"{base}_{n}"
        self._next[base] = n
        self._taken.add(candidate)
        return candidate
