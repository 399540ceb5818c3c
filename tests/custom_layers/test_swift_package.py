"""The Swift package of custom layers: it parses, its formulas are translated whole, its vectors are the reference's."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.custom_layers.missing import missing_layers
from coregraft.custom_layers.registry import custom_layer, reference_for, register_layer, temporarily
from coregraft.custom_layers.swift_package import package, package_name
from coregraft.lowering.package import is_edited, place_text
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse
from tests.custom_layers.swift_tree import functions, problems

ACME = "com.acme"
SOURCES, TESTS = "NetCustomLayers/Sources/NetCustomLayers", "NetCustomLayers/Tests/NetCustomLayersTests"


@pytest.fixture(autouse=True, scope="module")
def _layers() -> Iterator[None]:
    with temporarily():
        register_layer(
            ACME, "Swish", parameters={"beta": {"type": float, "default": 1.0}}, elementwise="x * sigmoid(beta * x)"
        )
        register_layer(ACME, "Blend", inputs=("x", "var", "m?"), weights=("var",), gather="x[i0, 3 - i1] * var[i1]",
                       shape="same as x", swift_class="AcmeBlend")  # fmt: skip
        register_layer(ACME, "Norm", inputs=("x", "w"), parameters={"axes": "ints", "keep": "bool", "p": float},
                       reduction={"reduce": "sum", "of": "abs(x * w) ** p", "axes": "axes", "keepdims": "keep",
                                  "then": "where(r > 0, r ** (1 / p), 0)"})  # fmt: skip
        register_layer(ACME, "Shift", parameters={"by": int}, gather="x[i0 + by, i1]", outside=-1.0,
                       shape=["x.shape[0]", "x.shape[-1]"], dtypes="same as x")  # fmt: skip
        custom_layer(ACME, "Python", outputs=2, shape=lambda x: [x, (x[0], 1)])(
            lambda x: (np.flip(x, 1), x.sum(1, keepdims=True))
        )
        yield


@pytest.fixture(scope="module")
def graph() -> Graph:
    return parse(f"""opset 17
        opset {ACME} 1
        input x: float[2,4]
        const w: float[4] = [1.0, -2.0, 0.5, 3.0]
        a = {ACME}.Swish(x) @first
        b = {ACME}.Swish(a, beta=0.5) @second
        c = {ACME}.Blend(b, w) @blend
        d = {ACME}.Norm(c, w, axes=[1], keep=1, p=2.0) @norm
        e = Add(d, x)
        f = {ACME}.Shift(e, by=1) @shift
        g, h = {ACME}.Python(f) @python
        i: float[3,5] = {ACME}.Unknown(g, default=[1, 2], words=["a"], in=3) @unknown
        output i
        output h
        """)


@pytest.fixture(scope="module")
def files(graph: Graph) -> Mapping[str, str]:
    return package(missing_layers(graph), "net")


def test_every_file_is_there(files: Mapping[str, str]) -> None:
    classes = ["AcmeBlend", "ComAcmeNorm", "ComAcmePython", "ComAcmeShift", "ComAcmeSwish", "ComAcmeUnknown"]
    wanted = {f"NetCustomLayers/{name}" for name in ("Package.swift", "README.md")}
    wanted |= {f"{SOURCES}/{name}.swift" for name in ("CustomLayers", "Tensor", *classes)}
    wanted |= {f"{SOURCES}/{name}.metal" for name in classes} | {f"{TESTS}/{name}Tests.swift" for name in classes}
    wanted |= {f"{TESTS}/GoldenCase.swift"} | {f"{TESTS}/Golden/{name}.json" for name in classes}
    assert set(files) == wanted
    assert all(f'.process("{name}.metal")' in files["NetCustomLayers/Package.swift"] for name in classes)
    assert all(f"    {name}.self," in files[f"{SOURCES}/CustomLayers.swift"] for name in classes)


def test_every_swift_file_parses(files: Mapping[str, str]) -> None:
    for path, text in files.items():
        if path.endswith(".swift"):
            assert problems(text) == [], path
            assert max(map(len, text.splitlines())) <= 140, path
        assert "{{" not in text and "{%" not in text, path


def test_the_grammar_finds_what_is_wrong() -> None:
    assert problems("final class A { func f( { } }") != []
    assert problems("let x = = 2\n") != []


def test_every_class_has_the_methods_of_the_protocol(files: Mapping[str, str]) -> None:
    for path, text in files.items():
        if path.startswith(SOURCES) and "MLCustomLayer {" in text:
            assert {"setWeightData", "outputShapes", "evaluate", "encode"} <= functions(text), path
            assert f"@objc({Path(path).stem})\n" in text


def test_kernels_are_balanced_and_mind_their_tails(files: Mapping[str, str]) -> None:
    for path, text in files.items():
        if path.endswith(".metal"):
            assert all(text.count(a) == text.count(b) for a, b in ("{}", "()", "[]")), path
            assert "< uint4(channels)" in text and "select(float4(0.0f), value, lanes)" in text
    assert "const float4 value = (x" in files[f"{SOURCES}/ComAcmeSwish.metal"]
    assert "TODO" in files[f"{SOURCES}/ComAcmeNorm.metal"]


def test_what_formulas_say_is_not_left_to_do(files: Mapping[str, str]) -> None:
    left = {Path(p).stem: t.count("TODO") for p, t in files.items() if p.startswith(SOURCES) and p.endswith(".swift")}
    assert left == {
        "AcmeBlend": 0, "ComAcmeNorm": 0, "ComAcmeShift": 0, "ComAcmeSwish": 0, "CustomLayers": 0, "Tensor": 0,
        "ComAcmePython": 2, "ComAcmeUnknown": 2,  # the arithmetic, and shapes of other inputs
    }  # fmt: skip
    swish = files[f"{SOURCES}/ComAcmeSwish.swift"]
    assert "return try (x.element(at: position) * sigmoid((attributes.beta * x.element(at: position))))" in swish
    blend = files[f"{SOURCES}/AcmeBlend.swift"]
    assert "x.value(at: [position[0], (3 - position[1])]) * `var`.value(at: [position[1]])" in blend
    shift = files[f"{SOURCES}/ComAcmeShift.swift"]
    assert "x.value(at: [(position[0] + attributes.by), position[1]], outside: -1.0)" in shift
    assert "[x.dim(0), x.dim((-1))]," in shift
    norm = files[f"{SOURCES}/ComAcmeNorm.swift"]
    assert "reducedShape(broadcastShape([w, x]), axes: attributes.axes, keepDims: attributes.keep)" in norm
    unknown = files[f"{SOURCES}/ComAcmeUnknown.swift"]
    assert "let `default`: [Int]" in unknown and "let `in`: Int" in unknown and "let words: [String]" in unknown


def vectors(files: Mapping[str, str], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(files[f"{TESTS}/Golden/{name}.json"])
    return found


def array(entry: Mapping[str, Any]) -> Any:
    return np.frombuffer(base64.b64decode(entry["values"]), "<f4").reshape(entry["shape"])


@pytest.mark.parametrize("op", ["Swish", "Blend", "Norm", "Shift", "Python"])
def test_golden_vectors_are_the_reference(files: Mapping[str, str], op: str) -> None:
    name = "AcmeBlend" if op == "Blend" else f"ComAcme{op}"
    cases = vectors(files, name)
    assert len(cases) == (2 if op == "Swish" else 1)
    run = reference_for(ACME, op)
    assert run is not None
    for case in cases:
        held = {k: v for k, v in case["parameters"].items() if not k.startswith("coregraft_")}
        attributes = {k: json.loads(v["value"]) if v["kind"] == "string" else v["value"] for k, v in held.items()}
        results = run([array(entry) for entry in case["inputs"]], attributes)
        assert len(results) == len(case["outputs"])
        for result, entry in zip(results, case["outputs"], strict=True):
            np.testing.assert_array_equal(np.asarray(result, np.float32).reshape(entry["shape"]), array(entry))


def test_constants_are_in_the_vectors_as_they_are(files: Mapping[str, str]) -> None:
    np.testing.assert_array_equal(array(vectors(files, "AcmeBlend")[0]["inputs"][1]), [1.0, -2.0, 0.5, 3.0])


def test_an_op_without_a_reference_skips_its_vectors(files: Mapping[str, str]) -> None:
    assert vectors(files, "ComAcmeUnknown") == []
    assert "XCTSkip" in files[f"{TESTS}/ComAcmeUnknownTests.swift"]
    assert "XCTSkip" not in files[f"{TESTS}/ComAcmeSwishTests.swift"]
    readme = files["NetCustomLayers/README.md"]
    assert re.search(r"`ComAcmeUnknown` \| `com.acme.Unknown` \| 1 \| `evaluate`; `outputShapes`", readme)
    assert re.search(r"`ComAcmeSwish` \| `com.acme.Swish` \| 2 \| nothing \|", readme)


def test_ops_of_onnx_have_onnxruntime_for_a_reference() -> None:
    g = parse("opset 17\ninput x: float[2,3]\ny = Softmax(x, axis=1) @soft\noutput y\n")
    files = package(missing_layers(g, own=["Softmax"]), "net")
    (case,) = vectors(files, "OnnxSoftmax")
    x = array(case["inputs"][0]).astype(np.float64)
    wanted = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    np.testing.assert_allclose(array(case["outputs"][0]), wanted, rtol=1e-5)


def test_ops_in_bodies_are_found() -> None:
    g = parse(f"""opset 17
        opset {ACME} 1
        input c: bool[]
        input x: float[2,3]
        y: float[2,3] = If(c, then_branch={{
          t: float[2,3] = {ACME}.Inner(x)
          output t
        }}, else_branch={{
          e: float[2,3] = Identity(x)
          output e
        }})
        output y
        """)
    assert [use.class_name for use in missing_layers(g)] == ["ComAcmeInner"]


@pytest.mark.parametrize(("model", "name"), [("net", "Net"), ("my-net 2", "MyNet2"), ("3d", "Model3d"), ("é", "Model")])
def test_package_names(model: str, name: str) -> None:
    assert package_name(model) == f"{name}CustomLayers"


def test_the_same_model_gives_the_same_files(graph: Graph, files: Mapping[str, str]) -> None:
    assert package(missing_layers(graph), "net") == files


def test_edited_files_are_kept_and_others_replaced(tmp_path: Path, files: Mapping[str, str]) -> None:
    path = tmp_path / "a" / "ComAcmeSwish.swift"
    text = files[f"{SOURCES}/ComAcmeSwish.swift"]
    assert place_text(path, text) and not is_edited(path)
    assert place_text(path, files[f"{SOURCES}/ComAcmeNorm.swift"]), "as it was generated: replaced"
    path.write_text(path.read_text().replace("evaluate", "evaluate "))
    assert is_edited(path)
    assert not place_text(path, text)
    golden = tmp_path / "a" / "Golden.json"
    golden.write_text("[]")
    assert place_text(golden, "[1]\n") and golden.read_text() == "[1]\n"


@pytest.mark.skipif(shutil.which("swiftc") is None, reason="there is no Swift toolchain")
def test_the_sources_type_check(tmp_path: Path, files: Mapping[str, str]) -> None:
    sources = []
    for path, text in files.items():
        if path.startswith(SOURCES) and path.endswith(".swift"):
            source = tmp_path / Path(path).name
            # Off Apple's systems there is no Objective-C to find classes by.
            source.write_text(text if sys.platform == "darwin" else re.sub(r"^@objc\(.*\)$", "", text, flags=re.M))
            sources.append(str(source))
    module = tmp_path / "Module.swift"
    module.write_text("import Foundation\nextension Bundle { static var module: Bundle { .main } }\n")
    flags: list[str] = []
    if sys.platform != "darwin":
        flags = ["-I", str(tmp_path)]
        for name in ("Metal", "CoreML"):
            declared = Path(__file__).parent / "declarations" / f"{name}.swift"
            emit = ["swiftc", "-emit-module", "-module-name", name, "-o", str(tmp_path / f"{name}.swiftmodule"), *flags]
            subprocess.run([*emit, str(declared)], check=True, cwd=tmp_path)
    command = ["swiftc", "-typecheck", "-module-name", "NetCustomLayers", *flags, *sources, str(module)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
