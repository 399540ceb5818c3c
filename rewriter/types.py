"""What a value is: element types, tensor types with symbolic dims, and constants that load on demand."""

from __future__ import annotations

import enum
import functools
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: One dimension: a size, a symbolic name or formula, or None when nothing is known.
Dim = int | str | None


class DType(enum.IntEnum):
    """Element types; the numbers are those of ONNX ``TensorProto.DataType``."""

    UNDEFINED = 0
    FLOAT = 1
    UINT8 = 2
    INT8 = 3
    UINT16 = 4
    INT16 = 5
    INT32 = 6
    INT64 = 7
    STRING = 8
    BOOL = 9
    FLOAT16 = 10
    DOUBLE = 11
    UINT32 = 12
    UINT64 = 13
    COMPLEX64 = 14
    COMPLEX128 = 15
    BFLOAT16 = 16
    FLOAT8E4M3FN = 17
    FLOAT8E4M3FNUZ = 18
    FLOAT8E5M2 = 19
    FLOAT8E5M2FNUZ = 20
    UINT4 = 21
    INT4 = 22
    FLOAT4E2M1 = 23
    FLOAT8E8M0 = 24
    UINT2 = 25
    INT2 = 26

    #: That of the number, which an element type is equal to; Enum's own hashes the name, and in Python.
    __hash__ = int.__hash__

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype of this element type (``ml_dtypes`` for the small ones; object for strings)."""
        return _numpy_dtype(self)

    @property
    def bits(self) -> int:
        """Bits an element takes in ONNX ``raw_data``; 0 for strings."""
        return _BITS.get(self, 0)

    @property
    def is_float(self) -> bool:
        return self in _FLOATS

    @property
    def is_integer(self) -> bool:
        return self in _INTEGERS

    @classmethod
    def of(cls, dtype: Any) -> DType:
        """The element type of a numpy dtype (or anything ``np.dtype`` takes).

        Raises:
            KeyError: numpy dtype that ONNX does not have.
        """
        name = np.dtype(dtype).name
        return cls.STRING if name == "object" or name.startswith("str") else _BY_NUMPY_NAME[name]


_NUMPY_NAMES: dict[DType, str] = {
    DType.FLOAT: "float32", DType.UINT8: "uint8", DType.INT8: "int8", DType.UINT16: "uint16",
    DType.INT16: "int16", DType.INT32: "int32", DType.INT64: "int64", DType.BOOL: "bool",
    DType.FLOAT16: "float16", DType.DOUBLE: "float64", DType.UINT32: "uint32", DType.UINT64: "uint64",
    DType.COMPLEX64: "complex64", DType.COMPLEX128: "complex128", DType.BFLOAT16: "bfloat16",
    DType.FLOAT8E4M3FN: "float8_e4m3fn", DType.FLOAT8E4M3FNUZ: "float8_e4m3fnuz",
    DType.FLOAT8E5M2: "float8_e5m2", DType.FLOAT8E5M2FNUZ: "float8_e5m2fnuz",
    DType.UINT4: "uint4", DType.INT4: "int4", DType.FLOAT4E2M1: "float4_e2m1fn",
    DType.FLOAT8E8M0: "float8_e8m0fnu", DType.UINT2: "uint2", DType.INT2: "int2",
}  # fmt: skip
_BY_NUMPY_NAME = {name: dtype for dtype, name in _NUMPY_NAMES.items()}
_FLOATS = frozenset(d for d, n in _NUMPY_NAMES.items() if n.startswith(("float", "bfloat")))
_INTEGERS = frozenset(d for d, n in _NUMPY_NAMES.items() if n.startswith(("int", "uint")))
_BITS = {d: 8 if d is DType.BOOL else int(re.findall(r"\d+", n)[0]) for d, n in _NUMPY_NAMES.items()}
_SMALL_BITS = {dtype: bits for dtype, bits in _BITS.items() if bits < 8}
_ML_DTYPES = frozenset({DType.BFLOAT16, *_SMALL_BITS, *(d for d, n in _NUMPY_NAMES.items() if n.startswith("float8"))})


@functools.cache
def _numpy_dtype(dtype: DType) -> np.dtype[Any]:
    if dtype in _ML_DTYPES:
        import ml_dtypes

        kind: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _NUMPY_NAMES[dtype]))
        return kind
    return np.dtype(_NUMPY_NAMES.get(dtype, "object"))


def compatible(a: Sequence[Dim] | None, b: Sequence[Dim] | None) -> bool:
    """Whether a tensor can have both shapes: they differ in no rank and no number that is known of both."""
    if a is None or b is None:
        return True
    differ = (x != y and isinstance(x, int) and isinstance(y, int) for x, y in zip(a, b, strict=False))
    return len(a) == len(b) and not any(differ)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a tensor; ``shape`` is None when even the rank is unknown."""

    dtype: DType
    shape: tuple[Dim, ...] | None = None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape when every dim is a number, else None."""
        if self.shape is None or not all(isinstance(d, int) for d in self.shape):
            return None
        return tuple(d for d in self.shape if isinstance(d, int))

    @property
    def nbytes(self) -> int | None:
        """Bytes of a dense tensor of this type, or None when the shape is not static."""
        shape = self.static_shape
        return None if shape is None else (math.prod(shape) * self.dtype.bits + 7) // 8

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype.name.lower()}[*]"
        return f"{self.dtype.name.lower()}[{','.join('?' if d is None else str(d) for d in self.shape)}]"


@dataclass(frozen=True, slots=True)
class OpaqueType:
    """A sequence, map, optional or sparse type: the serialized ONNX ``TypeProto``, kept as it came."""

    proto: bytes


ValueType = TensorType | OpaqueType


class Const:
    """An immutable constant tensor whose bytes may still be on disk.

    ``source`` is one of: a numpy array; a bytes-like object with the little-endian ``raw_data`` encoding
    (a slice of a mapped file, usually); or a function without arguments that returns either.
    Anything wanted for an exact round trip (typed storage field, external location, doc string) travels
    in ``storage``, which nothing but load and save reads.
    """

    __slots__ = ("_digest", "_source", "dtype", "shape", "storage")

    def __init__(
        self,
        dtype: DType,
        shape: Sequence[int],
        source: Array | bytes | memoryview | Callable[[], Array | bytes | memoryview],
        storage: Any = None,
    ) -> None:
        self.dtype = dtype
        self.shape = tuple(int(d) for d in shape)
        self.storage = storage
        self._source = source
        self._digest: bytes | None = None

    @classmethod
    def of(cls, value: Any, dtype: DType | None = None) -> Const:
        """A constant from anything ``np.asarray`` takes, optionally cast to ``dtype``."""
        array = np.asarray(value) if dtype is None else np.asarray(value).astype(dtype.numpy)
        return cls(DType.of(array.dtype), array.shape, array)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the ``raw_data`` encoding (small types packed)."""
        return (self.size * self.dtype.bits + 7) // 8

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def numpy(self) -> Array:
        """The values as a read-only array; a view of the file where the encoding allows it."""
        source = self._source() if callable(self._source) else self._source
        array = source if isinstance(source, np.ndarray) else self._decode(source)
        array = array.reshape(self.shape).view()
        array.flags.writeable = False
        return array

    def raw(self) -> bytes | memoryview:
        """The values in ONNX ``raw_data`` encoding. Not defined for strings."""
        source = self._source() if callable(self._source) else self._source
        if not isinstance(source, np.ndarray):
            return source
        if self.dtype in _SMALL_BITS:
            return pack_small(source, self.dtype)
        array = np.ascontiguousarray(source)
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() if array.size else b""

    def fits(self) -> bool:
        """Whether the content, if it is in memory or mapped, has the size (and numpy dtype) of the type."""
        source = self._source
        if isinstance(source, np.ndarray):
            return source.size == self.size and (self.dtype is DType.STRING or source.dtype == self.dtype.numpy)
        return callable(source) or len(source) == self.nbytes

    def digest(self) -> bytes:
        """A hash of type, shape and content: equal constants have equal digests."""
        if self._digest is None:
            h = hashlib.blake2b(f"{int(self.dtype)}{self.shape}".encode(), digest_size=16)
            if self.dtype is DType.STRING:
                for item in self.numpy().ravel():
                    data = item if isinstance(item, bytes) else str(item).encode()
                    h.update(len(data).to_bytes(8, "little") + data)
            else:
                h.update(self.raw())
            self._digest = h.digest()
        return self._digest

    def _decode(self, data: bytes | memoryview) -> Array:
        if self.dtype in _SMALL_BITS:
            return unpack_small(data, self.dtype, self.size)
        kind = self.dtype.numpy
        if self.dtype is DType.BOOL:
            return np.asarray(np.frombuffer(data, np.uint8) != 0)  # numpy takes any other byte than 0 and 1 for neither
        return np.frombuffer(data, dtype=kind if self.dtype in _ML_DTYPES else kind.newbyteorder("<"))

    def __repr__(self) -> str:
        return f"Const({self.type})"


