"""A saved Core ML model as plain data: read from disk by its protobuf, without Core ML and without its weights.

A weight stays in the file, mapped, until somebody asks for its values. Only the container is understood here; what the
ops mean is the business of the ``lift_*`` modules.
"""

from __future__ import annotations

import functools
import json
import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from coregraft.rewriter.errors import InputError
from coregraft.rewriter.types import Array, Const, DType, TensorType

Kind = Literal["tensor", "state", "list", "dictionary", "tuple"]
#: An operand: the name of a value, or a constant written in its place.
Ref = str | Const

#: Element types by MIL's number: what an unpacked element is held in, and the bits a stored one takes.
_DTYPES: dict[int, tuple[DType, int]] = {
    1: (DType.BOOL, 8), 2: (DType.STRING, 0), 10: (DType.FLOAT16, 16), 11: (DType.FLOAT, 32), 12: (DType.DOUBLE, 64),
    13: (DType.BFLOAT16, 16), 21: (DType.INT8, 8), 22: (DType.INT16, 16), 23: (DType.INT32, 32), 24: (DType.INT64, 64),
    25: (DType.INT8, 4), 31: (DType.UINT8, 8), 32: (DType.UINT16, 16), 33: (DType.UINT32, 32), 34: (DType.UINT64, 64),
    35: (DType.UINT8, 4), 36: (DType.UINT8, 2), 37: (DType.UINT8, 1), 38: (DType.UINT8, 6), 39: (DType.UINT8, 3),
    40: (DType.FLOAT8E4M3FN, 8), 41: (DType.FLOAT8E5M2, 8),
}  # fmt: skip
#: A blob's header: sentinel, element type, bytes, offset of the data, bits of padding after the last element.
_BLOB = struct.Struct("<IIQQQ")
_BLOB_SENTINEL = 0xDEADBEEF
_BLOB_DTYPES = {
    1: 10, 2: 11, 3: 31, 4: 21, 5: 13, 6: 22, 7: 32, 8: 25, 9: 37, 10: 36, 11: 35, 12: 39, 13: 38, 14: 23, 15: 33,
    16: 40, 17: 41,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slot:
    """A named value with its type.

    Attributes:
        type: of a tensor, or of what a state holds; None for lists and dictionaries. Sizes that are not known are
            None. Integers of less than 8 bits appear as INT8 or UINT8, in which their values are held.
    """

    name: str
    type: TensorType | None
    kind: Kind = "tensor"


@dataclass(frozen=True, slots=True)
class MilOp:
    """One operation. ``inputs`` lists one reference per parameter, more where the parameter takes several values."""

    type: str
    name: str
    inputs: Mapping[str, tuple[Ref, ...]]
    outputs: tuple[Slot, ...]
    blocks: tuple[Block, ...] = ()

    @property
    def label(self) -> str:
        """The op for a message: ``conv "layer1"``."""
        return f'{self.type} "{self.name}"'


@dataclass(frozen=True, slots=True)
class Block:
    """Operations in the order they run, the values they are given and the names of the values they yield."""

    inputs: tuple[Slot, ...]
    ops: tuple[MilOp, ...]
    outputs: tuple[str, ...]

    def walk(self) -> Iterator[MilOp]:
        """Every operation, those of nested blocks after the one that owns them."""
        for op in self.ops:
            yield op
            for block in op.blocks:
                yield from block.walk()


@dataclass(frozen=True, slots=True)
class Function:
    """A block with the name of its op set: ``CoreML5`` is that of iOS 15."""

    opset: str
    body: Block


@dataclass(frozen=True, slots=True)
class Program:
    """The functions of an ML Program by name."""

    functions: Mapping[str, Function]


@dataclass(frozen=True, slots=True)
class Package:
    """A Core ML model on disk: its ``Model`` message and the folder that ``@model_path`` stands for."""

    model: Any
    folder: Path

    def program(self) -> Program:
        """Its ML Program.

        Raises:
            InputError: ``package-broken``.
        """
        reader = _Reader(self.folder)
        found = self.model.mlProgram.functions
        return Program({name: reader.function(name, found[name]) for name in sorted(found)})


def read_package(path: str | Path) -> Package:
    """Read an ``.mlpackage`` or ``.mlmodel``.

    Raises:
        InputError: ``package-not-found``; ``package-broken``.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("package-not-found", f'there is no "{path}"', node=str(path))
    if path.suffix == ".mlmodelc":
        hint = "give the .mlpackage or .mlmodel that it was compiled from"
        raise InputError("package-broken", "a compiled model cannot be read back", node=str(path), hint=hint)
    file = _root_model(path) if path.is_dir() else path
    return Package(_parse(file), file.parent)


def _root_model(package: Path) -> Path:
    """The model file that a package's manifest names."""
    manifest = package / "Manifest.json"
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        entry = content["itemInfoEntries"][content["rootModelIdentifier"]]
        relative = PurePosixPath(entry["path"])
    except FileNotFoundError as error:
        raise _broken(package, "it has no Manifest.json") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(manifest, f"the manifest does not name the model ({type(error).__name__}: {error})") from error
    file = package / "Data" / _inside(relative, manifest)
    if not file.is_file():
        raise _broken(package, f'the manifest names "{relative}", which is not there')
    return file


def _parse(file: Path) -> Any:
    from coremltools import proto
    from google.protobuf.message import DecodeError

    model = proto.Model_pb2.Model()
    try:
        model.ParseFromString(file.read_bytes())
    except OSError as error:
        raise _broken(file, f"it cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise _broken(file, "it is no Core ML model, or is cut off") from error
    if model.WhichOneof("Type") is None:
        raise _broken(file, "it holds no model")
    return model


def _inside(relative: PurePosixPath, where: Path) -> PurePosixPath:
    if relative.is_absolute() or ".." in relative.parts:
        raise _broken(where, f'"{relative}" leads out of the package')
    return relative


def _broken(where: Path, why: str) -> InputError:
    return InputError("package-broken", f"the package is broken: {why}", node=str(where))


def unpack_bits(data: bytes | memoryview, bits: int, size: int, *, signed: bool = False) -> Array:
    """Elements of fewer than 8 bits, packed little end first across byte borders, one per byte."""
    stream = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: size * bits].reshape(size, bits)
    codes = np.packbits(stream, axis=1, bitorder="little").reshape(size)
    if signed:
        sign = 1 << (bits - 1)
        return ((codes ^ sign).astype(np.int16) - sign).astype(np.int8)
    return codes


class _Reader:
    """Turns the messages of one package into the classes above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def function(self, name: str, message: Any) -> Function:
        blocks = message.block_specializations
        if message.opset not in blocks:
            raise _broken(self.folder, f'function "{name}" has no block for its op set "{message.opset}"')
        body = self.block(blocks[message.opset])
        return Function(message.opset, Block(tuple(map(_slot, message.inputs)), body.ops, body.outputs))

    def block(self, message: Any) -> Block:
        ops = tuple(map(self.op, message.operations))
        return Block(tuple(map(_slot, message.inputs)), ops, tuple(message.outputs))

    def op(self, message: Any) -> MilOp:
        outputs = tuple(map(_slot, message.outputs))
        # Older op sets keep the operands of constexpr ops among the attributes.
        inputs: dict[str, tuple[Ref, ...]] = {
            key: (self.value(value),) for key, value in sorted(message.attributes.items()) if key != "name"
        }
        for key, argument in sorted(message.inputs.items()):
            inputs[key] = tuple(
                b.name if b.WhichOneof("binding") == "name" else self.value(b.value) for b in argument.arguments
            )
        name = "".join(message.attributes["name"].immediateValue.tensor.strings.values[:1])
        blocks = tuple(map(self.block, message.blocks))
        return MilOp(message.type, name or (outputs[0].name if outputs else message.type), inputs, outputs, blocks)

    def value(self, message: Any) -> Const:
        kind = message.type.WhichOneof("type")
        where = message.WhichOneof("value")
        if kind == "listType" and where == "immediateValue":
            items = [self.value(v).numpy().item() for v in message.immediateValue.list.values]
            strings = any(isinstance(v, str) for v in items)
            return Const.of(np.array(items, object if strings else np.int64))
        if kind != "tensorType":
            raise _broken(self.folder, f"a constant of type {kind} is not understood")
        dtype, bits = _dtype(message.type.tensorType.dataType, self.folder)
        shape = _shape(message.type.tensorType)
        if None in shape:
            raise _broken(self.folder, "a constant has no fixed shape")
        sizes = tuple(d for d in shape if isinstance(d, int))
        if where == "blobFileValue":
            return self._blob(message.blobFileValue, message.type.tensorType.dataType, sizes)
        return Const(dtype, sizes, self._immediate(message.immediateValue.tensor, dtype, bits, sizes))

    def _immediate(self, tensor: Any, dtype: DType, bits: int, shape: tuple[int, ...]) -> Array:
        size, field = math.prod(shape), tensor.WhichOneof("value")
        if field is None and size:
            raise _broken(self.folder, "a constant has no values")
        values: Any = b"" if field is None else getattr(tensor, field).values
        if dtype is DType.STRING:
            array = np.array(list(values), object)
        elif field == "bytes" and bits < 8:
            array = unpack_bits(values, bits, size, signed=dtype is DType.INT8)
        elif field == "bytes":
            array = np.frombuffer(values, dtype.numpy)
        else:
            array = np.array(list(values), dtype.numpy)
        if array.size == 1 and size > 1:
            array = np.repeat(array, size)
        if array.size != size:
            raise _broken(self.folder, f"a constant of shape {list(shape)} has {array.size} values")
        return array.reshape(shape)

    def _blob(self, message: Any, mil_dtype: int, shape: tuple[int, ...]) -> Const:
        dtype, bits = _dtype(mil_dtype, self.folder)
        file, mapped = self._mapped(message.fileName)
        header = mapped[message.offset : message.offset + _BLOB.size]
        if len(header) < _BLOB.size:
            raise _broken(file, f"it ends before the weight at {message.offset}")
        sentinel, stored, nbytes, begin, _ = _BLOB.unpack(header)
        size = math.prod(shape)
        if sentinel != _BLOB_SENTINEL or _BLOB_DTYPES.get(stored) != mil_dtype:
            raise _broken(file, f"at {message.offset} there is no weight of the declared type")
        if nbytes != (size * bits + 7) // 8:
            raise _broken(file, f"the weight at {message.offset} has {nbytes} bytes, its shape is {list(shape)}")
        if begin + nbytes > len(mapped):
            raise _broken(file, f"it ends within the weight at {message.offset}")
        data = memoryview(mapped)[begin : begin + nbytes]
        if bits < 8:
            signed = dtype is DType.INT8
            return Const(dtype, shape, lambda: unpack_bits(data, bits, size, signed=signed))
        return Const(dtype, shape, data)

    def _mapped(self, name: str) -> tuple[Path, mmap.mmap | bytes]:
        path = PurePosixPath(name)
        if path.parts[:1] == ("@model_path",):
            path = PurePosixPath(*path.parts[1:])
        file = self.folder / _inside(path, self.folder)
        return file, _map(file)


@functools.lru_cache(maxsize=16)
def _map_version(file: Path, size: int, changed: int) -> mmap.mmap | bytes:
    if not size:
        return b""
    with file.open("rb") as handle:
        return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)


def _map(file: Path) -> mmap.mmap | bytes:
    try:
        facts = file.stat()
        return _map_version(file, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise _broken(file, f"its weights cannot be read: {error.strerror}") from error


def _dtype(number: int, where: Path) -> tuple[DType, int]:
    if number not in _DTYPES:
        raise _broken(where, f"element type {number} is unknown")
    return _DTYPES[number]


def _shape(tensor: Any) -> tuple[int | None, ...]:
    return tuple(int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None for d in tensor.dimensions)


def _slot(message: Any) -> Slot:
    kind = message.type.WhichOneof("type")
    held = message.type.stateType.wrappedType if kind == "stateType" else message.type
    if held.WhichOneof("type") != "tensorType":
        names: dict[str, Kind] = {"listType": "list", "dictionaryType": "dictionary", "tupleType": "tuple"}
        return Slot(message.name, None, names.get(kind, "tuple"))
    tensor = held.tensorType
    dtype = _DTYPES[tensor.dataType][0] if tensor.dataType in _DTYPES else DType.UNDEFINED
    variadic = any(d.unknown.variadic for d in tensor.dimensions) or tensor.rank < 0
    return Slot(message.name, TensorType(dtype, None if variadic else _shape(tensor)),
                "state" if kind == "stateType" else "tensor")  # fmt: skip
