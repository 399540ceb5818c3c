"""Packages on disk: what is in them, the same bytes every time, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.lowering import package, pipeline, targets
from coregraft.lowering.metadata import PREFIX, Metadata, describe
from coregraft.lowering.program import lower_graph
from coregraft.rewriter.errors import CoregraftError, UnsupportedError, UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import Const, DType, TensorType

WEIGHTS = np.arange(48, dtype=np.float32).reshape(3, 16)


def model(dtype: DType = DType.FLOAT) -> Graph:
    g = Graph()
    g.add_input("x", TensorType(dtype, (2, 16)))
    g.add_value("w", const=Const.of(WEIGHTS.astype(dtype.numpy)))
    g.add_value("y", TensorType(dtype, (2, 3)))
    g.add_op(Op("Linear", ("x", "w"), ("y",), domain="coregraft", name="fc"))
    g.set_outputs(["y"])
    g.set_opsets({"": 24, "coregraft": 1})
    return g


def lowered(g: Graph, target: str = "iOS17", format: str = "mlprogram") -> Any:
    goal = targets.get(target, format)
    program = lower_graph(g, goal).program
    pipeline.run(program, goal)
    return program


def write(program: Any, path: Path, format: str = "mlprogram", metadata: Metadata | None = None) -> None:
    package.write(program, path, targets.get("iOS17", format), metadata or Metadata())


def read_spec(path: Path) -> Any:
    import coremltools

    return coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()


def files(root: Path) -> dict[str, bytes]:
    if root.is_file():
        return {root.name: root.read_bytes()}
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("dtype", [DType.FLOAT, DType.FLOAT16])
def test_the_weights_in_the_package_are_the_models(tmp_path: Path, dtype: DType) -> None:
    from coremltools.libmilstoragepython import _BlobStorageReader as BlobReader

    path = tmp_path / "m.mlpackage"
    write(lowered(model(dtype)), path)
    spec = read_spec(path)
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    const = next(op for op in block.operations if op.type == "const" and op.outputs[0].name == "w")
    reader = BlobReader(str(path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"))
    offset = const.attributes["val"].blobFileValue.offset
    if dtype is DType.FLOAT:
        found = np.array(reader.read_float_data(offset), np.float32)
    else:
        found = np.array(reader.read_fp16_data(offset), np.uint16).view(np.float16)
    np.testing.assert_array_equal(found.reshape(3, 16), WEIGHTS)
    assert [f.name for f in spec.description.input] == ["x"]
    assert [op.type for op in block.operations if op.type != "const"] == ["linear"]


@pytest.mark.parametrize(("format", "suffix"), [("mlprogram", ".mlpackage"), ("neuralnetwork", ".mlmodel")])
def test_same_model_same_bytes(tmp_path: Path, format: str, suffix: str) -> None:
    program = lowered(model(), format=format)
    write(program, tmp_path / f"a{suffix}", format)
    write(program, tmp_path / f"b{suffix}", format)
    write(lowered(model(), format=format), tmp_path / f"c{suffix}", format)
    a, b, c = (list(files(tmp_path / f"{name}{suffix}").values()) for name in "abc")
    assert a == b == c
    kind = {"mlprogram": "mlProgram", "neuralnetwork": "neuralNetwork"}[format]
    assert read_spec(tmp_path / f"a{suffix}").WhichOneof("Type") == kind


def test_the_manifest_lists_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    write(lowered(model()), path)
    manifest = json.loads((path / "Manifest.json").read_text())
    entries = manifest["itemInfoEntries"]
    assert entries[manifest["rootModelIdentifier"]]["path"] == "com.apple.CoreML/model.mlmodel"
    assert all((path / "Data" / entry["path"]).exists() for entry in entries.values())
    assert len(entries) == 2


def test_identifiers_follow_the_content(tmp_path: Path) -> None:
    write(lowered(model()), tmp_path / "a.mlpackage")
    write(lowered(model()), tmp_path / "b.mlpackage", metadata=Metadata(author="someone"))
    a, b = (json.loads((tmp_path / f"{n}.mlpackage/Manifest.json").read_text())["rootModelIdentifier"] for n in "ab")
    assert a != b


def test_a_package_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    path.mkdir()
    (path / "stale").write_text("old")
    write(lowered(model()), path)
    assert not (path / "stale").exists()
    assert (path / "Manifest.json").exists()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    path = tmp_path / f"m{package.SUFFIXES[format]}"
    write(lowered(model(), format=format), path, format)
    before = files(path)

    def fail(spec: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "_serialized", fail)
    with pytest.raises(UsageError, match="No space left") as error:
        write(lowered(model(), format=format), path, format)
    assert error.value.code == "output-unwritable"
    assert files(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_swap_puts_the_old_package_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.mlpackage"
    write(lowered(model()), path)
    before = files(path)
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "I/O error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(UsageError, match="I/O error"):
        write(lowered(model()), path)
    assert files(path) == before


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        write(lowered(model()), tmp_path / "nowhere" / "m.mlpackage")
    assert error.value.code == "output-unwritable"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "name"), [("mlprogram", "m.mlmodel"), ("neuralnetwork", "m.mlpackage"), ("mlprogram", "m")]
)
def test_the_suffix_must_fit_the_format(tmp_path: Path, format: str, name: str) -> None:
    with pytest.raises(UsageError) as error:
        write(None, tmp_path / name, format)
    assert error.value.code == "output-suffix"


# ---------------------------------------------------------------- what must never be written


@pytest.fixture
def planted() -> Iterator[Any]:
    """A program with a custom layer, as coremltools would happily export it."""
    from coregraft.custom_layers.layers import CustomLayers

    g = Graph()
    g.add_input("x", TensorType(DType.FLOAT, (2, 16)))
    g.add_value("y", TensorType(DType.FLOAT, (2, 3)))
    g.add_op(Op("Fancy", ("x",), ("y",), domain="com.acme"))
    g.set_outputs(["y"])
    yield lower_graph(g, targets.get("iOS17"), CustomLayers().emit).program


def test_no_custom_layer_gets_into_an_ml_program(tmp_path: Path, planted: Any) -> None:
    with pytest.raises(UnsupportedError) as error:
        write(planted, tmp_path / "m.mlpackage")
    assert error.value.code == "custom-layer-in-program" and error.value.node == "y"
    assert list(tmp_path.iterdir()) == []


def test_a_custom_layer_in_a_nested_block_is_found_too() -> None:
    from coremltools import proto

    spec = proto.Model_pb2.Model()
    block = spec.mlProgram.functions["main"].block_specializations["CoreML7"]
    inner = block.operations.add(type="cond").blocks.add()
    package.refuse_custom_layers(spec)
    inner.operations.add(type="custom_layer")
    with pytest.raises(UnsupportedError):
        package.refuse_custom_layers(spec)


def test_rank_6_is_found_before_a_device_does() -> None:
    from coremltools.converters.mil.mil import Builder

    def main(x: Any) -> Any:
        return Builder.reshape(x=x, shape=[1, 1, 1, 1, 1, 2], name="six")

    program = Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 2))])(main)
    with pytest.raises(UnsupportedError) as error:
        pipeline.check(program, targets.get("iOS17"))
    assert error.value.code == "rank-unsupported" and error.value.node == "six"


def test_an_operand_that_must_be_constant() -> None:
    from coremltools.converters.mil.mil import Builder

    def main(x: Any) -> Any:
        return Builder.transpose(x=x, perm=[1, 0], name="t")

    program = Builder.program(input_specs=[Builder.TensorSpec(shape=(2, 3))])(main)
    op = program.functions["main"].find_ops(op_type="transpose")[0]
    op._input_vars["perm"] = program.functions["main"].inputs["x"]
    with pytest.raises(CoregraftError) as error:
        pipeline.check(program, targets.get("iOS17"))
    assert error.value.code == "mil-invalid"


# ---------------------------------------------------------------- coremltools' passes


@pytest.mark.parametrize("format", ["mlprogram", "neuralnetwork"])
@pytest.mark.parametrize("name", pipeline.PIPELINES)
def test_every_pass_of_a_pipeline_exists(name: str, format: str) -> None:
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    passes = pipeline.passes_for(name, format)
    assert passes and all(p in PASS_REGISTRY for p in passes)


def test_the_passes_that_change_results_exist_and_are_not_in_the_short_list() -> None:
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    assert all(name in PASS_REGISTRY for name in pipeline.EXCLUDED), "a misspelt name would guard nothing"
    for kind in ("mlprogram", "neuralnetwork"):
        assert not {*pipeline.EXCLUDED, "mil_backend::fuse_pow2_sqrt"} & set(pipeline.passes_for("short", kind))


def test_default_is_coremltools_own_list_without_precision() -> None:
    passes = pipeline.passes_for("default", "mlprogram")
    assert "common::fuse_conv_scale" in passes and "mil_backend::fuse_pow2_sqrt" in passes
    assert not any("cast" in name and name.startswith("common::add_") for name in passes)


def test_a_pass_of_coremltools_that_fails_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    class Fails:
        def __call__(self, program: Any) -> None:
            raise ValueError("y has dtype fp16")

    name, target = "common::const_elimination", targets.get("iOS17")
    monkeypatch.setitem(PASS_REGISTRY.passes, name, Fails)
    g = parse("input x: float[2]\ny: float[2] = Relu(x)\noutput y")
    with pytest.raises(UnsupportedError, match=f"{name} failed: y has dtype fp16") as caught:
        pipeline.run(lower_graph(g, target).program, target)
    assert caught.value.code == "lowering-failed"


def test_a_pass_that_a_later_coremltools_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    name, target = "common::const_elimination", targets.get("iOS17")
    monkeypatch.delitem(PASS_REGISTRY.passes, name)
    g = parse("input x: float[2]\ny: float[2] = Relu(x)\noutput y")
    with pytest.raises(CoregraftError, match=name) as caught:
        pipeline.run(lower_graph(g, target).program, target)
    assert caught.value.code == "coremltools-changed"


def test_an_unknown_pipeline() -> None:
    with pytest.raises(UsageError) as error:
        pipeline.passes_for("long", "mlprogram")
    assert error.value.code == "pipeline-unknown"


# ---------------------------------------------------------------- metadata


def test_the_models_own_words_and_ours(tmp_path: Path) -> None:
    g = model()
    g.graph["metadata"] = (("model_author", "A. Author"), ("model_license", "MIT"), ("stride", "32"))
    g.graph["doc_string"] = "what it is for"
    g.graph["model_version"] = 7
    goal = targets.get("iOS17")
    low = lower_graph(g, goal)
    pipeline.run(low.program, goal)
    path = tmp_path / "m.mlpackage"
    write(low.program, path, metadata=describe(g, low.inputs, low.outputs, {"target": "iOS17"}))
    meta = read_spec(path).description.metadata
    assert (meta.author, meta.license, meta.shortDescription, meta.versionString) == (
        "A. Author", "MIT", "what it is for", "7",
    )  # fmt: skip
    assert sorted(meta.userDefined) == [f"{PREFIX}io", f"{PREFIX}target", "stride"]
    io = json.loads(meta.userDefined[f"{PREFIX}io"])
    assert io["inputs"][0]["shape"] == [2, 16] and io["outputs"][0]["feature"] == "y"


def test_a_silent_model_says_nothing(tmp_path: Path) -> None:
    low = lower_graph(model(), targets.get("iOS17"))
    meta = describe(model(), low.inputs, low.outputs, {})
    assert replace(meta, user={}) == Metadata()
    assert list(meta.user) == [f"{PREFIX}io"]
