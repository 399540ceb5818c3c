"""Verifying packages: names, kinds of inputs and outputs, precision, drift, and the plot of it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import coregraft
from coregraft.lowering.lift import lift
from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse
from coregraft.verification.compare import Tolerance
from coregraft.verification.drift import match_values
from coregraft.verification.features import match_features
from coregraft.verification.plot import svg
from coregraft.verification.result import Verification
from coregraft.verification.verify import verify

CHAIN = "input x: float[2,6]\na = Tanh(x) @one\nb = Exp(a) @two\nc = Sigmoid(b) @three\noutput c\n"


def package(folder: Path, text: str, precision: str = "fp32", target: str = "iOS17") -> tuple[Graph, Path]:
    graph = parse(text)
    path = folder / "model.mlpackage"
    coregraft.convert(graph, precision=precision, target=target).save(path)  # type: ignore[arg-type]
    return graph, path


def typed(text: str) -> Graph:
    """A graph with types, as a lifted one has them."""
    return PassManager("upgrade-opset,infer-shapes").run(parse(text)).graph


def verified(folder: Path, text: str, precision: str = "fp32") -> Verification:
    return verify(*package(folder, text, precision))


@pytest.mark.parametrize(("precision", "at_least"), [("fp32", 0.0), ("fp16", 1e-6)])
def test_parity_and_precision(tmp_path: Path, precision: str, at_least: float) -> None:
    done = verified(tmp_path, CHAIN, precision)
    assert done.ok
    assert done.precision == precision
    (output,) = done.outputs
    assert output.name == "c"
    assert output.relative_l2 is not None and at_least <= output.relative_l2 <= done.tolerance.relative_l2


def test_a_list_of_maps_is_compared_as_the_tensor_it_is_made_from(tmp_path: Path) -> None:
    text = (
        "opset ai.onnx.ml 3\ninput x: float[2,3]\np = Softmax(x, axis=1)\n"
        "y = ai.onnx.ml.ZipMap(p, classlabels_int64s=[4, 7, 9])\noutput y\n"
    )
    done = verified(tmp_path, text)
    assert done.ok
    (output,) = done.outputs
    assert (output.name, output.relative_l2 is not None) == ("y", True)


def test_labels_that_are_strings(tmp_path: Path) -> None:
    text = (
        "opset ai.onnx.ml 3\ninput x: float[3,2]\n"
        'label: string[3], p: float[3,2] = ai.onnx.ml.LinearClassifier(x, coefficients=[1.0, 2.0, -1.0, 0.5], '
        'intercepts=[0.25, 0.5], classlabels_strings=["dog", "cat"])\noutput label\noutput p\n'
    )
    graph, path = package(tmp_path, text)
    assert verify(graph, path).ok
    other = parse(text.replace('"dog", "cat"', '"cat", "dog"'))
    wrong = verify(other, path)
    assert [(c.name, c.ok) for c in wrong.outputs] == [("label", False), ("p", True)]


def test_labels_that_are_no_list_are_a_broken_package() -> None:
    ours = parse("input x: float[2]\ny = Neg(x)\noutput y\n")
    theirs = ours.copy()
    for text in ("no json", '{"a": 1}'):
        theirs.graph["metadata"] = (("com.coregraft.labels.y", text),)
        with pytest.raises(CoregraftError, match="package-broken"):
            match_features(ours, theirs)


def test_a_package_of_the_same_names_and_other_sizes(tmp_path: Path) -> None:
    _, path = package(tmp_path, "input x: float[2,6]\ny = Exp(x)\noutput y\n")
    with pytest.raises(CoregraftError, match="package-mismatch") as caught:
        verify(parse("input x: float[3,6]\ny = Exp(x)\noutput y\n"), path)
    assert caught.value.node == "x"


def test_inputs_and_outputs_without_dims(tmp_path: Path) -> None:
    text = "input s: float[]\ninput x: float[n]\ny = Mul(s, s)\nz = Add(x, y)\noutput y\noutput z\n"
    graph, path = parse(text), tmp_path / "model.mlpackage"
    coregraft.convert(graph, precision="fp32", dims={"n": 3}).save(path)
    assert verify(graph, path).ok


def test_names_that_core_ml_cannot_spell(tmp_path: Path) -> None:
    text = (
        'input "x:0": float[2,3]\ninput "x/0": float[2,3]\ninput x_0_1: float[2,3]\n'
        'd = Sub("x:0", "x/0")\n"y:0" = Sub(d, x_0_1)\n"y/0" = Neg("y:0")\noutput "y:0"\noutput "y/0"\n'
    )
    graph, path = package(tmp_path, text)
    features = match_features(graph, lift(path))
    assert features.inputs == {"x:0": "x_0", "x/0": "x_0_1", "x_0_1": "x_0_1_1"}
    assert verify(graph, path).ok


def test_spellings_that_collide_are_not_compared_as_layers() -> None:
    ours = parse('input x: float[2]\n"a:0": float[2] = Exp(x)\n"a/0": float[2] = Neg("a:0")\nb: float[2] = Abs("a/0")\n'
                 "a_0_1: float[2] = Sin(b)\noutput a_0_1\n")  # fmt: skip
    theirs = parse("input x: float[2]\na_0: float[2] = Exp(x)\na_0_1: float[2] = Neg(a_0)\nb: float[2] = Abs(a_0_1)\n"
                   "a_0_1_1: float[2] = Sin(b)\noutput a_0_1_1\n")  # fmt: skip
    assert match_values(ours, theirs) == [("b", "b")]


def test_outputs_that_were_renamed_are_matched_by_place() -> None:
    ours = parse("input a: float[2]\ninput b: float[2]\ny = Sub(a, b)\nz = Neg(y)\noutput y\noutput z\n")
    theirs = parse("input p: float[2]\ninput q: float[2]\nr = Sub(p, q)\nz = Neg(r)\noutput r\noutput z\n")
    features = match_features(ours, theirs)
    assert features.inputs == {"a": "p", "b": "q"}
    assert features.outputs == {"y": "r", "z": "z"}
    assert verify(ours, theirs).ok


@pytest.mark.parametrize(
    "theirs",
    [
        "input x: float[2]\ninput more: float[2]\ny = Sub(x, more)\noutput y\n",
        "input x: float[2]\nz = Neg(x)\nw = Abs(x)\noutput z\noutput w\n",
    ],
)
def test_a_package_of_another_model(theirs: str) -> None:
    with pytest.raises(CoregraftError) as caught:
        verify(parse("input x: float[2]\ny = Neg(x)\noutput y\n"), parse(theirs))
    assert caught.value.code == "package-mismatch"


@pytest.mark.parametrize(
    "text",
    [
        "input x: float[2,3]\ninput s: float[]\ny = Mul(x, s)\nz = ReduceSum(y, keepdims=0)\noutput y\noutput z\n",
        "input ids: int64[2,3]\nconst t: float[7,4] = normal(seed=1)\ny = Gather(t, ids)\noutput y\n",
        "input x: float[2,3]\ninput unused: float[4]\ny = Neg(x)\noutput y\n",
        "input x: float[2,3]\ny = Exp(x)\noutput y\noutput again = y\n",
        "input x: float[2,3]\ny = Exp(x)\noutput y\noutput same = x\n",
        "input x: float[2,5]\ny = ArgMax(x, axis=1)\nm = Greater(x, 0.0)\noutput y\noutput m\n",
        "input x: float[N,5]\ny = Relu(x)\noutput y\n",
        'input x: float[2,3]\ninput "mask": bool[2,3]\ny = Where("mask", x, 0.0)\noutput y\n',
    ],
    ids=["rank-0", "int64", "unused-input", "output-twice", "input-is-output", "integers-out", "symbolic", "bool"],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_kinds_of_inputs_and_outputs(tmp_path: Path, text: str, precision: str) -> None:
    graph, path = parse(text), tmp_path / "model.mlpackage"
    coregraft.convert(graph, precision=precision, dims={"N": 3} if "[N" in text else {}).save(path)  # type: ignore[arg-type]
    done = verify(graph, path)
    assert done.ok, done.outputs
    assert len(done.outputs) == len(graph.outputs)


def test_given_inputs_take_the_place_of_draws(tmp_path: Path) -> None:
    graph, path = package(tmp_path, CHAIN)
    done = verify(graph, path, inputs={"x": np.full((2, 6), 0.5)})
    assert done.ok and done.inputs == {"x": "given"}
    with pytest.raises(CoregraftError) as caught:
        verify(graph, path, inputs={"x": np.zeros((2, 5))})
    assert caught.value.code == "inputs-mismatch"


def test_the_tolerance_can_be_given(tmp_path: Path) -> None:
    graph, path = package(tmp_path, CHAIN, "fp16")
    done = verify(graph, path, tolerance=Tolerance(1e-9))
    assert not done.ok and "more than 1e-09" in done.outputs[0].why


def test_the_worst_draw_counts() -> None:
    ours = parse("input x: float[1]\ny = Identity(x)\noutput y\n")
    theirs = parse("input x: float[1]\ny = Clip(x, -0.5, 0.5)\noutput y\n")
    verdicts = [verify(ours, theirs, draws=1, seed=seed).ok for seed in range(4)]
    assert True in verdicts and False in verdicts
    assert not verify(ours, theirs, draws=4).ok


def test_a_source_that_does_not_run() -> None:
    ours = parse("opset com.example 1\ninput x: float[2]\ny: float[2] = com.example.Wobble(x)\noutput y\n")
    with pytest.raises(CoregraftError) as caught:
        verify(ours, parse("input x: float[2]\ny = Neg(x)\noutput y\n"))
    assert caught.value.code == "source-unrunnable"


def test_no_package(tmp_path: Path) -> None:
    with pytest.raises(CoregraftError) as caught:
        verify(parse(CHAIN), tmp_path / "no.mlpackage")
    assert caught.value.code == "package-not-found"


def test_drift_names_the_first_layer_and_goes_on() -> None:
    theirs = CHAIN.replace("Exp(a) @two", "Sinh(a) @two")
    done = verify(parse(CHAIN), typed(theirs))
    assert done.drift is not None
    assert [x.value for x in done.drift.layers] == ["a", "b", "c"]
    assert [x.comparison.ok for x in done.drift.layers] == [True, False, False]
    assert done.drift.first is not None and done.drift.first.op == 'Exp "two"'
    assert (done.drift.first.growth or 0) > 1e4


def test_drift_of_values_whose_size_depends_on_the_data() -> None:
    """With names for such sizes on one side only; a size that is known is the same on both."""
    head = "input x: float[6]\nm = Greater(x, {})\nc: float[{}] = Compress(x, m, axis=0)\n"
    ours = typed(head.format("0.0", "n") + "y = Exp(c)\nz = Concat(x, [1.0], axis=0)\noutput y\noutput z\n")
    theirs = typed(head.format("0.0", "?") + "y = Tanh(c)\nz = Concat(x, [1.0, 1.0], axis=0)\noutput y\noutput z\n")
    assert match_values(ours, theirs) == [("m", "m"), ("c", "c"), ("y", "y")]
    done = verify(ours, theirs)
    assert done.drift is not None and [(x.value, x.comparison.ok) for x in done.drift.layers][1:] == [
        ("c", True), ("y", False)
    ]  # fmt: skip


def test_a_value_moved_to_another_layout_is_no_drift() -> None:
    ours = parse("input x: float[3,3]\na = Exp(x)\nb = Transpose(a, perm=[1, 0])\nc = Neg(b)\nd = Abs(c)\noutput d\n")
    theirs = typed("input x: float[3,3]\na = Exp(x)\nc = Neg(a)\ne = Transpose(c, perm=[1, 0])\nd = Abs(e)\noutput d\n")
    done = verify(ours, theirs)
    assert done.ok and done.drift is not None
    assert [(x.value, x.isolated) for x in done.drift.layers if not x.comparison.ok] == [("c", True)]
    assert done.drift.first is None
    assert done.drift.unmatched == 1


def test_overflow_in_half_precision_is_seen_where_it_happens(tmp_path: Path) -> None:
    text = (
        "input x: float[2,6]\na = Mul(x, 2.0) @small\nb = Sub(13.0, a) @large\nc = Exp(b) @beyond\n"
        "d = Mul(c, 1e-06) @back\noutput d\n"
    )
    done = verified(tmp_path, text, "fp16")
    assert not done.ok and done.drift is not None and done.drift.first is not None
    assert done.drift.first.op == 'Exp "beyond"'
    assert "finite" in done.drift.first.comparison.why


def test_layers_in_chunks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import coregraft.verification.drift as module

    ours, theirs = parse(CHAIN), typed(CHAIN)
    whole = verify(ours, theirs).drift
    monkeypatch.setattr(module, "CHUNK", 1)
    assert whole is not None and len(whole.layers) == 3
    assert verify(ours, theirs).drift == whole


def test_the_report_is_json(tmp_path: Path) -> None:
    report = json.loads(json.dumps(verified(tmp_path, CHAIN, "fp16").as_dict()))
    assert report["ok"] is True and report["precision"] == "fp16"
    assert {"name", "relative_l2", "max_abs", "snr_db", "cosine"} <= set(report["outputs"][0])
    assert report["drift"]["first"] is None and len(report["drift"]["layers"]) == 3


def test_the_plot_has_a_dot_a_layer() -> None:
    found = verify(parse(CHAIN), typed(CHAIN.replace("Exp(a) @two", "Sinh(a) @two"))).drift
    assert found is not None
    text = svg(found, Tolerance(1e-4))
    root = ElementTree.fromstring(text)
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3
    heights = [float(c.attrib["cy"]) for c in circles]
    assert heights[1] < heights[0], "a larger error is further up"
    assert circles[0].attrib["fill"] != circles[1].attrib["fill"]
    title = circles[1].find("{http://www.w3.org/2000/svg}title")
    assert title is not None and title.text is not None and 'Exp "two": b' in title.text


def test_a_variance_as_a_difference_of_means_holds_in_half_precision(tmp_path: Path) -> None:
    """As TensorFlow's converter writes it, with the attribute that says what an empty list of axes would mean."""
    text = (
        "input x: float[4,64]\ns = Add(x, 30.0)\nm = ReduceSum(s, [1], noop_with_empty_axes=1)\nu = Mul(m, 0.015625)\n"
        "q = Mul(s, s)\nt = ReduceSum(q, [1], noop_with_empty_axes=1)\nv = Mul(t, 0.015625)\nw = Mul(u, u)\n"
        "d = Sub(v, w)\ne = Sqrt(d)\noutput e\n"
    )
    assert verified(tmp_path, text, "fp16").ok


