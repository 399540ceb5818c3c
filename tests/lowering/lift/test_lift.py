"""Packages read from disk: what comes back, what is refused, and that every op of MIL has a lift."""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coregraft
from coregraft.lowering.lift import lift
from coregraft.lowering.lift.registry import lifts, table
from coregraft.lowering.lift.spec import read_package, unpack_bits
from coregraft.rewriter.errors import InputError, UnsupportedError, UsageError
from coregraft.rewriter.execute import run, seeded_inputs
from coregraft.rewriter.onnx_io.load import from_model
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import DType, TensorType
from tests.lowering.lift.one_op import lift_program, mb, program_of, run_graph

SMALL = (
    "input x: float[2,8]\nconst w: float[8,4] = normal(seed=1)\n"
    "y = MatMul(x, w)\nz = Softmax(y, axis=1)\noutput z\n"
)
#: Graphs that pass through the passes, the emitters, coremltools' writer and back.
ROUND_TRIPS = {
    "dense": SMALL,
    "convolution": (
        "input x: float[1,3,9,9]\nconst w: float[4,3,3,3] = normal(seed=1)\nconst b: float[4] = normal(seed=2)\n"
        "y = Conv(x, w, b, strides=[2,2], pads=[1,1,1,1])\nz = Relu(y)\np = GlobalAveragePool(z)\noutput p\n"
    ),
    "moves": (
        "input x: float[2,3,4]\nt = Transpose(x, perm=[2,0,1])\nconst s: int64[2] = [4,6]\nr = Reshape(t, s)\n"
        "const b: int64[1] = [1]\nconst e: int64[1] = [3]\nc = Slice(r, b, e)\noutput c\n"
    ),
    "integers": (
        "input i: int64[4]\nconst t: float[2,3] = normal(seed=3)\ng = Gather(t, i)\n"
        "a = ArgMax(g, axis=1, keepdims=0)\noutput g\noutput a\n"
    ),
    "two outputs of one value": "input x: float[3]\ny = Exp(x)\nz = Neg(y)\noutput y\noutput z\n",
    "scalar": "input x: float[3]\ny = ReduceSum(x, keepdims=0)\noutput y\n",
}
#: Ops of MIL that have no lift, and why.
NOT_LIFTED = {
    "_const_symbolic": "exists in coremltools' memory only",
    "const": "read by the lifter itself",
    **dict.fromkeys(["list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list"], "a list"),
    **dict.fromkeys(["random_bernoulli", "random_categorical", "random_normal", "random_uniform"], "random"),
}


def _saved(folder: Path, text: str = SMALL, **options: Any) -> Path:
    options = {"precision": "fp32", **options}
    coregraft.convert(parse("opset 18\n" + text), **options).save(folder / "m.mlpackage")
    return folder / "m.mlpackage"


@pytest.mark.parametrize("name", sorted(ROUND_TRIPS))
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_round_trip(name: str, precision: str, tmp_path: Path) -> None:
    source = parse("opset 18\n" + ROUND_TRIPS[name])
    graph = from_model(to_model(lift(_saved(tmp_path, ROUND_TRIPS[name], precision=precision))))
    assert graph.opsets[""] == 24
    assert list(graph.outputs) == list(source.outputs)
    feeds = seeded_inputs(source)
    want = run(source, feeds)
    found = run_graph(graph, {n: v.astype(np.int32) if v.dtype == np.int64 else v for n, v in feeds.items()})
    for public, value in source.outputs.items():
        result = found[public].reshape(want[value].shape)
        np.testing.assert_allclose(result, want[value], rtol=1e-5 if precision == "fp32" else 2e-2, atol=1e-2)


def test_names_types_and_words_come_back(tmp_path: Path) -> None:
    graph = lift(_saved(tmp_path))
    assert graph.inputs == ("x",)
    assert graph.type_of("x") == TensorType(DType.FLOAT, (2, 8))
    assert graph.type_of(graph.outputs["z"]) == TensorType(DType.FLOAT, (2, 4))
    assert dict(graph.graph["metadata"])["com.coregraft.target"] == "iOS17"
    names = [op.name for _, op in graph.ops()]
    assert len(names) == len(set(names))


def test_weights_stay_on_disk_until_asked_for(tmp_path: Path) -> None:
    package = _saved(tmp_path, SMALL)
    graph = lift(package)
    weights = package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    const = next(c for v in graph.values() if (c := graph.const(v)) is not None and c.size == 32)
    data = bytearray(weights.read_bytes())
    place = data.find(np.ascontiguousarray(const.numpy()).tobytes())
    assert place > 0
    with weights.open("r+b") as file:
        file.seek(place)
        file.write(struct.pack("<f", 99.0))
    assert const.numpy().ravel()[0] == 99.0


def test_an_mlmodel_file_that_holds_a_program(tmp_path: Path) -> None:
    package = _saved(tmp_path, "input x: float[2]\ny = Exp(x)\noutput y\n")
    inner = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    assert lift(inner).inputs == ("x",)


