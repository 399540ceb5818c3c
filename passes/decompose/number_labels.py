"""Labels that are strings, numbered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coregraft.passes.decompose._classes import listed
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import LOSSY, Context, Equivalence, Pass, Rewriter
from coregraft.rewriter.types import Array, Const, DType, TensorType

#: Classifiers, and where each has its labels when they are integers.
_CLASSIFIERS = {
    ("ai.onnx.ml", "LinearClassifier"): "classlabels_ints",
    ("ai.onnx.ml", "SVMClassifier"): "classlabels_ints",
    ("ai.onnx.ml", "TreeEnsembleClassifier"): "classlabels_int64s",
}
#: Ops that hand elements of their first operand on, whatever these are.
_MOVES = {
    *(("", kind) for kind in ("Flatten", "Gather", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")),
    ("ai.onnx.ml", "ArrayFeatureExtractor"),
}
#: What a key of coregraft's own in the metadata of a package starts with, when it holds the labels of an output.
LABELS_KEY = "com.coregraft.labels."


@dataclass(frozen=True)
class NumberLabels(Pass):
    """Return the number of a class in the place of its name.

    What it does
    ------------
    A classifier whose labels are strings gets its labels numbered from 0, in their order; so does a table of strings
    that an output is looked up in, in sorted order when a string is in it twice. Only where the strings reach nothing
    but outputs, by ops that move them. The report notes the labels of each such output, and the package's metadata
    hold them as a JSON list under ``com.coregraft.labels.`` and the name of the output. Does nothing where the target
    is no Core ML.

    Why it matters
    --------------
    Core ML's networks return tensors of numbers, and classifiers in scikit-learn mostly have names for their classes.

    Example
    -------
    ``label, p = ai.onnx.ml.LinearClassifier <classlabels_strings = ["cat", "dog"], …> (x)`` becomes ``label, p =
    ai.onnx.ml.LinearClassifier <classlabels_ints = [0, 1], …> (x)``.

    Equivalence
    -----------
    Lossy: an output of strings becomes one of int64; the strings are in the report and in the metadata.

    Sources
    -------
    H4.26; ONNX ai.onnx.ml LinearClassifier-1, SVMClassifier-1, TreeEnsembleClassifier-3, ArrayFeatureExtractor-1.
    """

    code: ClassVar[str] = "CG426"
    equivalence: ClassVar[Equivalence] = LOSSY

    def run(self, g: Graph, ctx: Context) -> None:
        if ctx.target.ops is None:
            return
        rw = ctx.rewriter(g)
        for source, labels in _sources(g):
            moved = _moved(g, source)
            if moved is None:
                continue
            _number(rw, source, labels)
            for value in moved:
                kind = g.tensor_type(value)
                rw.set_type(value, None if kind is None else TensorType(DType.INT64, kind.shape))
                for public in g.public_names(value):
                    ctx.note(f"the output {public} is a number of a label, from 0: {listed(labels)}")
                    rw.set_fact("metadata", _told(g, public, labels))
            ctx.count("numbered")


def _sources(g: Graph) -> Iterator[tuple[int | str, list[str]]]:
    """Where strings come from, a classifier by id or a table by name, with the strings in order of their numbers."""
    for op_id in list(g.topological()):
        op = g.op(op_id)
        if op.key in _CLASSIFIERS and op.attrs.get("classlabels_strings"):
            yield op_id, [_text(label) for label in op.attrs["classlabels_strings"]]
    for value in list(g.values()):
        const = g.const(value)
        if const is not None and const.dtype is DType.STRING and value not in g.inputs:
            yield value, _vocabulary(const.numpy())


def _vocabulary(table: Array) -> list[str]:
    words = [_text(word) for word in table.ravel()]
    return words if len(set(words)) == len(words) else sorted(set(words))


def _text(word: str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def _moved(g: Graph, source: int | str) -> list[str] | None:
    """The values that hold the strings of a source, the first one included; None when more than moves reads them."""
    todo = [source if isinstance(source, str) else g.op(source).outputs[0]]
    found = []
    while todo:
        value = todo.pop()
        if not value:
            continue
        found.append(value)
        for user in g.users(value):
            op = g.op(user)
            if op.key not in _MOVES or value in op.inputs[1:]:
                return None
            todo.extend(op.outputs)
    return found


def _number(rw: Rewriter, source: int | str, labels: list[str]) -> None:
    """Put numbers in the place of a source's strings."""
    g = rw.graph
    if isinstance(source, int):
        op = g.op(source)
        rw.at((source,), NumberLabels.__name__)
        rw.update(
            source, attrs={**op.attrs, "classlabels_strings": None, _CLASSIFIERS[op.key]: tuple(range(len(labels)))}
        )
        return
    const = g.const(source)
    assert const is not None
    numbers = {label: i for i, label in enumerate(labels)}
    words = const.numpy()
    table = np.array([numbers[_text(word)] for word in words.ravel()], np.int64).reshape(words.shape)
    rw.set_const(source, Const.of(table))


def _told(g: Graph, public: str, labels: list[str]) -> tuple[tuple[str, str], ...]:
    """The model's metadata with the labels of an output."""
    return (*g.graph.get("metadata", ()), (LABELS_KEY + public, json.dumps(labels, ensure_ascii=False)))
