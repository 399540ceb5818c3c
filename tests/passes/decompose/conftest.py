"""One-op graphs, and the check that a rule leaves what onnxruntime computes from them as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coregraft.rewriter.contract import Context, Equivalence
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.onnx_io.save import to_model
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.passes import Rule
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array, Const, DType, TensorType

#: A target that takes nothing, so that rules for what a target lacks fire.
BARE = Target("iOS17", "mlprogram", ops={}, max_rank=5)


@dataclass
class Outcome:
    """A graph before and after a rule, and how often each op type is in it after."""

    before: Graph
    after: Graph
    fired: int
    declined: list[str]

    @property
    def types(self) -> list[str]:
        return [self.after.op(i).type for i in self.after.topological()]


class Harness:
    """Builds one-op graphs, rewrites them and compares both in onnxruntime."""

    target = BARE

    def graph(
        self,
        op_type: str,
        operands: Sequence[Any],
        *,
        outputs: int | Sequence[bool] = 1,
        domain: str = "",
        dims: dict[int, Sequence[Any]] | None = None,
        **attrs: Any,
    ) -> tuple[Graph, dict[str, Array]]:
        """A graph of one op, and feeds for it.

        Args:
            operands: an array is a graph input, a ``Const`` an initializer, None is omitted.
            outputs: how many, or which.
            dims: the declared shape of an input, where it is not the array's own.
        """
        g, feeds = Graph(), {}
        g.set_opsets({"": INTERNAL_OPSET, **({domain: 4 if domain == "ai.onnx.ml" else 1} if domain else {})})
        g.graph["ir_version"] = 10
        names = []
        for i, operand in enumerate(operands):
            if operand is None:
                names.append("")
            elif isinstance(operand, Const):
                names.append(g.add_value(f"c{i}", const=operand))
            else:
                shape = tuple((dims or {}).get(i, operand.shape))
                names.append(g.add_input(f"x{i}", TensorType(DType.of(operand.dtype), shape)))
                feeds[f"x{i}"] = operand
        wanted = [True] * outputs if isinstance(outputs, int) else list(outputs)
        results = tuple(f"y{i}" if w else "" for i, w in enumerate(wanted))
        clean = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
        op_id = g.add_op(Op(op_type, tuple(names), results, clean, domain, "node"))
        g.set_outputs([r for r in results if r])
        from coregraft.rewriter.shapes import infer_op_types

        for value, kind in zip(results, infer_op_types(g, op_id), strict=False):
            if value and kind is not None:
                g.nodes[value]["type"] = kind
        return g, feeds

    def rewrite(self, rule: Rule, g: Graph, target: Target | None = None) -> Outcome:
        after: Graph = g.copy()
        ctx = Context(target=target or self.target, checked=True, pass_name=rule.name)
        rule.run(after, ctx)
        again: Graph = after.copy()
        second = Context(target=target or self.target, checked=True, pass_name=rule.name)
        rule.run(again, second)
        assert not second.rewriter(again).changed, f"{rule.name} is not idempotent"
        return Outcome(g, after, ctx.counts["rewrites"], list(ctx.declined))

    def run(self, g: Graph, feeds: dict[str, Array]) -> list[Array]:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = ort.InferenceSession(to_model(g).SerializeToString(), options, providers=["CPUExecutionProvider"])
        fed = {i.name for i in session.get_inputs()}
        return list(session.run(None, {k: v for k, v in feeds.items() if k in fed}))

    def same(
        self,
        rule: Rule,
        g: Graph,
        feeds: dict[str, Array],
        *,
        rtol: float = 1e-5,
        atol: float = 1e-6,
        target: Target | None = None,
    ) -> Outcome:
        """The rule fires, and onnxruntime computes the same before and after, as exactly as the rule declares."""
        outcome = self.rewrite(rule, g, target)
        assert outcome.fired, f"{rule.name} did not fire: {outcome.declined}"
        want, got = self.run(outcome.before, feeds), self.run(outcome.after, feeds)
        for a, b in zip(want, got, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape, f"{a.dtype}{a.shape} became {b.dtype}{b.shape}"
            if rule.equivalence is Equivalence.BIT_EXACT:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(b, a, rtol=rtol, atol=atol)
        return outcome

    def converts(
        self,
        g: Graph,
        feeds: dict[str, Array],
        format: str = "mlprogram",
        *,
        want: Sequence[Array] | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-6,
        target: str = "iOS17",
    ) -> None:
        """Converted at fp32, saved and lifted, the graph computes what onnxruntime computes from it, or ``want``."""
        import coregraft
        from coregraft.lowering.lift import lift
        from coregraft.rewriter.execute import run

        done = coregraft.convert(g, target=target, precision="fp32", format=format, fallback="error")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ("model.mlpackage" if format == "mlprogram" else "model.mlmodel")
            done.save(path)
            lifted = lift(path)
            features = {f.feature: f for f in done.report.inputs if f.name in feeds}
            given = {k: feeds[f.name].astype(f.dtype.numpy).reshape(f.shape) for k, f in features.items()}
            found = run(lifted, given)
        wanted = dict(zip(g.outputs, self.run(g, feeds) if want is None else want, strict=True))
        for feature in done.report.outputs:
            right, value = wanted[feature.name], found[lifted.outputs[feature.feature]]
            assert value.shape in (right.shape, right.shape or (1,))
            if right.dtype.kind == "f":
                np.testing.assert_allclose(value.reshape(right.shape), right, rtol=rtol, atol=atol)
            else:
                np.testing.assert_array_equal(value.reshape(right.shape).astype(np.int64), right.astype(np.int64))

    def declines(self, rule: Rule, g: Graph, reason: str, target: Target | None = None) -> None:
        """The rule leaves the graph alone, for a reason with these words."""
        outcome = self.rewrite(rule, g, target)
        assert not outcome.fired
        assert any(reason in text for text in outcome.declined), outcome.declined


@pytest.fixture(scope="session")
def harness() -> Harness:
    return Harness()


@pytest.fixture(scope="session")
def rng() -> Callable[[int], np.random.Generator]:
    return np.random.default_rng