# ---------------------------------------------------------------- constants


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("signed", [False, True])
def test_unpacking_undoes_packing(bits: int, signed: bool) -> None:
    values = np.arange(-(1 << (bits - 1)), 1 << (bits - 1)) if signed else np.arange(1 << bits)
    values = np.tile(values, 3)[: 3 * (1 << bits) - 1]
    stream = [(int(v) >> i) & 1 for v in values for i in range(bits)]
    packed = np.packbits(np.array(stream, np.uint8), bitorder="little").tobytes()
    np.testing.assert_array_equal(unpack_bits(packed, bits, values.size, signed=signed), values)


BLOBS: dict[str, tuple[str, Any]] = {
    "fp32": ("write_float_data", np.array([1.5, -2], np.float32)),
    "int8": ("write_int8_data", np.array([-3, 5], np.int8)),
    "uint8": ("write_uint8_data", np.array([200, 5], np.uint8)),
    "int16": ("write_int16_data", np.array([-300, 5], np.int16)),
    "uint16": ("write_uint16_data", np.array([60000, 5], np.uint16)),
    "int32": ("write_int32_data", np.array([-70000, 5], np.int32)),
    "uint32": ("write_uint32_data", np.array([70000, 5], np.uint32)),
    "int4": ("write_int4_data", np.array([-8, 7, 1], np.int8)),
    "uint4": ("write_uint4_data", np.array([15, 0, 9], np.uint8)),
    "uint3": ("write_uint3_data", np.array([7, 1, 5, 2], np.uint8)),
    "uint6": ("write_uint6_data", np.array([63, 1, 40], np.uint8)),
    "uint2": ("write_uint2_data", np.array([3, 0, 1], np.uint8)),
    "uint1": ("write_uint1_data", np.array([1, 0, 1, 1, 0, 0, 0, 1, 1], np.uint8)),
}
NUMBERS = {
    "fp32": 11, "int8": 21, "int16": 22, "int32": 23, "int4": 25, "uint8": 31, "uint16": 32, "uint32": 33, "uint4": 35,
    "uint2": 36, "uint1": 37, "uint6": 38, "uint3": 39,
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(BLOBS))
def test_weights_of_every_kind_are_read(kind: str, tmp_path: Path) -> None:
    """Against coremltools' own writer of weight files."""
    from coremltools import proto
    from coremltools.libmilstoragepython import _BlobStorageWriter

    from coregraft.lowering.lift.spec import _Reader

    method, values = BLOBS[kind]
    writer = _BlobStorageWriter(str(tmp_path / "weight.bin"))
    getattr(writer, method)(values[::-1].copy())
    offset = getattr(writer, method)(values)
    del writer
    message = proto.MIL_pb2.Value()
    message.type.tensorType.dataType = NUMBERS[kind]
    message.type.tensorType.dimensions.add().constant.size = values.size
    message.blobFileValue.fileName, message.blobFileValue.offset = "@model_path/weight.bin", offset
    const = _Reader(tmp_path).value(message)
    np.testing.assert_array_equal(const.numpy(), values)
    assert const.numpy().dtype == values.dtype
    message.type.tensorType.dataType = NUMBERS["int32" if kind != "int32" else "fp32"]
    with pytest.raises(InputError, match="no weight of the declared type"):
        _Reader(tmp_path).value(message)
    message.blobFileValue.fileName = "@model_path/../elsewhere.bin"
    with pytest.raises(InputError, match="leads out of the package"):
        _Reader(tmp_path).value(message)


# ---------------------------------------------------------------- what is refused


