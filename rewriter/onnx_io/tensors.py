"""Tensors of a file as constants, checked and left where they are."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from coregraft.rewriter.errors import InputError
from coregraft.rewriter.onnx_io import wire
from coregraft.rewriter.types import Array, Const, DType

_MAX_SIZE = 1 << 48
_MAX_RANK = 64  # numpy's; ONNX sets none
_NOTHING = memoryview(b"")
#: Element types by number, with their bits: enum calls and properties cost as much as all the rest of a small tensor.
_KNOWN = {int(dtype): (dtype, dtype.bits) for dtype in DType if dtype is not DType.UNDEFINED}


@dataclass(frozen=True, slots=True)
class Stored:
    """How the file holds a constant. ``kind`` is raw, typed, external or sparse.

    ``rest`` is the serialized ``TensorProto`` without type, shape, name of the value and raw content
    (for ``sparse``, the whole ``SparseTensorProto``); ``offset`` and ``length`` are those of external data.
    """

    kind: str
    rest: bytes
    location: str = ""
    offset: int = 0
    length: int = 0


class TensorReader:
    """Makes constants; ``cuts`` are the places in ``data`` that tensors may have as their ``segment``.

    ``folders`` are those that external data may be in (:func:`coregraft.rewriter.onnx_io.wire.map_external`).
    """

    def __init__(
        self, folders: Sequence[Path] = (), data: memoryview = _NOTHING, cuts: frozenset[tuple[int, int]] = frozenset()
    ) -> None:
        self.folders = folders
        self.data = data
        self.cuts = cuts
        self.maps: dict[str, memoryview] = {}

    def const(self, t: TensorProto, value: str | None) -> Const:
        """The constant of a tensor; ``value`` is the name that goes without saying (None: none does)."""
        shape = tuple(t.dims)
        known = _KNOWN.get(t.data_type)
        if known is None:
            raise InputError("dtype-unknown", f"element type {t.data_type} is not known", node=t.name)
        dtype, bits = known
        size = _element_count(shape, t.name)
        if dtype is DType.STRING and (t.data_location == TensorProto.EXTERNAL or t.HasField("raw_data")):
            raise InputError("initializer-size", "strings can be neither raw nor external data", node=t.name)
        nbytes = (size * bits + 7) // 8
        source: Array | bytes | memoryview | Callable[[], Array]
        kind, stored = "raw", None
        if t.data_location == TensorProto.EXTERNAL:
            stored, source = self._external(t, nbytes)
            found = len(source)
        elif t.HasField("segment"):
            begin, end = t.segment.begin, t.segment.end
            if (begin, end) not in self.cuts:
                raise InputError("tensor-segmented", "tensors in segments are not supported", node=t.name)
            source, found = self.data[begin:end], end - begin
        elif t.HasField("raw_data"):
            source = t.raw_data
            found = len(source)
        else:
            kind = "typed"
            field, per_element = _typed_field(dtype)
            items = len(getattr(t, field))
            expected = size * per_element if per_element else (size * dtype.bits + 7) // 8
            found, nbytes = (items, expected) if items != expected else (nbytes, nbytes)
            data = t.SerializeToString()
            source = functools.partial(_typed_array, data)
        if found != nbytes:
            raise InputError(
                "initializer-size", f"{dtype.name.lower()}{list(shape)} takes {nbytes} bytes, but {found} are there",
                node=t.name,
            )  # fmt: skip
        unusual = t.HasField("name") != (value is not None) or t.HasField("doc_string") or t.HasField("data_location")
        if stored is None and (kind == "typed" or unusual or t.metadata_props):
            stored = Stored(kind, _tensor_rest(t))
        return Const(dtype, shape, source, stored)

    def _external(self, t: TensorProto, nbytes: int) -> tuple[Stored, memoryview]:
        entries = {e.key: e.value for e in t.external_data}
        location = entries.get("location", "")
        data = self.maps.get(location)
        if data is None:
            data = self.maps[location] = wire.map_external(self.folders, location, t.name)
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", str(nbytes)))
        except ValueError:
            raise InputError("external-data-size", "offset or length is not a number", node=t.name) from None
        if offset < 0 or length != nbytes or offset + length > len(data):
            raise InputError(
                "external-data-size",
                f'{nbytes} bytes are needed; {length} at {offset} of the {len(data)} in "{location}" are named',
                node=t.name,
            )
        return Stored("external", _tensor_rest(t), location, offset, length), data[offset : offset + length]

    def sparse(self, s: onnx.SparseTensorProto) -> Const:
        dims = tuple(s.dims)
        size = _element_count(dims, s.values.name)
        values, indices = self.const(s.values, s.values.name), self.const(s.indices, "")
        at = indices.numpy()
        unfit = indices.dtype is not DType.INT64 or at.ndim not in (1, 2) or (len(at),) != values.shape
        if unfit or (at.ndim == 2 and at.shape[1] != len(dims)) or (at < 0).any():
            raise InputError("initializer-size", "the indices of a sparse tensor do not fit it", node=s.values.name)
        limits = np.array(dims if at.ndim == 2 else [size])
        if (at.reshape(len(at), -1) >= limits).any():
            raise InputError("initializer-size", "an index of a sparse tensor is outside of it", node=s.values.name)
        flat = np.ravel_multi_index(tuple(at.T), dims) if at.ndim == 2 else at

        def dense() -> Array:
            array = np.zeros(size, values.dtype.numpy)
            array[flat] = values.numpy()
            return array

        return Const(values.dtype, dims, dense, Stored("sparse", s.SerializeToString()))


def _element_count(shape: tuple[int, ...], tensor: str) -> int:
    """How many elements a tensor of that shape has.

    Raises:
        InputError: ``initializer-size``: no tensor has it.
    """
    if len(shape) > _MAX_RANK:
        raise InputError("initializer-size", f"a tensor cannot have {len(shape)} dims", node=tensor)
    size = math.prod(shape)
    if shape and (min(shape) < 0 or max(shape) > _MAX_SIZE or size > _MAX_SIZE):
        raise InputError("initializer-size", f"a tensor cannot have the shape {list(shape)}", node=tensor)
    return size


def _typed_field(dtype: DType) -> tuple[str, int]:
    """The field of ``TensorProto`` that holds a type, and its items per element (0: packed as in ``raw_data``)."""
    if dtype in (DType.FLOAT, DType.COMPLEX64):
        return "float_data", 1 if dtype is DType.FLOAT else 2
    if dtype in (DType.DOUBLE, DType.COMPLEX128):
        return "double_data", 1 if dtype is DType.DOUBLE else 2
    if dtype is DType.STRING:
        return "string_data", 1
    if dtype is DType.INT64:
        return "int64_data", 1
    if dtype in (DType.UINT32, DType.UINT64):
        return "uint64_data", 1
    return "int32_data", 0 if 0 < dtype.bits < 8 else 1


def _typed_array(data: bytes) -> Array:
    tensor = TensorProto.FromString(data)
    if tensor.data_type == TensorProto.STRING:
        items = np.empty(len(tensor.string_data), object)
        items[:] = [text(item) for item in tensor.string_data]
        return items
    return np.asarray(onnx.numpy_helper.to_array(tensor))


def _tensor_rest(t: TensorProto) -> bytes:
    rest = TensorProto()
    rest.CopyFrom(t)
    for name in ("dims", "data_type", "raw_data", "segment"):
        rest.ClearField(name)
    return bytes(rest.SerializeToString())


def check_utf8(*strings: str | bytes) -> None:
    """Refuse text that is not UTF-8, which protobuf hands over as bytes.

    Raises:
        InputError: ``text-not-utf8``.
    """
    for item in strings:
        if type(item) is not str:
            raise InputError("text-not-utf8", f"a name in the model is not UTF-8: {item!r}")


def text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
