"""The protobuf wire format, as far as it takes to lift the weights out of a model and to put them back.

Reading: :func:`cut_weights` copies the structure of a mapped file and leaves ``raw_data`` where it is; each tensor
gets its place in the file in ``TensorProto.segment``, a field that ONNX reserves and nothing uses.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from coregraft.rewriter.errors import InputError
from coregraft.rewriter.types import Const

#: The deepest nesting of graphs in graphs that is read. A level is three messages, and protobuf parses 100.
MAX_DEPTH = 30
#: What protobuf can hold in one message, in bytes.
MAX_MESSAGE = 2**31 - 1
#: Messages and raw data below this many bytes are copied, not looked into.
_SMALL = 2048
#: Files below this many bytes are parsed as they are.
_SMALL_FILE = 1 << 20
#: A part of a file to be: bytes, or a constant that stands for its ``raw_data``.
Piece = memoryview | Const
#: The fields of a message that lead to tensors, by number.
Schema = dict[int, "Schema"]
_TENSOR: Schema = {}
_ATTRIBUTE: Schema = {5: _TENSOR, 10: _TENSOR}
_NODE: Schema = {5: _ATTRIBUTE}
_GRAPH: Schema = {1: _NODE, 5: _TENSOR}
_ATTRIBUTE |= {6: _GRAPH, 11: _GRAPH}
_MODEL: Schema = {7: _GRAPH, 25: {7: _NODE}}
#: Field keys of ``TensorProto``: number << 3 | wire type 2.
_SEGMENT = 3 << 3 | 2
_RAW_DATA = 9 << 3 | 2

#: How other files begin, and what would help.
_NOT_ONNX = (
    (b"version https://git-lfs", "this is a Git LFS pointer: `git lfs pull` fetches the model it stands for"),
    (b"PK", "this is a zip archive: unpack it, or, where PyTorch saved it, export it with torch.onnx.export"),
    (b"<", "this is a web page: what a download leaves that was refused or redirected"),
)
#: Field number -> wire type of the fields of ``ModelProto``.
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}


def map_file(path: Path) -> memoryview:
    """The content of a file, mapped read-only.

    Raises:
        InputError: ``file-not-found``, ``file-unreadable``, ``model-not-onnx`` (an empty file).
    """
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        raise InputError("file-not-found", "there is no such file", node=str(path)) from None
    except OSError as error:
        raise InputError("file-unreadable", f"cannot be read: {error.strerror}", node=str(path)) from error
    except ValueError:
        raise InputError("model-not-onnx", "the file is empty", node=str(path)) from None


def map_external(folders: Sequence[Path], location: str, tensor: str) -> memoryview:
    """The content of an external data file, which must really lie in one of the model's folders.

    A model may have two: the one it is named in, and, where that name is a link, the one the file is in. In a cache
    of the Hugging Face Hub model and data are links from one folder into another. Links are followed to wherever they
    lead, the location itself may not climb out: it is also where the data goes when the model is saved elsewhere.

    Args:
        folders: of the model, in the order in which they are looked at; none when they are not known.
        location: as the tensor has it.
        tensor: its name, for messages.

    Raises:
        InputError: ``external-data-outside``, ``external-data-missing``, ``file-unreadable``.
    """
    if not folders:
        raise InputError(
            "external-data-missing", f'the data is in "{location}", but the folder of the model is not known',
            node=tensor, hint="load the model from its path, or give base_dir",
        )  # fmt: skip
    outside = InputError("external-data-outside", f'"{location}" is not inside the folder of the model', node=tensor)
    if "\0" in location or Path(os.path.normpath(location)).parts[:1] in ((), (os.sep,), (os.pardir,)):
        raise outside
    named = [Path(os.path.realpath(folder / location)) for folder in folders]  # Path.resolve fails on a loop of links
    found = list(filter(os.path.isfile, named))  # Path.is_file fails on a name that is too long
    path = (found or named)[0]
    if not any(path.is_relative_to(os.path.realpath(folder)) for folder in folders):
        raise outside
    if not found:
        raise InputError("external-data-missing", f'the file "{location}" is missing', node=tensor)
    return map_file(path) if path.stat().st_size else memoryview(b"")


def check_model(data: memoryview, name: str) -> None:
    """Look at the outermost fields: is this a ``ModelProto`` at all, and is it whole?

    Raises:
        InputError: ``model-not-onnx``, ``model-truncated``.
    """
    at, end, first = 0, len(data), True
    while at < end:
        try:
            key, at = _varint(data, at)
            wire_type = key & 7
            if first and _MODEL_FIELDS.get(key >> 3) != wire_type:
                raise InputError("model-not-onnx", "this is not an ONNX model", node=name, hint=_taken_for_onnx(data))
            at = _skip(data, at, wire_type)
        except IndexError:
            at = end + 1
        if at > end:
            raise InputError("model-truncated", "the file ends in the middle of the model", node=name)
        first = False


def _taken_for_onnx(data: memoryview) -> str | None:
    """What a file is that people take for a model, and what to do about it."""
    start = bytes(data[:64]).lstrip()
    return next((hint for sign, hint in _NOT_ONNX if start.startswith(sign)), None)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("varint too long")


def _skip(data: memoryview, at: int, wire_type: int) -> int:
    """The end of a field's payload; past the end of ``data`` when it is cut off or makes no sense."""
    if wire_type == 2:
        size, at = _varint(data, at)
        return at + size
    if wire_type == 0:
        return _varint(data, at)[1]
    return at + {1: 8, 5: 4}.get(wire_type, len(data) + 1)