def _model(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def _weights(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"


def _edit_manifest(package: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((package / "Manifest.json").read_text())
    edit(content)
    (package / "Manifest.json").write_text(json.dumps(content))


def _escape(manifest: dict[str, Any]) -> None:
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../etc/passwd"


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda p: (p / "Manifest.json").unlink(), "no Manifest.json"),
    "a manifest that is no JSON": (lambda p: (p / "Manifest.json").write_text("{"), "does not name the model"),
    "a manifest of another kind": (lambda p: (p / "Manifest.json").write_text("[]"), "does not name the model"),
    "a manifest that names no model": (lambda p: _edit_manifest(p, lambda m: m.pop("rootModelIdentifier")), "not name"),
    "a manifest that leads out": (lambda p: _edit_manifest(p, _escape), "leads out of the package"),
    "no model": (lambda p: _model(p).unlink(), "which is not there"),
    "an empty model": (lambda p: _model(p).write_bytes(b""), "holds no model"),
    "half a model": (lambda p: _model(p).write_bytes(_model(p).read_bytes()[:-7]), "cut off"),
    "noise for a model": (lambda p: _model(p).write_bytes(b"\xff" * 99), "no Core ML model"),
    "no weights": (lambda p: _weights(p).unlink(), "cannot be read"),
    "empty weights": (lambda p: _weights(p).write_bytes(b""), "ends before the weight"),
    "half the weights": (lambda p: _weights(p).write_bytes(_weights(p).read_bytes()[:170]), "ends within the weight"),
    "noise for weights": (lambda p: _weights(p).write_bytes(b"\x01" * 4096), "no weight of the declared type"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_a_broken_package_is_one_clear_error(case: str, tmp_path: Path) -> None:
    package = _saved(tmp_path)
    damage, message = BROKEN[case]
    damage(package)
    with pytest.raises(InputError, match=message) as caught:
        lift(package)
    assert caught.value.code == "package-broken"


def test_a_package_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        lift(tmp_path / "m.mlpackage")
    assert caught.value.code == "package-not-found"


def test_what_is_no_ml_program(tmp_path: Path) -> None:
    from coremltools import proto

    model = proto.Model_pb2.Model()
    model.glmClassifier.SetInParent()
    (tmp_path / "m.mlmodel").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="glmClassifier") as caught:
        lift(tmp_path / "m.mlmodel")
    assert caught.value.code == "lift-format-unsupported"
    (tmp_path / "m.mlmodelc").mkdir()
    with pytest.raises(InputError, match="compiled model"):
        lift(tmp_path / "m.mlmodelc")


def _edited(tmp_path: Path, edit: Callable[[Any], None]) -> Path:
    package = _saved(tmp_path, "input x: float[2]\ny = Exp(x)\nz = Neg(y)\noutput z\n")
    model = read_package(package).model
    edit(model.mlProgram.functions["main"])
    _model(package).write_bytes(model.SerializeToString())
    return package


def _body(function: Any) -> Any:
    return function.block_specializations[function.opset]


def _rename_ops(function: Any) -> None:
    for op in _body(function).operations:
        if op.type != "const":
            op.type = f"new_{op.type}"


def test_every_unknown_op_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as caught:
        lift(_edited(tmp_path, _rename_ops))
    assert caught.value.code == "lift-op-unsupported"
    assert "2 kind(s) of op" in caught.value.message
    assert 'new_exp x1 (first: "y")' in caught.value.message
    assert "new_mul" in caught.value.message


def test_a_value_that_nothing_defines(tmp_path: Path) -> None:
    def cut(function: Any) -> None:
        del _body(function).operations[0]

    with pytest.raises(InputError, match="before it is defined"):
        lift(_edited(tmp_path, cut))


def test_an_op_set_of_the_future(tmp_path: Path) -> None:
    def age(function: Any) -> None:
        function.block_specializations["CoreML99"].CopyFrom(_body(function))
        function.opset = "CoreML99"

    with pytest.raises(UnsupportedError) as caught:
        lift(_edited(tmp_path, age))
    assert caught.value.code == "lift-opset-unknown"

    def lose(function: Any) -> None:
        function.opset = "CoreML5"

    with pytest.raises(InputError, match="no block for its op set"):
        lift(_edited(tmp_path, lose))


def test_a_function_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of main"):
        lift(_saved(tmp_path), function="other")


def test_an_image_input_is_noted(tmp_path: Path) -> None:
    import coremltools as ct

    program = program_of(lambda x: mb.relu(x=x), {"x": np.zeros((1, 3, 4, 4), np.float32)})
    model = ct.convert(
        program,
        convert_to="mlprogram",
        inputs=[ct.ImageType(name="x", shape=(1, 3, 4, 4))],
        minimum_deployment_target=ct.target.iOS15,
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )
    model.save(str(tmp_path / "m.mlpackage"))
    assert "an image (rgb)" in lift(tmp_path / "m.mlpackage").graph["lift_warnings"][0]


def test_unknown_sizes_stay_open() -> None:
    from coremltools.converters.mil.mil import get_new_symbol

    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    program = program_of(lambda x: mb.exp(x=x), {"x": x}, x=mb.placeholder(shape=(get_new_symbol(), 2)))
    graph = lift_program(program)
    assert graph.type_of("x") == TensorType(DType.FLOAT, (None, 2))
    np.testing.assert_allclose(next(iter(run_graph(graph, {"x": x}).values())), np.exp(x), rtol=1e-6)


# ---------------------------------------------------------------- completeness


def test_every_mil_op_is_lifted_or_listed() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    registered = set(SSAOpRegistry.core_ops)
    assert registered - set(table()) == set(NOT_LIFTED)
    assert set(table()) - registered == {"coreml_update_state", "write_state"}  # of the dialect, and as it is written


def test_an_op_is_lifted_by_one_function() -> None:
    with pytest.raises(UsageError) as caught:
        lifts("relu")(lambda l, op: None)
    assert caught.value.code == "lifting-duplicate"


def test_lift_knows_nothing_of_the_emitters() -> None:
    """A helper that both used would be wrong in both, and their agreement would prove nothing."""
    folder = Path(__file__).parents[3] / "lowering" / "lift"
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coregraft.lowering"):
                assert (node.module or "").startswith("coregraft.lowering.lift"), f"{file.name} imports {node.module}"
