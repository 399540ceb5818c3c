"""The sweep tells what is wrong with a model, and the page says the same for the same outcome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import examine, run, sweep, workloads
from benchmarks.models import Model
from coregraft.rewriter.errors import CoregraftError, UnsupportedError

_FINE: dict[str, dict[str, object]] = {
    "exact": {"opset": 17, "ops": 5},
    "rewrite": {"ops": 3, "error": 1e-7, "digests": ["a", "b"]},
    "prepare": {"ops": 3, "error": 0.0},
    "fp32": {"ops": 4, "digests": ["c"], "parity": {"ok": True, "manifest": 2e-7}},
    "fp16": {"ops": 6, "digests": ["d"], "parity": {"ok": True, "manifest": 4e-4}},
}


def _row(**stages: dict[str, object]) -> sweep.Row:
    model = Model("tiny", "m.onnx", "", 0, 17, "test", "", 0, 1.0, (), ())
    return sweep.Row(model, "trained", Path("m.onnx"), {**_FINE, **stages})


def test_a_model_without_trouble() -> None:
    assert _row().failures == []
    text = sweep.page([_row()])
    assert "| tiny | 17 | 5 → 3 | 1e-07 | 0 | 4, 2e-07 | 6, 0.0004 |" in text
    assert "1 compute what the model does, 1 in fp16" in text and "does not hold" not in text
    assert "What does not work" not in text


def test_failures_are_named_in_the_table_and_explained_below() -> None:
    why = {"code": "op-unsupported", "reason": "Foo has\nno lowering"}
    row = _row(fp32=dict(why), fp16=dict(why), rewrite={"ops": 3, "error": 0.5, "digests": []})
    text = sweep.page([row, _row()])
    assert "| `op-unsupported` | `op-unsupported` |" in text
    assert "fp32, fp16: `op-unsupported`, Foo has no lowering" in text
    assert "rewrite: `outputs-differ`, an output moves by 0.5 of its largest value" in text
    assert "1 rewritten" in text and "1 converted in fp32" in text and "2 round trips" in text


def _off(first: list[str] | None, source: float | None, weights: float | None) -> dict[str, object]:
    why = ["manifest inputs, y: relative L2 0.3 is more than 0.02"]
    parity = {"ok": False, "manifest": 0.3, "first": first, "why": why, "source": source, "weights": weights}
    return {"ops": 6, "digests": ["d"], "parity": parity}


@pytest.mark.parametrize(
    ("first", "source", "weights", "words"),
    [
        (['Exp "e"', "3 element(s) are finite in one and not in the other"], 0.5, 0.5, 'Exp "e": values beyond 65504'),
        (['Exp "e"', "relative L2 0.3"], 0.19, 0.5, "outputs move by 0.19 when its inputs are rounded"),
        (['Exp "e"', "relative L2 0.3"], 1e-3, 0.2, "rounding only the weights to half precision makes 0.2 of it"),
        (None, None, None, "the output: rounding adds up"),
    ],
)
def test_half_precision_out_of_tolerance_is_listed_with_the_reason(
    first: list[str] | None, source: float | None, weights: float | None, words: str
) -> None:
    row = _row(fp16=_off(first, source, weights))
    assert row.failures == []
    text = sweep.page([row])
    assert "6, 0.3 |" in text and "0 in fp16. " in text
    assert words in text[text.index("What half precision does not hold") :]


def test_single_precision_out_of_tolerance_is_a_failure() -> None:
    row = _row(fp32=_off(None, None, None))
    assert [(stage, code) for stage, code, _ in row.failures] == [("fp32", "outputs-differ")]


def test_other_bytes_under_another_hash_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    row = _row()
    other = {stage: {**facts, "digests": ["x"]} if stage == "fp16" else facts for stage, facts in _FINE.items()}
    monkeypatch.setattr(sweep, "examine", lambda *_: other)
    sweep.check_seeds(row, 1)
    assert [(stage, code) for stage, code, _ in row.failures] == [("fp16", "nondeterministic")]


def test_a_child_that_dies_costs_its_stage_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "__init__.py").touch()
    body = """
import json, os, sys
for stage in sys.argv[3:]:
    if stage == "prepare":
        os._exit(9)
    print(json.dumps({"stage": stage, "ops": 1}), flush=True)
"""
    (package / "examine.py").write_text(body)
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    found = sweep.examine(_row(), ("exact", "prepare", "fp32"), 60, "0")
    assert found["exact"] == found["fp32"] == {"ops": 1}
    assert found["prepare"]["code"] == "died"


def test_an_error_is_its_code_and_a_bug_is_a_crash() -> None:
    def refuses() -> examine.Facts:
        raise UnsupportedError("op-unsupported", "no Foo", node="Foo")

    def breaks() -> examine.Facts:
        raise KeyError("foo")

    assert examine.attempt(refuses) == {"code": "op-unsupported", "reason": "no Foo (at Foo)"}
    assert examine.attempt(breaks) == {"code": "crash", "reason": "KeyError in breaks: 'foo'"}


def test_differences_are_relative_and_everything_else_is_an_error() -> None:
    a = np.array([2.0, -4.0, np.inf], np.float32)
    assert examine.difference("y", a, a + np.array([0.0, 1.0, 0.0], np.float32)) == 0.25
    assert examine.difference("y", [{"a": 1}], [{"a": 1}]) == 0.0
    for found in (a[:2], a.astype(np.float64), np.array([2.0, np.nan, np.inf], np.float32)):
        with pytest.raises(CoregraftError):
            examine.difference("y", a, found)


def test_workloads_are_the_same_every_time() -> None:
    model = workloads.deep(100)
    assert model.SerializeToString() == workloads.deep(100).SerializeToString()
    assert len(model.graph.node) >= 100


def test_an_unknown_workload_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Dnone"):
        workloads.write("Dnone", tmp_path)


def test_tools_take_turns_and_a_failing_one_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def measure(task: str, tool: str, path: Path, timeout: float) -> dict[str, object]:
        asked.append(tool)
        if tool == "onnxscript":
            raise run.MeasurementError("no such rule")
        return {"cpu": float(len(asked)), "peak": None, "nodes": 10, "matches": 2}

    monkeypatch.setattr(run, "measure", measure)
    cells = run.take_turns("fold", "D10", tmp_path, 3, 1)
    assert asked == ["coregraft", "onnxscript", "coregraft", "coregraft"]
    text = run.table("fold", "D10", cells)
    assert "| coregraft | 3 | 1–4 | 1.00 | ? | 300000.00 µs a node, 1500000 µs a match |" in text
    assert "no such rule" in text


def test_a_measurement_is_one_line_of_json(tmp_path: Path) -> None:
    path = workloads.write("D100", tmp_path)
    figures = run.measure("load", "coregraft", path, 120)
    assert figures["nodes"] >= 100 and figures["cpu"] > 0