def test_layers_of_a_package_that_coremltools_has_cast(tmp_path: Path) -> None:
    """Its own pass for half precision renames every value."""
    import coremltools as ct

    graph, path = parse(CHAIN), tmp_path / "cast.mlpackage"
    program = coregraft.convert(graph, precision="fp32").program
    ct.convert(program, compute_precision=ct.precision.FLOAT16, minimum_deployment_target=ct.target.iOS17,
               skip_model_load=True).save(str(path))  # fmt: skip
    done = verify(graph, path)
    assert done.ok and done.precision == "fp16"
    assert done.drift is not None and [x.value for x in done.drift.layers] == ["a", "b", "c"]


def test_a_neural_network(tmp_path: Path) -> None:
    """Its features are float arrays, whatever the model has."""
    graph = parse(
        "input x: float[1,3,8,8]\ninput ids: int64[2]\nconst w: float[4,3,3,3] = normal(seed=1)\n"
        "const t: float[5,4] = normal(seed=2)\na = Conv(x, w) @conv\nb = ReduceMean(a, [2, 3], keepdims=0)\n"
        "e = Gather(t, ids)\nc = Add(b, e)\nm = ArgMax(c, axis=1)\noutput c\noutput m\n"
    )
    path = tmp_path / "model.mlmodel"
    coregraft.convert(graph, format="neuralnetwork").save(path)
    done = verify(graph, path)
    assert done.ok, done.outputs
    assert done.precision == "fp32" and done.drift is not None and len(done.drift.layers) >= 3
