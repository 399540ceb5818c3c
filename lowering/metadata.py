"""What a package says of itself: the model's own words, and coregraft's under its own keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coregraft.lowering.program import Feature
from coregraft.rewriter.graph import Graph

PREFIX = "com.coregraft."
#: ONNX's names of well-known properties (docs/MetadataProps) and the plain forms that exporters write.
_AUTHOR = ("model_author", "author", "Author")
_LICENSE = ("model_license", "license", "License")
_DESCRIPTION = ("description", "Description")
_VERSION = ("version", "Version")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The description fields of a package.

    Attributes:
        author, license, description, version: from the ONNX model; empty where it says nothing.
        user: user-defined keys: the model's own, and those that start with ``com.coregraft.``.
    """

    author: str = ""
    license: str = ""
    description: str = ""
    version: str = ""
    user: Mapping[str, str] = field(default_factory=dict)

    def write(self, spec: Any) -> None:
        """Put the fields into a Core ML ``Model`` message."""
        meta = spec.description.metadata
        meta.author, meta.license = self.author, self.license
        meta.shortDescription, meta.versionString = self.description, self.version
        meta.userDefined.update(dict(self.user))


def describe(
    graph: Graph, inputs: Iterable[Feature], outputs: Iterable[Feature], facts: Mapping[str, str]
) -> Metadata:
    """The metadata of a package.

    Args:
        graph: the model as loaded, with the facts that it came with.
        inputs, outputs: the package's features, which become the ``io`` record.
        facts: more of coregraft's own keys, without the prefix.
    """
    given = dict(graph.graph.get("metadata", ()))
    record = {"inputs": [f.as_dict() for f in inputs], "outputs": [f.as_dict() for f in outputs]}
    own = {**facts, "io": json.dumps(record, sort_keys=True, separators=(",", ":"))}
    version = graph.graph.get("model_version")
    used = {*_AUTHOR, *_LICENSE, *_DESCRIPTION, *_VERSION}
    return Metadata(
        author=_first(given, _AUTHOR),
        license=_first(given, _LICENSE),
        description=str(graph.graph.get("doc_string") or "") or _first(given, _DESCRIPTION),
        version=_first(given, _VERSION) or (str(version) if version else ""),
        user={**{k: v for k, v in given.items() if k not in used}, **{PREFIX + k: v for k, v in sorted(own.items())}},
    )


def _first(given: Mapping[str, str], names: Iterable[str]) -> str:
    return next((given[name] for name in names if given.get(name)), "")

