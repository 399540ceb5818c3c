"""Constants computed in one session, and what happens when an op of it fails."""

from __future__ import annotations

import numpy as np
import pytest

from coregraft.passes.cleanup import evaluate as module
from coregraft.passes.cleanup.evaluate import evaluate
from coregraft.rewriter.graph import Op
from coregraft.rewriter.types import Const, DType


def const(*values: float, dtype: DType = DType.FLOAT) -> Const:
    return Const.of(np.array(values), dtype)


def count_sessions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    original = module.Session.__init__

    def counting(self: module.Session, ops: list[Op], *rest: object) -> None:
        made.append(len(ops))
        original(self, ops, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Session, "__init__", counting)
    return made


def test_independent_cones_share_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_sessions(monkeypatch)
    ops = [Op("Neg", ("a",), (f"n{i}",)) for i in range(50)] + [Op("Add", ("n0", "n1"), ("s",))]
    result = evaluate(ops, {"a": const(1, 2)}, ["s", "n49"])
    assert made == [51]
    assert not result.failures
    np.testing.assert_array_equal(result.values["s"].numpy(), [-2, -4])
    assert set(result.values) == {"s", "n49"}


def test_cones_are_shared_out_among_sessions_of_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_sessions(monkeypatch)
    monkeypatch.setattr(module, "_BATCH", 4)
    chains = [[Op("Neg", ("a",), (f"n{i}",)), Op("Abs", (f"n{i}",), (f"p{i}",))] for i in range(3)]
    ops = [op for pair in zip(*chains, strict=True) for op in pair]
    result = evaluate([*ops, Op("Exp", ("a",), ("e",))], {"a": const(1, 2)}, ["p0", "p1", "p2", "e"])
    assert made == [4, 3]
    assert not result.failures
    assert set(result.values) == {"p0", "p1", "p2", "e"}


def test_a_failing_op_costs_only_its_own_cone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_sessions(monkeypatch)
    ops = [Op("Neg", ("a",), (f"n{i}",)) for i in range(16)]
    bad = Op("Gather", ("a", "i"), ("bad",), name="bad")
    ops += [bad, Op("Neg", ("bad",), ("behind",))]
    leaves = {"a": const(1, 2), "i": const(7, dtype=DType.INT64)}
    result = evaluate(ops, leaves, [*(f"n{i}" for i in range(16)), "behind"])
    assert [op.name for op, _ in result.failures] == ["bad"]
    assert set(result.values) == {f"n{i}" for i in range(16)}
    assert len(made) < 16


def test_types_that_onnxruntime_does_not_hand_out_go_through_the_reference() -> None:
    ops = [Op("Cast", ("a",), ("b",), {"to": int(DType.BFLOAT16)}), Op("Cast", ("b",), ("c",), {"to": 1})]
    result = evaluate(ops, {"a": const(1.0, 1.001)}, ["b", "c"])
    assert not result.failures
    assert result.values["b"].dtype is DType.BFLOAT16
    np.testing.assert_array_equal(result.values["c"].numpy(), np.array([1.0, 1.0], np.float32))


def test_small_integer_operands() -> None:
    codes = Const(DType.INT4, (3,), b"\x21\x0f")
    result = evaluate([Op("Cast", ("q",), ("f",), {"to": 1})], {"q": codes}, ["f"])
    np.testing.assert_array_equal(result.values["f"].numpy(), np.array([1, 2, -1], np.float32))


def test_strings() -> None:
    names = Const.of(np.array(["b", "a"], object))
    result = evaluate([Op("StringConcat", ("s", "s"), ("t",))], {"s": names}, ["t"])
    assert list(result.values["t"].numpy()) == ["bb", "aa"]
