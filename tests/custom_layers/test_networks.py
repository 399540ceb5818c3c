"""Models with ops that Core ML lacks, in different places, as neural networks: they convert, and compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.custom_layers.lifted import LiftedNetwork
from coregraft.custom_layers.own import disown_all, is_owned, name_of, own
from coregraft.custom_layers.registry import register_layer, temporarily
from coregraft.lowering.convert import convert
from coregraft.lowering.lift import lift
from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.onnx_io.text import parse
from coregraft.verification.gate import save_verified
from tests.custom_layers import island_models as models
from tests.custom_layers.swift_tree import problems

CASES = {case.name: case for case in models.CASES}
ACME = "com.acme"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with temporarily():
        yield


def custom_layers(path: Path) -> list[Any]:
    import coremltools

    layers: list[Any] = []
    todo = list(coremltools.models.MLModel(str(path), skip_model_load=True).get_spec().neuralNetwork.layers)
    while todo:
        layer = todo.pop(0)
        layers += [layer] if layer.WhichOneof("layer") == "custom" else []
        if layer.WhichOneof("layer") == "branch":
            todo += [*layer.branch.ifBranch.layers, *layer.branch.elseBranch.layers]
    return layers


@pytest.mark.parametrize("name", list(CASES))
def test_models_complete_and_agree(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    done = convert(case.model(), format="neuralnetwork", dims=case.dims)
    path = tmp_path / "net.mlmodel"
    written = done.save(path)
    assert {p.name for p in written} >= {"net.mlmodel", "Package.swift", f"ComAcme{case.unknown[0]}.swift"}
    assert all(problems(p.read_text()) == [] for p in written if p.suffix == ".swift")
    assert len(custom_layers(path)) == (2 if name == "twice" else 1)
    assert {entry["rung"] for entry in done.report.fallbacks} == {"custom-layer"}
    network = LiftedNetwork(path, models.REFERENCES)
    for seed in range(2):
        feeds = case.feeds(seed)
        found = network.run(feeds)
        for output, wanted in case.truth(feeds).items():
            np.testing.assert_allclose(found[output], wanted.astype(np.float32), rtol=1e-5, atol=1e-5)


def test_a_network_is_not_run_without_references(tmp_path: Path) -> None:
    path = tmp_path / "net.mlmodel"
    convert(CASES["first"].model(), format="neuralnetwork").save(path)
    with pytest.raises(UnsupportedError) as error:
        LiftedNetwork(path)
    assert error.value.code == "reference-missing"
    with pytest.raises(UnsupportedError) as error:
        lift(path)
    assert error.value.code == "lift-op-unsupported"


def test_a_registered_layer_types_a_model_without_value_info_and_runs(tmp_path: Path) -> None:
    register_layer(
        ACME, "Pool", inputs=("x", "w"), weights=("w",),
        parameters={"axes": "ints", "bias": {"type": float, "default": 0.5}},
        reduction={"reduce": "mean", "of": "x * w", "axes": "axes", "keepdims": True, "then": "r + bias"},
        swift_class="AcmePool",
    )  # fmt: skip
    g = parse(f"""opset 17
        opset {ACME} 1
        input x: float[2,3,4]
        const w: float[3,1] = [1.0, 2.0, 3.0]
        a = {ACME}.Pool(x, w, axes=[-1, 1]) @pool
        y = Add(x, a)
        output y
        """)
    path = tmp_path / "net.mlmodel"
    convert(g, format="neuralnetwork").save(path)
    (layer,) = custom_layers(path)
    assert layer.custom.className == "AcmePool"
    held = {k: getattr(v, v.WhichOneof("value")) for k, v in layer.custom.parameters.items()}
    assert (held["axes"], held["bias"], held["coregraft_output_shapes"]) == ("[-1,1]", 0.5, "[[2,1,1]]")
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    wanted = x + (x * np.array([[1.0], [2.0], [3.0]])).mean((1, 2), keepdims=True) + 0.5
    np.testing.assert_allclose(LiftedNetwork(path).run({"x": x})["y"], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("y = com.acme.Op(x, x, k=1)", "computed at run time"), ("y = com.acme.Op(x, w)", "lacks the attribute k"),
        ("y = com.acme.Op(x, w, k=1, z=2)", "has the attribute z"), ("y = com.acme.Op(x, k=1)", "lacks operand 1"),
        ("y = com.acme.Op(x, w, w, k=1)", "has 3 operands"),
    ],
)  # fmt: skip
def test_an_op_that_is_not_as_registered(body: str, why: str) -> None:
    register_layer(ACME, "Op", inputs=("x", "w"), weights=(1,), parameters={"k": int}, shape="same as x")
    body = body.replace("y =", "y: float[2] =")
    g = parse(f"opset 17\nopset {ACME} 1\ninput x: float[2]\nconst w: float[2] = [1.0, 2.0]\n{body}\noutput y\n")
    with pytest.raises(UnsupportedError, match=why) as error:
        convert(g, format="neuralnetwork")
    assert error.value.code == "custom-layer-mismatch"


def test_a_shape_that_nobody_knows_is_refused_by_name() -> None:
    g = parse(f"opset 17\nopset {ACME} 1\ninput x: float[2]\nhidden = {ACME}.Op(x)\ny = Relu(hidden)\noutput y\n")
    with pytest.raises(UnsupportedError, match='"hidden"'):
        convert(g, format="neuralnetwork")


def test_owned_ops_become_layers_whatever_passes_would_make_of_them(tmp_path: Path) -> None:
    g = parse("""opset 17
        input x: float[2,6]
        a = Softmax(x, axis=1) @soft
        b = Reshape(a, [3,4])
        c = HardSwish(b) @hard
        y = Relu(c)
        output y
        """)
    path = tmp_path / "net.mlmodel"
    done = convert(g, format="neuralnetwork", own=["HardSwish", "Softmax"])
    done.save(path)
    assert [layer.custom.className for layer in custom_layers(path)] == ["OnnxSoftmax", "OnnxHardSwish"]
    names = {name for _, name in ((e["op"], e["class"]) for e in done.report.fallbacks)}
    assert names == {"OnnxSoftmax", "OnnxHardSwish"}
    references = {
        ("", "Softmax"): lambda xs, _: [np.exp(xs[0]) / np.exp(xs[0]).sum(1, keepdims=True)],
        ("", "HardSwish"): lambda xs, _: [xs[0] * np.clip(xs[0] / 6 + 0.5, 0, 1)],
    }
    x = np.random.default_rng(1).standard_normal((2, 6)).astype(np.float32)
    soft = (np.exp(x) / np.exp(x).sum(1, keepdims=True)).reshape(3, 4)
    found = LiftedNetwork(path, references).run({"x": x})["y"]
    np.testing.assert_allclose(found, np.maximum(soft * np.clip(soft / 6 + 0.5, 0, 1), 0), rtol=1e-5)


def test_what_an_owned_op_makes_is_typed_by_the_content_of_its_operands() -> None:
    text = "opset 17\ninput x: float[2,6]\na = Reshape(x, [3,4])\nb = Softmax(a, axis=1)\ny = Relu(b)\noutput y\n"
    done = convert(parse(text), format="neuralnetwork", own=["Reshape"])
    assert done.report.fallbacks[0]["class"] == "OnnxReshape"
    assert [f.shape for f in done.report.outputs] == [(3, 4)]


def test_owning_reaches_into_bodies_and_is_taken_back_whole() -> None:
    text = """opset 24
        input x: float[2]
        input c: bool[]
        y: float[2] = If(c, then_branch={
          t = Softmax(x, axis=0)
          output t
        }, else_branch={
          e = Exp(x)
          output e
        })
        output y
        """
    g = parse(text)
    before = to_model(g).SerializeToString(deterministic=True)
    own(g, ["Softmax"])
    assert g.opsets == {"": 24, "coregraft.own/": 1}
    (owner,) = (op for _, op in g.ops())
    then = dict(owner.bodies())["then_branch"]
    assert [name_of(op) for _, op in then.ops()] == ["coregraft.own/.Softmax"] and not is_owned(owner)
    disown_all(g)
    assert to_model(g).SerializeToString(deterministic=True) == before


def test_owning_needs_an_op_and_a_format() -> None:
    g = parse("opset 17\ninput x: float[2]\ny = Relu(x)\noutput y\n")
    for options, code in (
        ({"format": "neuralnetwork", "own": ["Softmax"]}, "own-unknown"),
        ({"format": "mlprogram", "own": ["Relu"], "fallback": "error"}, "own-unavailable"),
        ({"format": "neuralnetwork", "own": ["Relu"], "fallback": "error"}, "own-unavailable"),
    ):
        with pytest.raises(UsageError) as error:
            convert(g, **options)  # type: ignore[arg-type]
        assert error.value.code == code


def test_a_conversion_with_layers_is_verified(tmp_path: Path) -> None:
    register_layer(ACME, "Swish", parameters={"a": float}, elementwise="x * sigmoid(a * x)")
    text = f"opset 17\nopset {ACME} 1\ninput x: float[n,3]\nb = {ACME}.Swish(x, a=2.0)\ny = Exp(b)\noutput y\n"
    g = parse(text)
    done = convert(g, format="neuralnetwork", dims={"n": 2})
    gate = save_verified(g, done, tmp_path / "net.mlmodel")
    assert gate.passed and gate.verification is not None and gate.verification.ok and gate.warnings == ()
    other = parse(text.replace("Exp", "Neg"))
    wrong = save_verified(other, done, tmp_path / "wrong.mlmodel")
    assert not wrong.passed and (tmp_path / "wrong.mlmodel.failed").exists()
    assert not (tmp_path / "wrong.mlmodel").exists() and not (tmp_path / "WrongCustomLayers").exists()


def test_a_conversion_with_layers_nobody_can_run_is_written_with_a_warning(tmp_path: Path) -> None:
    g = parse(f"opset 17\nopset {ACME} 1\ninput x: float[2]\ny: float[2] = {ACME}.Odd(x)\noutput y\n")
    gate = save_verified(g, convert(g, format="neuralnetwork"), tmp_path / "net.mlmodel")
    assert gate.passed and gate.verification is None and "reference" in gate.warnings[0]
    assert (tmp_path / "NetCustomLayers/Sources/NetCustomLayers/ComAcmeOdd.swift").exists()
