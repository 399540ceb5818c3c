"""Models with an unsupported op in different places: the parts together compute what onnxruntime computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import coregraft as cg
from coregraft.custom_layers.bundle import Divided, cut
from coregraft.custom_layers.evaluate import Interpreter
from coregraft.custom_layers.manifest_file import MANIFEST
from coregraft.custom_layers.registry import register_layer, temporarily
from coregraft.custom_layers.runner import PartsRunner
from coregraft.rewriter.errors import InputError, UnsupportedError, UsageError
from coregraft.verification.parts import verify_parts
from tests.custom_layers import island_models as models

CASES = {case.name: case for case in models.CASES}


def save(case: Any, folder: Path, **options: Any) -> Path:
    done = cut(case.model(), dims=case.dims, references=models.REFERENCES, **{"precision": "fp32", **options})
    (path,) = done.save(folder / "m.parts")
    return path


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(CASES["residual"], tmp_path_factory.mktemp("residual"))


@pytest.mark.parametrize("name", CASES)
def test_the_whole_agrees_with_onnxruntime(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    done = cg.convert(case.model(), precision="fp32", dims=case.dims)
    assert isinstance(done, Divided)
    (path,) = done.save(tmp_path / "m.mlpackage")
    assert path.name == "m.parts"
    runner = PartsRunner(path, models.REFERENCES)
    for seed in range(3):
        feeds = case.feeds(seed)
        wanted, found = case.truth(feeds), runner.run(feeds)
        assert list(found) == list(wanted)
        for output in wanted:
            assert found[output].dtype == wanted[output].dtype
            np.testing.assert_allclose(found[output], wanted[output], rtol=1e-5, atol=1e-5)
    assert verify_parts(case.model(), path, draws=1, references=models.REFERENCES).ok


@pytest.mark.parametrize("name", ["residual", "shared", "integer_output"])
@pytest.mark.parametrize("target", ["iOS15", "iOS17"])
def test_half_precision_crosses_as_the_target_takes_it(name: str, target: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = save(case, tmp_path, precision="fp16", target=target)
    steps = json.loads((path / MANIFEST).read_text())["steps"]
    dtypes = {e["dtype"] for s in steps for e in (*s["inputs"], *s["outputs"]) if e}
    assert "float16" not in dtypes or target == "iOS17"
    if name == "residual":  # what goes past the island stays in half precision where the target lets it
        assert ("float16" in dtypes) == (target == "iOS17")
    feeds = case.feeds()
    for output, wanted in case.truth(feeds).items():
        found = PartsRunner(path, models.REFERENCES, fp16="exact").run(feeds)[output]
        np.testing.assert_allclose(found, wanted, rtol=2e-2, atol=2e-2)


def test_an_island_that_computes_something_else_is_noticed(residual: Path) -> None:
    wrong = {**models.REFERENCES, (models.DOMAIN, "Sin"): lambda xs, _: [np.cos(xs[0])]}
    feeds = CASES["residual"].feeds()
    right = CASES["residual"].truth(feeds)["y"]
    assert not np.allclose(PartsRunner(residual, wrong).run(feeds)["y"], right, atol=1e-2)


def test_a_part_that_computes_something_else_is_noticed(residual: Path, tmp_path: Path) -> None:
    other = save(CASES["shared"], tmp_path)
    broken = tmp_path / "broken.parts"
    shutil.copytree(residual, broken)
    manifest = json.loads((broken / MANIFEST).read_text())
    last = manifest["steps"][-1]
    last["inputs"][0], last["inputs"][1] = (
        {**last["inputs"][0], "feature": last["inputs"][1]["feature"]},
        {**last["inputs"][1], "feature": last["inputs"][0]["feature"]},
    )
    manifest["outputs"][0]["value"] = manifest["steps"][1]["outputs"][0]["value"]
    (broken / MANIFEST).write_text(json.dumps(manifest))
    model = CASES["residual"].model()
    assert verify_parts(model, residual, draws=1, references=models.REFERENCES).ok
    assert not verify_parts(model, broken, draws=1, references=models.REFERENCES).ok
    with pytest.raises(UsageError) as error:
        verify_parts(model, other, draws=1, references=models.REFERENCES)
    assert error.value.code == "package-mismatch"


def test_a_reference_that_is_missing_or_wrong(residual: Path) -> None:
    feeds = CASES["residual"].feeds()
    with pytest.raises(UnsupportedError) as missing:
        PartsRunner(residual).run(feeds)
    assert missing.value.code == "reference-missing"
    for bad in (lambda xs, _: [xs[0][:1]], lambda xs, _: [xs[0], xs[0]], lambda xs, _: [xs[0] > 0]):
        with pytest.raises(UsageError) as error:
            PartsRunner(residual, {(models.DOMAIN, "Sin"): bad}).run(feeds)
        assert error.value.code == "reference-result"


def test_inputs_are_checked(residual: Path) -> None:
    runner = PartsRunner(residual, models.REFERENCES)
    for feeds in ({}, {"x": np.zeros((8, 2), np.float32)}):
        with pytest.raises(UsageError) as error:
            runner.run(feeds)
        assert error.value.code == "inputs-mismatch"


def test_an_integer_that_cannot_cross(tmp_path: Path) -> None:
    path = save(CASES["integer_output"], tmp_path)
    far = {**models.REFERENCES, (models.DOMAIN, "ArgMax"): lambda xs, _: [np.full(2, 1 << 40)]}
    with pytest.raises(UnsupportedError) as error:
        PartsRunner(path, far).run(CASES["integer_output"].feeds())
    assert error.value.code == "int64-overflow"


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k != key}


def spoilt(step: dict[str, Any], side: str, key: str) -> dict[str, Any]:
    """A step whose first value on a side lacks something."""
    return {**step, side: [without(step[side][0], key), *step[side][1:]]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: "no json",
        lambda m: json.dumps([]),
        lambda m: json.dumps({**m, "schema_version": 99}),
        lambda m: json.dumps({**m, "steps": 3}),
        lambda m: json.dumps({**m, "steps": [{"kind": "magic", "file": "x"}]}),
        lambda m: json.dumps({**m, "steps": [{**m["steps"][0], "file": "../outside.mlpackage"}]}),
        lambda m: json.dumps({**m, "steps": [{**m["steps"][0], "file": "missing.mlpackage"}]}),
        lambda m: "[" * 100_000,
        lambda m: json.dumps({**m, "steps": ["x"]}),
        lambda m: json.dumps({**m, "steps": [{"kind": "core-ml", "file": "part0.mlpackage"}]}),
        lambda m: json.dumps({**m, "steps": m["steps"][1:]}),
        lambda m: json.dumps({**m, "steps": m["steps"][:1]}),
        lambda m: json.dumps({**m, "inputs": [{}]}),
        lambda m: json.dumps({**m, "inputs": [None]}),
        lambda m: json.dumps({**m, "outputs": [without(m["outputs"][0], "name")]}),
        lambda m: json.dumps({**m, "outputs": [{**m["outputs"][0], "shape": [True]}]}),
        lambda m: json.dumps({**m, "outputs": [{**m["outputs"][0], "shape": [2, -8]}]}),
        lambda m: json.dumps({**m, "outputs": [{**m["outputs"][0], "onnx_shape": [3, 8]}]}),
        lambda m: json.dumps({**m, "outputs": [{**m["outputs"][0], "dtype": "complex64"}]}),
        lambda m: json.dumps({**m, "outputs": [{**m["outputs"][0], "onnx_dtype": "thing"}]}),
        lambda m: json.dumps({**m, "steps": [spoilt(m["steps"][0], "inputs", "feature"), *m["steps"][1:]]}),
        lambda m: json.dumps({**m, "steps": [spoilt(m["steps"][0], "outputs", "feature"), *m["steps"][1:]]}),
        lambda m: json.dumps({**m, "steps": [m["steps"][0], spoilt(m["steps"][1], "outputs", "value"), m["steps"][2]]}),
        lambda m: json.dumps({**m, "steps": [m["steps"][0], without(m["steps"][1], "captures"), m["steps"][2]]}),
        lambda m: json.dumps(m).replace(f'"feature": "{m["steps"][0]["outputs"][0]["feature"]}"', '"feature": "no"'),
    ],
)
def test_a_broken_manifest_is_one_clear_error(spoil: Any, residual: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m.parts"
    shutil.copytree(residual, folder)
    (tmp_path / "outside.mlpackage").mkdir()
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(spoil(manifest))
    with pytest.raises(InputError) as error:
        PartsRunner(folder)
    assert error.value.code == "parts-broken"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        PartsRunner(tmp_path / "no.parts")
    assert error.value.code == "package-not-found"


def test_a_registered_layer_needs_no_value_info_and_no_references(tmp_path: Path) -> None:
    case = CASES["residual"]
    model = case.model()
    del model.graph.value_info[:]
    with temporarily():
        register_layer(models.DOMAIN, "Sin", elementwise="sin(x)", swift_class="MySine")
        done = cg.convert(model, precision="fp32")
        assert isinstance(done, Divided) and [i.class_name for i in done.islands] == ["MySine"]
        (path,) = done.save(tmp_path / "m.parts")
        steps = json.loads((path / MANIFEST).read_text())["steps"]
        assert all(step["golden"]["from"] == "model" for step in steps)
        assert verify_parts(model, path, draws=2).ok


LOOP = """<ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>
g (float[2] x, int64 n) => (float[2] y, float[K,2] rows) {
    go = Constant<value = bool {1}>()
    y, rows = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool c2, float[2] t, float[2] row) {
        c2 = Identity(c) u = com.acme.Sin(s) t = Add(u, x) row = Neg(t) }>
}"""


def test_loops_around_an_unknown_op_are_interpreted() -> None:
    import onnx

    from coregraft.rewriter.onnx_io.load import from_model

    g = from_model(onnx.parser.parse_model(LOOP))
    x = np.array([0.5, -1.0], np.float32)
    found = Interpreter(models.REFERENCES).run(g, {"x": x, "n": np.array(3)})
    state, rows = x, []
    for _ in range(3):
        state = np.sin(state) + x
        rows.append(-state)
    np.testing.assert_allclose(found["y"], state, rtol=1e-6)
    np.testing.assert_allclose(found["rows"], rows, rtol=1e-6)