class _Enough(Exception):  # noqa: N818  # control flow, not an error
    """The walk has seen more fields than it is worth."""


def cut_weights(data: memoryview) -> tuple[memoryview, frozenset[tuple[int, int]]] | None:
    """The structure of a serialized model, each large ``raw_data`` replaced by its place in ``data``.

    Returns:
        The serialized structure, and the (begin, end) pairs that its tensors have in ``segment``; None when the
        model has so little weight per field that plain parsing is faster.

    Raises:
        InputError: ``model-truncated``, ``nesting-depth``.
    """
    size = len(data)
    if size < _SMALL_FILE:
        return None
    cuts: list[tuple[int, int]] = []

    def cut(at: int, end: int) -> list[Piece]:
        start = at
        while at < end:
            before = at
            key, begin = _varint(data, at)
            at = _skip(data, begin, key & 7)
            if key == _RAW_DATA and at <= end and at - begin >= _SMALL:
                begin = _varint(data, begin)[1]
                cuts.append((begin, at))
                segment = b"\x08" + _encode(begin) + b"\x10" + _encode(at)
                field = _encode(_SEGMENT) + _encode(len(segment)) + segment
                return [data[start:before], memoryview(field), data[at:end]]
        return [data[start:end]]

    # a field costs about as much to walk as 4 KiB of weights to parse
    walk = _Walk(data, cut, _SMALL, budget=size if size > MAX_MESSAGE else size >> 12)
    try:
        pieces = walk.message(0, size, _MODEL, 0)
    except _Enough:
        return None
    except IndexError:
        raise InputError("model-truncated", "the file is damaged or truncated") from None
    return memoryview(b"".join(p for p in pieces if isinstance(p, memoryview))), frozenset(cuts)


def parse_failure(data: memoryview, name: str) -> InputError:
    """Why protobuf could not parse a model."""
    walk = _Walk(data, lambda at, end: [data[at:end]], 0, budget=len(data))
    try:
        walk.message(0, len(data), _MODEL, 0)
    except InputError as error:
        return error
    except IndexError:
        pass
    return InputError("model-truncated", "the file is damaged or truncated", node=name)


def splice_weights(structure: bytes, content: Sequence[Const]) -> list[Piece]:
    """The inverse, for the initializers of the outermost graph: ``segment.begin`` is an index into ``content``.

    Returns:
        What the file consists of, in order; a constant stands for its ``raw_data``.
    """
    data = memoryview(structure)

    def splice(at: int, end: int) -> list[Piece]:
        head: list[Piece] = []
        const, start = None, at
        while at < end:
            before = at
            key, begin = _varint(data, at)
            at = _skip(data, begin, key & 7)
            if key == _SEGMENT:
                index = _varint(data, _varint(data, begin)[1] + 1)[0]  # after the length, and the key of "begin"
                const, head, start = content[index], [data[start:before]], at
            elif key > _RAW_DATA and const is not None:
                return [*head, data[start:before], _header(const), const, data[before:end]]
        return [data[start:end]] if const is None else [*head, data[start:end], _header(const), const]

    return _Walk(data, splice, 0, budget=len(structure)).message(0, len(structure), {7: {5: _TENSOR}}, 0)


def _header(const: Const) -> memoryview:
    return memoryview(_encode(_RAW_DATA) + _encode(const.nbytes))


class _Walk:
    """Goes down a message along ``schema`` and lets ``edit`` replace the tensors of at least ``smallest`` bytes."""

    def __init__(self, data: memoryview, edit: Callable[[int, int], list[Piece]], smallest: int, budget: int) -> None:
        self.data = data
        self.edit = edit
        self.smallest = smallest
        self.left = budget

    def message(self, at: int, end: int, schema: Schema, depth: int) -> list[Piece]:
        if schema is _TENSOR:
            return self.edit(at, end)
        if depth > 3 * (MAX_DEPTH + 1):
            raise InputError("nesting-depth", f"graphs are nested deeper than {MAX_DEPTH}")
        data, pieces, copied = self.data, list[Piece](), at
        while at < end:
            self.left -= 1
            if self.left < 0:
                raise _Enough
            start = at
            key, at = _varint(data, at)
            if key & 7 != 2:
                at = _skip(data, at, key & 7)
                continue
            size, at = _varint(data, at)
            if at + size > end:
                raise IndexError("a field ends after its message")
            child = schema.get(key >> 3)
            if child is not None and size >= self.smallest:
                body = self.message(at, at + size, child, depth + 1)
                pieces.append(data[copied:start])
                pieces.append(memoryview(_encode(key) + _encode(sum(p.nbytes for p in body))))
                pieces += body
                copied = at + size
            at += size
        pieces.append(data[copied:end])
        return pieces


def _encode(value: int) -> bytes:
    """A varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
