"""Where the weights of a saved model go, and files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from onnx import TensorProto

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.tensors import Stored
from coregraft.rewriter.onnx_io.wire import Piece
from coregraft.rewriter.types import Const, DType

_ALIGNMENT = 64
_LARGEST_HOLE = 1 << 16
_CHUNK = 1 << 24


def constants(g: Graph) -> Iterator[Const]:
    """All constants of a graph: values and attributes, those of bodies included."""
    for value in g.values():
        const = g.const(value)
        if const is not None:
            yield const
    for op_id in g.topological():
        for attribute in g.op(op_id).attrs.values():
            if isinstance(attribute, Const):
                yield attribute
            elif isinstance(attribute, Graph):
                yield from constants(attribute)


class Layout:
    """Assigns constants to places in external files: ``files[location]`` is a list of (offset, constant)."""

    def __init__(self) -> None:
        self.files: dict[str, list[tuple[int, Const]]] = {}
        self._place: dict[int, tuple[str, int]] = {}

    @classmethod
    def as_stored(cls, g: Graph) -> Layout:
        """Constants that came from external data stay at their location and offset; a location that now has holes,
        or two contents in one place, is packed anew."""
        found: dict[str, dict[int, tuple[int, Const]]] = {}
        for const in constants(g):
            if isinstance(const.storage, Stored) and const.storage.kind == "external":
                found.setdefault(const.storage.location, {})[id(const)] = (const.storage.offset, const)
        layout = cls()
        for location, entries in found.items():
            placed = sorted(entries.values(), key=lambda entry: entry[0])
            if _has_holes(placed):
                layout.pack(location, [const for _, const in placed])
                continue
            layout.files[location] = placed
            layout._place |= {id(const): (location, offset) for offset, const in placed}
        return layout

    @classmethod
    def of_large(cls, g: Graph, location: str, threshold: int) -> Layout:
        """All constants of at least ``threshold`` bytes in one file; strings cannot be external."""
        layout = cls()
        large = {id(c): c for c in constants(g) if c.dtype is not DType.STRING and c.nbytes >= threshold}
        if large:
            layout.pack(location, large.values())
        return layout

    def pack(self, location: str, content: Iterable[Const]) -> None:
        at = 0
        entries = self.files[location] = []
        for const in content:
            entries.append((at, const))
            self._place[id(const)] = (location, at)
            at += -(-const.nbytes // _ALIGNMENT) * _ALIGNMENT

    def move(self, location: str, to: str) -> None:
        """Let the content of one file follow that of another in a file of the layout."""
        at = max((offset + -(-c.nbytes // _ALIGNMENT) * _ALIGNMENT for offset, c in self.files.get(to, [])), default=0)
        entries = [(offset + at, const) for offset, const in self.files.pop(location)]
        self.files.setdefault(to, []).extend(entries)
        self._place |= {id(const): (to, offset) for offset, const in entries}

    def refer(self, tensor: TensorProto, const: Const) -> bool:
        """Make ``tensor`` refer to the place of ``const``; False when it has none."""
        if id(const) not in self._place:
            return False
        location, offset = self._place[id(const)]
        stored = const.storage
        tensor.data_location = TensorProto.EXTERNAL
        if isinstance(stored, Stored) and (stored.location, stored.offset) == (location, offset):
            return True  # the entries came with the residue, spelled as in the source
        del tensor.external_data[:]
        for key, value in (("location", location), ("offset", offset), ("length", const.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        return True


def _has_holes(placed: list[tuple[int, Const]]) -> bool:
    end, last = 0, -1
    for offset, const in placed:
        if offset > end + _LARGEST_HOLE or (offset < end and offset != last):
            return True
        end, last = max(end, offset + const.nbytes), offset
    return False


def external_pieces(entries: list[tuple[int, Const]]) -> Iterator[Piece]:
    """The content of an external file, gaps filled with zeros."""
    at = 0
    for offset, const in entries:
        if offset < at:
            continue  # the same bytes again, named by two tensors
        if offset > at:
            yield memoryview(bytes(offset - at))
        yield const
        at = offset + const.nbytes


def same_content(path: Path, pieces: Iterable[Piece]) -> bool:
    """Whether a file holds exactly these bytes."""
    with path.open("rb") as file:
        for piece in pieces:
            data = memoryview(piece.raw() if isinstance(piece, Const) else piece)
            for at in range(0, len(data), _CHUNK):
                part = bytes(data[at : at + _CHUNK])  # a view would be compared element by element
                if file.read(len(part)) != part:
                    return False
        return not file.read(1)


class Staged:
    """Files that appear together: each is written beside its place and moved there when all are complete.

    Raises:
        UsageError: ``output-unwritable``.
    """

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []

    def __enter__(self) -> Staged:
        return self

    def write(self, path: Path, pieces: Iterable[Piece]) -> None:
        """Write a file, one piece in memory at a time."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                self._files.append((temporary, path))
                _write(file, pieces)
        except OSError as error:
            raise _unwritable(path, error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        moved = 0
        try:
            for temporary, path in self._files if kind is None else ():
                temporary.replace(path)
                moved += 1
        except OSError as problem:
            raise _unwritable(self._files[moved][1], problem) from problem
        finally:
            for temporary, _path in self._files[moved:]:
                temporary.unlink(missing_ok=True)


def _write(file: IO[bytes], pieces: Iterable[Piece]) -> None:
    for piece in pieces:
        file.write(piece.raw() if isinstance(piece, Const) else piece)


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError("output-unwritable", f"cannot be written: {error.strerror}", node=str(path))
