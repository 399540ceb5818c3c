"""The pass manager: requirements, checked mode, rollback, reproducers, statistics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from coregraft.rewriter.errors import PassError, UsageError
from coregraft.rewriter.facts import violated
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.passes import Context, Equivalence, Fact, Pass, Rule
from coregraft.rewriter.registry import Plugin, temporarily
from coregraft.rewriter.types import Const

TEXT = "input x: float[2,3]\nconst w: float[3,4] = normal(seed=1)\nm = MatMul(x, w) @m\ny = Relu(m) @y\noutput y\n"


@dataclass(frozen=True)
class WrongFactor(Rule):
    """A miscompilation: Relu times 1.001, declared bit-exact."""

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Relu(x)

    def replacement(self, op: Any, m: Any) -> Any:
        return op.Max(op.Mul(m.x, 1.001), 0.0)


@dataclass(frozen=True)
class RightFactor(WrongFactor):
    """The same, but honest."""

    equivalence: ClassVar[Equivalence] = Equivalence.APPROXIMATE
    bound: ClassVar[float] = 0.01


@dataclass(frozen=True)
class Crash(Pass):
    """Changes the graph, then fails."""

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        rw.update(min(i for i, _ in g.ops()), type="Abs", inputs=["x"])
        raise ZeroDivisionError("oops")


@dataclass(frozen=True)
class Dangling(Pass):
    """Leaves an op with an operand that nobody defines."""

    def run(self, g: Graph, ctx: Context) -> None:
        ctx.rewriter(g).update(max(i for i, _ in g.ops()), inputs=["nobody"])


@dataclass(frozen=True)
class NeedsStatic(Pass):
    """Requires what nothing ensures."""

    requires: ClassVar[frozenset[Fact]] = frozenset({Fact.STATIC_SHAPES})

    def run(self, g: Graph, ctx: Context) -> None:
        pass


@dataclass(frozen=True)
class Boast(Pass):
    """Ensures what is not so."""

    ensures: ClassVar[frozenset[Fact]] = frozenset({Fact.STATIC_SHAPES})

    def run(self, g: Graph, ctx: Context) -> None:
        ctx.rewriter(g).set_fact("touched", True)


@dataclass(frozen=True)
class FoldsWrong(Pass):
    """Makes a constant of a result; the ops that read it stay as they are."""

    def run(self, g: Graph, ctx: Context) -> None:
        rw = ctx.rewriter(g)
        op_id = g.producer("sum")
        assert op_id is not None
        rw.erase(op_id)
        rw.set_const("sum", Const.of(np.array([3, 4.5], np.float32)))


@dataclass(frozen=True)
class ChangesConstant(Pass):
    """Gives a constant another content."""

    def run(self, g: Graph, ctx: Context) -> None:
        ctx.rewriter(g).set_const("a", Const.of(np.array([1, 7], np.float32)))


@dataclass(frozen=True)
class DropsConstantAndFails(Pass):
    """Removes the first of several constants, then fails."""

    def run(self, g: Graph, ctx: Context) -> None:
        ctx.rewriter(g).update(min(i for i, _ in g.ops()), inputs=["b", "b"])
        raise ZeroDivisionError


CLASSES = (
    WrongFactor, RightFactor, Crash, Dangling, NeedsStatic, Boast, FoldsWrong, ChangesConstant, DropsConstantAndFails,
)  # fmt: skip
SUMS = """
input x: float[2]
const a: float[2] = [1.0, 2.0]
const b: float[2] = [2.0, 3.0]
sum = Add(a, b)
y = Mul(sum, x)
output y
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The passes of this module, registered under the owner ``t``, so that reproducers can name them."""
    module = type(sys)("manager_probes")
    for cls in CLASSES:
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "manager_probes", module)
    with temporarily(Plugin("t", passes={c.name: f"manager_probes:{c.__name__}" for c in CLASSES})):
        yield


def test_run_leaves_the_given_graph_alone() -> None:
    g = parse(TEXT)
    before = to_text(g)
    done = PassManager("form-linear,cleanup").run(g)
    assert to_text(g) == before
    assert done.graph is not g


def test_missing_facts_are_established_and_reported_as_automatic() -> None:
    done = PassManager([RightFactor()]).run(parse(TEXT.replace("input", "opset 13\ninput", 1)))
    assert [r.spec for r in done.reports if r.automatic] == ["upgrade-opset", "infer-shapes"]
    assert done.graph.opsets[""] == 24


def test_a_requirement_that_nothing_ensures_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError) as caught:
        PassManager([NeedsStatic()])
    assert caught.value.code == "pipeline-requirement"


def test_checked_mode_finds_wrong_numbers_and_names_the_value() -> None:
    with pytest.raises(PassError, match=r'"y" differs in') as caught:
        PassManager([WrongFactor()], checked=True).run(parse(TEXT))
    assert caught.value.code == "pass-broke-contract"


@pytest.mark.parametrize("pass_", [FoldsWrong(), ChangesConstant()])
def test_checked_mode_finds_wrong_constants(pass_: Pass) -> None:
    """No op has changed: what is compared is the folded value, and what is computed from another constant."""
    with pytest.raises(PassError, match=r'"sum" differs in 1 of 2'):
        PassManager([pass_], checked=True).run(parse(SUMS))


def test_checked_mode_compares_an_output_that_became_an_input() -> None:
    """A rule may find that its op is the identity, or think so."""
    g = parse("input x: float[2]\na = Neg(x)\ny = Neg(a)\nz = Abs(x)\noutput y\noutput z\n")

    @dataclass(frozen=True)
    class Shortcut(Pass):
        value: str = "y"

        def run(self, g: Graph, ctx: Context) -> None:
            op_id = g.producer(self.value)
            assert op_id is not None
            ctx.rewriter(g).replace([op_id], {self.value: "x"})

    assert PassManager([Shortcut("y")], checked=True).run(g).graph.outputs["y"] == "x"
    with pytest.raises(PassError, match='"z" differs in'):
        PassManager([Shortcut("z")], checked=True).run(g)


def test_checked_mode_compares_outputs_alone_where_values_on_the_way_change_on_purpose() -> None:
    g = parse("const c: float[2] = [1.0, -2.0]\ninput x: float[2]\na = Add(x, c)\ny = Abs(a)\nz = Neg(c)\noutput y\n")

    @dataclass(frozen=True)
    class Change(Pass):
        compares: ClassVar[Literal["region", "outputs"]] = "outputs"
        kind: str = "Abs"

        def run(self, g: Graph, ctx: Context) -> None:
            op_id = g.producer("y" if self.kind == "Relu" else "z")
            assert op_id is not None
            ctx.rewriter(g).update(op_id, type=self.kind)

    assert PassManager([Change()], checked=True).run(g).changed  # z is another value, and no output
    with pytest.raises(PassError, match='"y" differs in'):
        PassManager([Change("Relu")], checked=True).run(g)


def test_undoing_keeps_the_order_of_constants() -> None:
    g = PassManager("upgrade-opset,infer-shapes").run(parse(SUMS)).graph
    before = to_text(g)
    with pytest.raises(PassError):
        PassManager([DropsConstantAndFails()]).run_in_place(g)
    assert to_text(g) == before


def test_types_are_missing_when_those_of_a_body_are() -> None:
    """A file may declare the types of its values, and none in the branches."""
    text = """
    input c: bool[]
    input x: float[2]
    y: float[2] = If(c, then_branch={
      a = Neg(x)
      output a
    }, else_branch={
      b = Abs(x)
      output b
    })
    output y
    """
    g = parse(text)
    why = violated(Fact.TYPED, g)
    assert why is not None and '"a" in a body' in why
    typed = PassManager("infer-shapes", checked=True).run(g).graph
    assert violated(Fact.TYPED, typed) is None


def test_checked_mode_accepts_what_is_declared() -> None:
    done = PassManager([RightFactor()], checked=True).run(parse(TEXT))
    assert done.changed


def test_unchecked_mode_does_not_run_numbers() -> None:
    assert PassManager([WrongFactor()]).run(parse(TEXT)).changed


def test_a_failing_pass_is_undone_and_named() -> None:
    g = parse(TEXT)
    before = to_text(PassManager("upgrade-opset,infer-shapes").run(g).graph)
    with pytest.raises(PassError, match=r"ZeroDivisionError: oops \(passes before it: .*right-factor") as caught:
        PassManager(["upgrade-opset", RightFactor(), Crash()]).run(g)
    assert caught.value.code == "pass-failed"
    assert caught.value.graph is not None
    text = to_text(caught.value.graph)
    assert "Abs" not in text
    assert "Max" in text
    assert "Max" not in before


def test_structure_is_verified_after_each_pass() -> None:
    with pytest.raises(PassError) as caught:
        PassManager([Dangling()]).run(parse(TEXT))
    assert caught.value.code == "value-undefined"


def test_ensured_facts_are_checked() -> None:
    with pytest.raises(PassError, match="ensures static-shapes, but"):
        PassManager([Boast()], checked=True).run(parse(TEXT.replace("float[2,3]", "float[N,3]")))


def test_a_reproducer_reproduces(tmp_path: Path) -> None:
    inputs = {"x": np.ones((2, 3), np.float32)}
    manager = PassManager(
        ["cleanup", WrongFactor()], checked=True, inputs=inputs, reproducer_dir=tmp_path / "bundles"
    )
    with pytest.raises(PassError, match="a reproducer is in") as caught:
        manager.run(parse(TEXT))
    bundle = caught.value.reproducer
    assert bundle is not None
    names = {p.name for p in bundle.iterdir()}
    assert names == {"before.onnx", "pipeline.toml", "error.txt", "versions.json", "repro.py", "inputs.npz"}
    assert "differs" in (bundle / "error.txt").read_text()
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.pipeline import parse_pipeline

    with pytest.raises(PassError, match="differs"):
        PassManager(parse_pipeline(bundle / "pipeline.toml"), checked=True).run(load(bundle / "before.onnx"))


def test_the_script_of_a_reproducer_runs(tmp_path: Path) -> None:
    with pytest.raises(PassError) as caught:
        PassManager([Crash()], reproducer_dir=tmp_path).run(parse(TEXT))
    bundle = caught.value.reproducer
    assert bundle is not None
    done = subprocess.run([sys.executable, "repro.py"], cwd=bundle, capture_output=True, text=True)
    assert "pass-unknown" in done.stderr  # the probe is registered in this process alone


def test_statistics_of_each_pass() -> None:
    (report,) = [r for r in PassManager([RightFactor()]).run(parse(TEXT)).reports if not r.automatic]
    assert report.counts["right-factor"] == 1
    assert report.events["removed"] == 1
    assert (report.ops_before, report.ops_after) == (2, 3)


def test_after_pass_sees_every_graph() -> None:
    seen: list[tuple[str, int]] = []
    manager = PassManager("form-linear,cleanup", after_pass=lambda r, g: seen.append((r.spec, sum(1 for _ in g.ops()))))
    manager.run(parse(TEXT))
    assert [s for s, _ in seen][-2:] == ["form-linear", "cleanup"]


def test_check_reports_without_rewriting() -> None:
    g = parse(
        "input x: float[1,2,40,40]\nconst w: float[2,2,3,3] = normal(seed=1)\n"
        "y = Conv(x, w, dilations=[16,16]) @far\noutput y\n"
    )
    before = to_text(g)
    found = PassManager("replace-dilated-conv").check(g)
    assert [(f.code, f.node) for f in found] == [("CG101", 'Conv "far"')]
    assert to_text(g) == before