def pack_small(array: Array, dtype: DType) -> bytes:
    """Pack 2- or 4-bit elements little end first, as ONNX ``raw_data`` has them."""
    per_byte = 8 // dtype.bits
    flat = np.ascontiguousarray(array).view(np.uint8).ravel() & ((1 << dtype.bits) - 1)
    padded = np.zeros(-(-flat.size // per_byte) * per_byte, np.uint8)
    padded[: flat.size] = flat
    columns = padded.reshape(-1, per_byte)
    packed = np.zeros(len(columns), np.uint8)
    for i in range(per_byte):
        packed |= columns[:, i] << (i * dtype.bits)
    return packed.tobytes()


def unpack_small(data: bytes | memoryview, dtype: DType, size: int) -> Array:
    """The inverse of :func:`pack_small`; ``size`` is the number of elements."""
    per_byte = 8 // dtype.bits
    packed = np.frombuffer(data, np.uint8)
    columns = np.stack([(packed >> (i * dtype.bits)) & ((1 << dtype.bits) - 1) for i in range(per_byte)], axis=1)
    codes = np.ascontiguousarray(columns.ravel()[:size])
    if dtype in (DType.INT4, DType.INT2):  # ml_dtypes keeps signed small ints sign-extended in their byte
        sign = 1 << (dtype.bits - 1)
        codes = ((codes ^ sign).astype(np.int16) - sign).astype(np.int8).view(np.uint8)
    return codes.view(dtype.numpy)
