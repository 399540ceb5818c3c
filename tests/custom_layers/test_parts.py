"""The folder of a model in parts: what it says, what it holds, how it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import coregraft as cg
from coregraft.custom_layers import bundle, swift
from coregraft.custom_layers.bundle import Divided, cut
from coregraft.custom_layers.manifest import TOLERANCES
from coregraft.custom_layers.runner import PartsRunner
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.verification import compare
from tests.custom_layers import island_models as models

CASES = {case.name: case for case in models.CASES}


def divided(name: str, **options: Any) -> Divided:
    case = CASES[name]
    return cut(case.model(), dims=case.dims, references=models.REFERENCES, **{"precision": "fp32", **options})


def manifest(path: Path) -> Any:
    return json.loads((path / "manifest.json").read_text())


def outline(content: Any) -> list[str]:
    return [step["name"] if step["kind"] == "core-ml" else f"[{step['class']}]" for step in content["steps"]]


@pytest.mark.parametrize(
    ("name", "steps", "crossing"),
    [
        ("first", ["[ComAcmeSin]", "part0"], {"a": 64}),
        ("last", ["part0", "[ComAcmeSin]"], {"b": 64}),
        ("residual", ["part0", "[ComAcmeSin]", "part1"], {"a": 64, "b": 64, "c": 64}),
        ("twice", ["part0", "[ComAcmeSin]", "part1", "[ComAcmeSin]", "part2"], None),
        ("in_an_if", ["part0", "[OnnxIf_b]", "part1"], {"a": 64, "b": 64}),
        ("several_outputs", ["part0", "[ComAcmeSplit]", "part1"], {"a": 64, "p": 32, "q": 32}),
        ("integer_output", ["part0", "[ComAcmeArgMax]", "part1"], {"a": 64, "best": 8}),
        ("dynamic_batch", ["part0", "[ComAcmeSin]", "part1"], {"a": 96, "b": 96}),
        ("shared", ["part0", "[ComAcmeSin]", "part1"], {"a": 64, "b": 64}),
    ],
)
def test_order_and_what_is_handed_over(name: str, steps: list[str], crossing: dict[str, int] | None) -> None:
    done = divided(name)
    found = [s.name if hasattr(s, "lowered") else f"[{s.class_name}]" for s in done.steps]
    assert found == steps
    if crossing is not None:
        assert dict(done.cut.crossing) == crossing


def test_an_op_that_the_app_is_to_run_is_an_island_in_its_own_name(tmp_path: Path) -> None:
    case = CASES["residual"]
    done = cut(case.standard(), own=["Sin"], precision="fp32")
    assert [s.op.key for s in done.islands] == [("", "Sin")]
    (entry,) = done.report.fallbacks
    assert entry["op"].split()[0] == "Sin" and entry["class"] == "OnnxSin"
    assert entry["why"] == "the app was told to run it"
    (path,) = done.save(tmp_path / "m.parts")
    (island,) = (s for s in manifest(path)["steps"] if s["kind"] == "custom")
    assert island["domain"] == "ai.onnx" and island["golden"]["from"] == "model"
    assert "coregraft.own" not in {o.domain for o in onnx.load(path / island["file"]).opset_import}
    feeds = case.feeds()
    np.testing.assert_allclose(PartsRunner(path).run(feeds)["y"], case.truth(feeds)["y"], rtol=1e-5)


def test_no_cut_at_what_nothing_reads() -> None:
    case = models.Case("dead", "g (float[2,8] x) => (float[2,8] y) { a = Relu(x) b = Exp(a) y = Sin(a) }")
    with pytest.raises(UsageError) as error:
        cut(case.standard(), at=["b"])
    assert error.value.code == "cut-value"


def test_a_cut_at_what_a_cast_of_the_model_makes(tmp_path: Path) -> None:
    text = "g (float[2,8] x) => (float[2,8] y) { i = Cast <to=6> (x) f = Cast <to=1> (i) y = Add(f, x) }"
    case = models.Case("cast", text)
    for precision in ("fp32", "fp16"):
        done = cut(case.standard(), at=["i"], precision=precision)
        assert dict(done.cut.crossing) == {"i": 64}
        (path,) = done.save(tmp_path / f"{precision}.parts")
        feeds = case.feeds()
        np.testing.assert_allclose(PartsRunner(path).run(feeds)["y"], case.truth(feeds)["y"], rtol=2e-3)


RESIDUAL_OF_HALF = """g (float[2,8] x, float[8,8] w) => (float[2,8] y) {
    a = MatMul(x, w) b = Relu(a) c = Sin(b) d = Add(c, b) y = MatMul(d, w) }"""


@pytest.mark.parametrize(("target", "bytes_"), [("iOS15", 128), ("iOS17", 128)])
def test_a_value_does_not_cross_in_two_precisions(target: str, bytes_: int, tmp_path: Path) -> None:
    case = models.Case("half", RESIDUAL_OF_HALF)
    done = cut(case.model(), precision="fp16", target=target)
    assert done.cut.bytes == bytes_  # 64 to the island, 64 from it; the fp16 form of what it reads is made again
    (path,) = done.save(tmp_path / "m.parts")
    feeds = case.feeds()
    found = PartsRunner(path, models.REFERENCES).run(feeds)["y"]
    np.testing.assert_allclose(found, case.truth(feeds)["y"], rtol=2e-2, atol=2e-2)


def test_golden_vectors_allow_what_verify_allows() -> None:
    assert {name: t.relative_l2 for name, t in compare.TOLERANCES.items()} == TOLERANCES


def test_the_manifest_says_types_shapes_and_files(tmp_path: Path) -> None:
    (path,) = divided("integer_output").save(tmp_path / "m.parts")
    content = manifest(path)
    assert content["schema_version"] == 1 and content["precision"] == "fp32"
    island = next(s for s in content["steps"] if s["kind"] == "custom")
    assert (island["domain"], island["op_type"], island["group"]) == ("com.acme", "ArgMax", 0)
    assert island["attributes"] == {"axis": {"type": "int", "value": 1}, "keepdims": {"type": "int", "value": 0}}
    best = {"value": "best", "dtype": "int32", "shape": [2], "onnx_dtype": "int64", "onnx_shape": [2]}
    assert island["outputs"] == [best]
    assert island["cost"] == {"reads_bytes": 64, "writes_bytes": 8}
    assert [o["name"] for o in content["outputs"]] == ["y", "best"]
    files = {s["file"] for s in content["steps"]} | {s["golden"]["binary"] for s in content["steps"]}
    assert all((path / file).exists() for file in files)


def test_weights_of_an_island_are_files(tmp_path: Path) -> None:
    done = divided("with_weights")
    (path,) = done.save(tmp_path / "m.parts")
    island = next(s for s in manifest(path)["steps"] if s["kind"] == "custom")
    weights = island["inputs"][1]
    const = done.islands[0].graph.const(done.islands[0].op.inputs[1])
    assert const is not None
    assert (path / weights["constant"]).read_bytes() == const.numpy().tobytes()
    model = onnx.load(path / island["file"])
    assert [i.name for i in model.graph.input] == ["a"]
    assert [n.op_type for n in model.graph.node] == ["PRelu"]


def test_golden_vectors_are_what_the_model_computes(tmp_path: Path) -> None:
    case = CASES["twice"]
    (path,) = divided("twice").save(tmp_path / "m.parts")
    content = manifest(path)
    values: dict[str, Any] = {}
    for step in content["steps"]:
        golden = step["golden"]
        assert golden["from"] == "model"
        arrays = np.load(path / golden["npz"])
        raw = (path / golden["binary"]).read_bytes()
        for side in ("input", "output"):
            for n, entry in enumerate(golden[f"{side}s"]):
                array = arrays[f"{side}_{n}"]
                assert list(array.shape) == entry["shape"] and array.dtype.name == entry["dtype"]
                start = entry["offset"]
                flat = np.frombuffer(raw[start : start + array.nbytes], entry["dtype"])
                np.testing.assert_array_equal(flat.reshape(entry["shape"]), array)
                np.testing.assert_array_equal(array, values.setdefault(entry["value"], array))
    truth = case.truth({"x": values["x"]})
    np.testing.assert_allclose(values["y"], truth["y"], rtol=1e-5, atol=1e-6)
    runner = PartsRunner(path, models.REFERENCES)
    for value, array in runner.values({"x": values["x"]}).items():
        np.testing.assert_allclose(array, values[value], rtol=1e-5, atol=1e-6)


def test_without_a_reference_the_steps_behind_get_drawn_vectors(tmp_path: Path) -> None:
    done = cut(CASES["residual"].model(), precision="fp32")
    (path,) = done.save(tmp_path / "m.parts")
    golden = {s["name"]: s["golden"] for s in manifest(path)["steps"]}
    assert golden["part0"]["from"] == "model" and golden["part1"]["from"] == "drawn"
    assert [v for k, v in golden.items() if k.startswith("my_Sin")] == [None]
    assert "no golden vectors" in (path / "README.md").read_text()


def test_the_report_says_the_rung_and_its_cost() -> None:
    report = divided("in_an_if").report
    (entry,) = report.fallbacks
    assert entry["rung"] == "cut" and entry["class"] == "OnnxIf_b"
    assert "it holds com.acme.Sin" in entry["why"]
    assert entry["costs"] == "64 bytes out of Core ML and 64 back in per run"
    assert any("2 part(s)" in w for w in report.warnings) and any("OnnxIf_b" in w for w in report.warnings)


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_the_folder_is_the_same_every_time(tmp_path: Path) -> None:
    (first,), (second,) = (divided("twice").save(tmp_path / f"{name}.parts") for name in "ab")
    assert tree(first) == tree(second)


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = divided("residual")
    (path,) = done.save(tmp_path / "m.parts")
    before = tree(path)

    def fail(*_: object, **__: object) -> None:
        raise UnsupportedError("lowering-failed", "on purpose")

    monkeypatch.setattr(bundle, "write_json", fail)
    with pytest.raises(UnsupportedError):
        done.save(path)
    assert tree(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.parts"]


def test_a_class_that_was_filled_in_is_kept(tmp_path: Path) -> None:
    done = divided("residual")
    (path,) = done.save(tmp_path / "m.parts")
    mine = path / swift.ISLANDS / "ComAcmeSin.swift"
    assert "throw PartsError.notImplemented" in mine.read_text()
    mine.write_text("// mine")
    done.save(path)
    assert mine.read_text() == "// mine"


@pytest.mark.parametrize("target", ["iOS15", "iOS17", "iOS18"])
@pytest.mark.parametrize("name", ["in_an_if", "several_outputs", "with_weights", "integer_output", "no island"])
def test_the_swift_package_parses(name: str, target: str, tmp_path: Path) -> None:
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_swift")
    done = cut(chain(), at=["d"]) if name == "no island" else divided(name, target=target)
    (path,) = done.save(tmp_path / "m.parts")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    sources = sorted((path / "Swift").rglob("*.swift"))
    assert len(sources) == 5 + len(done.islands)
    for source in sources:
        assert not parser.parse(source.read_bytes()).root_node.has_error, source.name
    tests = (path / "Swift/Tests/ModelPartsTests/ModelPartsTests.swift").read_text()
    for n, step in enumerate(s for s in manifest(path)["steps"] if s["golden"]):
        assert f"func test{n}_{step['name']}()" in tests
    for island in done.islands:
        assert f'"{island.class_name}": {island.class_name}.self' in (path / f"{swift.ISLANDS}.swift").with_name(
            "IslandClasses.swift"
        ).read_text()


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    done = divided("residual")
    with pytest.raises(UsageError) as suffix:
        done.save(tmp_path / "m.onnx")
    assert suffix.value.code == "output-suffix"
    with pytest.raises(UsageError) as whole:
        _ = done.model
    assert whole.value.code == "model-in-parts"
    for options, code in (({"at": ["aa"]}, "cut-value"), ({"at": ["x"]}, "cut-value"), ({"max_bytes": 0}, "cut-size")):
        with pytest.raises(UsageError) as error:
            divided("residual", **options)
        assert error.value.code == code


def test_a_result_of_unknown_shape_is_refused_by_name() -> None:
    model = CASES["residual"].model()
    del model.graph.value_info[:]
    with pytest.raises(UnsupportedError) as error:
        cg.convert(model, precision="fp32")
    assert error.value.code in ("type-unknown", "shape-unknown") and error.value.node


def chain() -> onnx.ModelProto:
    text = """g (float[2,8] x, float[8,8] w1, float[8,2] w2, float[2,8] w3, float[8,8] w4) => (float[2,8] y) {
        a = MatMul(x, w1) b = Relu(a) c = MatMul(b, w2) d = Tanh(c) e = MatMul(d, w3) f = Relu(e) y = MatMul(f, w4) }"""
    return models.Case("chain", text).standard()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("options", "parts"), [({"at": ["d"]}, 2), ({"at": ["b", "f"]}, 3), ({"max_bytes": 350}, 2), ({}, 1)]
)
def test_chunks_without_an_unknown_op(precision: str, options: Any, parts: int, tmp_path: Path) -> None:
    if precision == "fp16" and "max_bytes" in options:
        options = {"max_bytes": options["max_bytes"] // 2}
    done = cut(chain(), precision=precision, **options)
    assert len(done.parts) == parts and not done.islands
    if options.get("at") == ["d"]:
        assert list(done.cut.crossing) == ["d"]
        assert done.cut.bytes == (16 if precision == "fp32" else 8)  # two by two, half as wide in half precision
    if "max_bytes" in options:
        assert done.cut.bytes == (16 if precision == "fp32" else 8)
    (path,) = done.save(tmp_path / "m.parts")
    x = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float32)
    case = models.Case("chain", "")
    object.__setattr__(case, "standard", chain)
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    found = PartsRunner(path, fp16="exact").run({"x": x})["y"]
    np.testing.assert_allclose(found, case.truth({"x": x})["y"], rtol=tolerance, atol=tolerance)


def test_an_emitter_that_refuses_makes_an_island_too(tmp_path: Path) -> None:
    text = """g (float[1,1,4,4] x) => (float[1,1,6,6] y) {
        sizes = Constant<value = int64[4] {1, 1, 6, 6}>()
        a = Relu(x) b = Resize<mode = "cubic", cubic_coeff_a = -0.5>(a, , , sizes) y = Tanh(b) }"""
    case = models.Case("cubic", text, ())
    done = cg.convert(case.standard(), precision="fp32", passes="upgrade-opset,cleanup", fallback="cut")
    assert isinstance(done, Divided)
    assert [i.op.type for i in done.islands] == ["Resize"]
    (path,) = done.save(tmp_path / "m.parts")
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 1, 4, 4)).astype(np.float32)}
    # A standard op needs no reference: onnxruntime runs it.
    np.testing.assert_allclose(PartsRunner(path).run(feeds)["y"], case.truth(feeds)["y"], rtol=1e-5, atol=1e-5)


def test_a_model_without_unknown_ops_is_not_cut() -> None:
    done = cg.convert(CASES["residual"].standard(), precision="fp32", fallback="cut")
    assert not isinstance(done, Divided) and done.report.mil_ops
