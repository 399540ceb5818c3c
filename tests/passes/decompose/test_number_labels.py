"""Labels that are strings, numbered; the numbers against onnxruntime's strings."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from coregraft.passes.decompose.number_labels import NumberLabels
from coregraft.rewriter.contract import Context
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.onnx_io.text import parse
from coregraft.rewriter.types import DType, TensorType
from tests.passes.decompose.conftest import BARE

LINEAR = (
    'label: string[4], p: float[4,3] = ai.onnx.ml.LinearClassifier(x, coefficients=[1.0, 2.0, -1.0, 0.5, 0.25, -2.0], '
    'intercepts=[0.25, 0.5, -0.1], classlabels_strings=["pear", "fig", "apple"])\n'
)
TABLE = (
    "best: int64[4] = ArgMax(x, axis=1, keepdims=0)\n"
    "picked: string[1,4] = ai.onnx.ml.ArrayFeatureExtractor(words, best)\n"
    "label: string[4] = Reshape(picked, shape)\n"
    "const shape: int64[1] = [4]\n"
)


def graph(body: str, outputs: str = "output label\n") -> Graph:
    return parse(f"opset ai.onnx.ml 3\ninput x: float[4,2]\n{body}{outputs}")


def numbered(g: Graph) -> tuple[Graph, Context]:
    after, ctx = g.copy(), Context(target=BARE)
    NumberLabels().run(after, ctx)
    return after, ctx


@pytest.mark.parametrize(
    ("body", "labels"),
    [
        (LINEAR, ["pear", "fig", "apple"]),
        (TABLE + 'const words: string[2] = ["no", "yes"]\n', ["no", "yes"]),
        (TABLE + 'const words: string[1,2] = ["yes", "no"]\n', ["yes", "no"]),
        (TABLE + 'const words: string[3] = ["b", "a", "b"]\n', ["a", "b"]),
    ],
)
def test_a_number_stands_for_the_string(harness: Any, body: str, labels: list[str]) -> None:
    g = graph(body)
    after, ctx = numbered(g)
    assert after.tensor_type(after.outputs["label"]) == TensorType(DType.INT64, (4,))
    assert ctx.notes == [f"the output label is a number of a label, from 0: {', '.join(labels)}"]
    assert dict(after.graph["metadata"]) == {"com.coregraft.labels.label": json.dumps(labels)}
    feeds = {"x": np.random.default_rng(3).standard_normal((4, 2)).astype(np.float32)}
    words, numbers = harness.run(g, feeds)[0], harness.run(after, feeds)[0]
    assert [labels[i] for i in numbers] == words.tolist()
    _, second = numbered(after)
    assert not second.counts


def test_the_package_and_the_report_tell_the_labels() -> None:
    import coregraft

    done = coregraft.convert(graph(LINEAR), precision="fp32")
    assert done.metadata.user["com.coregraft.labels.label"] == '["pear", "fig", "apple"]'
    assert done.report.warnings == ("the output label is a number of a label, from 0: pear, fig, apple",)


def test_an_unread_label_is_numbered_without_a_word() -> None:
    after, ctx = numbered(graph(LINEAR, "output p\n"))
    (op,) = (op for _, op in after.ops())
    assert op.attrs["classlabels_ints"] == (0, 1, 2) and "classlabels_strings" not in op.attrs
    assert not ctx.notes and "metadata" not in after.graph


def test_what_the_model_says_of_itself_stays() -> None:
    g = graph(LINEAR)
    g.graph["metadata"] = (("author", "somebody"),)
    after, _ = numbered(g)
    assert dict(after.graph["metadata"])["author"] == "somebody"


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (LINEAR + 'y = ai.onnx.ml.LabelEncoder(label, keys_strings=["fig"], values_floats=[1.0])\n', "output y\n"),
        (LINEAR + 'const fig: string[1] = ["fig"]\ny: bool[4] = Equal(label, fig)\n', "output y\n"),
    ],
)
def test_strings_that_are_read_stay(body: str, outputs: str) -> None:
    g = graph(body, outputs)
    after, ctx = numbered(g)
    assert not ctx.counts and not ctx.notes
    assert any("classlabels_strings" in op.attrs for _, op in after.ops())


def test_nothing_is_done_for_onnx() -> None:
    g = graph(LINEAR)
    ctx = Context()
    NumberLabels().run(g, ctx)
    assert not ctx.counts
