"""The manifests of models, and where their files are."""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MODELS = HERE / "models.toml"
EXPORTS = HERE / "exports.toml"


@dataclass(frozen=True)
class File:
    """A file inside a package (or a folder of exports), by its sha256."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Package:
    """A pinned package of the Python package index; ``archive`` is the wheel or sdist that the models are in."""

    name: str
    version: str
    archive: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class Model:
    """One entry of a manifest; ``feeds`` and ``results`` are tables as in the file."""

    id: str
    path: str
    sha256: str
    bytes: int
    opset: int
    domain: str
    note: str
    seed: int
    varies: float
    feeds: tuple[dict[str, Any], ...]
    results: tuple[dict[str, Any], ...]
    package: str = ""
    files: tuple[File, ...] = field(default=())

    @property
    def main(self) -> File:
        return File(self.path, self.sha256, self.bytes)

    def place(self, file: File, folder: Path) -> Path:
        """Where a file of the model is in a folder of models; the inside of a ``.mlpackage`` stays as it is."""
        parts = file.path.split("/")
        start = next((i for i, part in enumerate(parts) if part.endswith(".mlpackage")), len(parts) - 1)
        return folder.joinpath(self.id, *parts[start:])


def cache_folder() -> Path:
    """Where fetched models are kept: ``$COREGRAFT_MODELS``, else ``~/.cache/coregraft/models``."""
    return Path(os.environ.get("COREGRAFT_MODELS") or Path.home() / ".cache" / "coregraft" / "models")


def read_manifest(path: Path) -> tuple[dict[str, Package], list[Model]]:
    """The packages by name, and the models, of a manifest.

    Raises:
        TypeError: an entry lacks a field or has an unknown one.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    packages = {p["name"]: Package(**p) for p in document.get("package", [])}
    models = []
    for entry in document["model"]:
        files = tuple(File(**f) for f in entry.pop("files", ()))
        feeds, results = tuple(entry.pop("feeds")), tuple(entry.pop("results"))
        models.append(Model(**entry, feeds=feeds, results=results, files=files))
    return packages, models


def is_file(path: Path, wanted: File) -> bool:
    """Whether a file is there and is the one that the manifest means."""
    if not path.is_file() or path.stat().st_size != wanted.bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == wanted.sha256
