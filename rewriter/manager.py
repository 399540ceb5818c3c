"""The pass manager: runs a pipeline under the pass contract, and knows what happened.

Before anything runs, the pipeline's requirements are checked; facts that a pass can establish (the internal
opset, types) are established on demand. After each pass that changed something the touched part of the graph is
verified, in checked mode the whole graph, its facts and the numbers. A pass that fails leaves no trace: its
mutations are undone and a reproducer bundle is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coregraft.rewriter import facts
from coregraft.rewriter.collector import collector_off
from coregraft.rewriter.contract import Context, Fact, Finding, Pass
from coregraft.rewriter.errors import CoregraftError, GraphError, PassError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.pipeline import PipelineLike, make_pass, parse_pipeline, to_text
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.rule import RuleGroup
from coregraft.rewriter.target import Target
from coregraft.rewriter.types import Array
from coregraft.rewriter.verify import verify


@dataclass(frozen=True)
class PassReport:
    """What one run of one pass did. ``seconds`` is CPU time of this process; ``automatic`` if nobody asked for it."""

    spec: str
    changed: bool
    ops_before: int
    ops_after: int
    events: Mapping[str, int]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    declined: Mapping[str, int]
    seconds: float
    automatic: bool = False


@dataclass(frozen=True)
class PipelineResult:
    """A rewritten graph and a report for each pass that ran."""

    graph: Graph
    reports: tuple[PassReport, ...]

    @property
    def changed(self) -> bool:
        return any(r.changed for r in self.reports)


@dataclass
class PassManager:
    """Runs passes in order.

    Attributes:
        pipeline: passes; given as anything :func:`~coregraft.rewriter.pipeline.parse_pipeline` takes.
        target: what the graph is for.
        checked: verify everything after each pass: structure, facts and numbers (by the declared equivalence).
        inputs: what checked mode feeds the graph; seeded values of the right kind when None.
        reproducer_dir: where a failing pass leaves its bundle; None for no bundle.
        rewrite_limit: stop each rule driver after so many rewrites, for bisecting a miscompile.
        after_pass: called with each report and the graph as the pass left it.
    """

    pipeline: PipelineLike
    target: Target = field(default_factory=Target.any)
    checked: bool = False
    inputs: Mapping[str, Array] | None = None
    reproducer_dir: Path | str | None = None
    rewrite_limit: int | None = None
    after_pass: Callable[[PassReport, Graph], None] | None = None

    def __post_init__(self) -> None:
        self.passes: list[Pass] = parse_pipeline(self.pipeline)
        self._schedule = _schedule(self.passes)

    def __str__(self) -> str:
        return to_text(self.passes)

    def run(self, graph: Graph) -> PipelineResult:
        """Run the pipeline on a copy of ``graph``.

        Raises:
            GraphError: the graph is not sound to begin with; see :func:`~coregraft.rewriter.verify.verify`.
            PassError: ``pass-failed`` or ``pass-broke-contract``. Its ``graph`` attribute is the graph as it was
                before the failing pass; ``reproducer`` the path of the bundle, or None.
        """
        return self.run_in_place(graph.copy())

    def run_in_place(self, g: Graph) -> PipelineResult:
        """As :meth:`run`, on the graph itself."""
        reports: list[PassReport] = []
        census = _Census(g)
        with collector_off():
            verify(g)
            for pass_, automatic in self._due(g):
                report, census = self._run_one(pass_, g, automatic, reports, census)
                reports.append(report)
                if self.after_pass is not None:
                    self.after_pass(report, g)
        return PipelineResult(g, tuple(reports))

    def check(self, graph: Graph) -> list[Finding]:
        """What the pipeline would rewrite; see :meth:`check_and_run`."""
        return self.check_and_run(graph)[0]

    def check_and_run(self, graph: Graph) -> tuple[list[Finding], Graph]:
        """What each pass with a code finds, and the graph that the whole pipeline leaves; ``graph`` is not changed.

        Every pass looks, in match-only mode, at the graph as the passes before it leave it: that is what a
        conversion would rewrite.
        """
        g = graph.copy()
        found: list[Finding] = []
        census = _Census(g)
        for pass_, automatic in self._due(g):
            if pass_.code or isinstance(pass_, RuleGroup):
                found.extend(pass_.check(g, self._context(pass_, census)))
            census = self._run_one(pass_, g, automatic, [], census)[1]
        return list(dict.fromkeys(found)), g

    def _due(self, g: Graph) -> Iterator[tuple[Pass, bool]]:
        """What is to run next on the graph as it is by then; a pass that nobody asked for only where its fact lacks."""
        for pass_, automatic in self._schedule:
            if not automatic or any(facts.violated(fact, g) is not None for fact in sorted(pass_.ensures)):
                yield pass_, automatic

    # ---------------------------------------------------------------- one pass

    def _run_one(
        self, pass_: Pass, g: Graph, automatic: bool, done: Sequence[PassReport], census: _Census
    ) -> tuple[PassReport, _Census]:
        """The report, and what the graph holds now."""
        ctx = self._context(pass_, census)
        before = g.copy() if self.checked else None
        started = time.process_time()
        rewriter = ctx.rewriter(g)
        try:
            pass_.run(g, ctx)
            if rewriter.changed:
                self._verify(pass_, g, rewriter.changed_ops(), before, ctx)
        except CoregraftError as error:
            _undo(rewriter, census.order)
            if isinstance(error, UsageError) or (error.exit_code == 4 and not isinstance(error, PassError)):
                raise
            if automatic and isinstance(error, GraphError):  # the model's own fault, seen with its types at hand
                raise
            raise self._failure(pass_, g, error.code, error.message, error.node, done) from error
        except Exception as error:
            _undo(rewriter, census.order)
            raise self._failure(pass_, g, "pass-failed", f"{type(error).__name__}: {error}", None, done) from error
        rewriter.forget()
        now = _Census(g) if rewriter.changed else census
        seconds = time.process_time() - started
        made = dict(+rewriter.events), dict(+ctx.counts), tuple(ctx.notes), dict(ctx.declined)
        return PassReport(pass_.spec(), rewriter.changed, census.ops, now.ops, *made, seconds, automatic), now

    def _verify(self, pass_: Pass, g: Graph, touched: list[int], before: Graph | None, ctx: Context) -> None:
        if before is None:
            verify(g, None if Fact.TYPED in pass_.ensures else touched)
            return
        verify(g)
        for fact in sorted(pass_.ensures):
            why = facts.violated(fact, g)
            if why is not None:
                raise PassError("pass-broke-contract", f'"{pass_.name}" ensures {fact}, but {why}')
        from coregraft.rewriter.checked import compare

        verdict = compare(pass_, before, g, self.inputs)
        if verdict.failure is not None:
            promise = f'"{pass_.name}" is {pass_.equivalence.value}'
            raise PassError("pass-broke-contract", f"{promise}, but {verdict.failure}")
        if verdict.skipped is not None:
            ctx.note(f"numbers not checked: {verdict.skipped}")

    def _context(self, pass_: Pass, census: _Census) -> Context:
        return Context(self.target, self.checked, self.rewrite_limit, pass_.name, present=census.keys)

    def _failure(
        self, pass_: Pass, g: Graph, code: str, message: str, node: str | None, done: Sequence[PassReport]
    ) -> PassError:
        ran = ", ".join(r.spec for r in done) or "none"
        hint = None
        path = None
        if self.reproducer_dir is not None:
            from coregraft.rewriter.reproducer import write_reproducer

            path = write_reproducer(Path(self.reproducer_dir), pass_, g, message, self.inputs, self.target)
            hint = f"a reproducer is in {path}"
        text = f'pass "{pass_.spec()}" failed: {message} (passes before it: {ran})'
        error = PassError(code, text, node=node, hint=hint)
        error.spec, error.graph, error.reproducer = pass_.spec(), g, path
        return error


def _schedule(passes: Sequence[Pass]) -> list[tuple[Pass, bool]]:
    """The passes, with those that establish missing facts put in (marked True).

    Raises:
        UsageError: ``pipeline-requirement`` for a requirement that nothing before it ensures.
    """
    schedule: list[tuple[Pass, bool]] = []
    known: set[Fact] = set()

    def establish(fact: Fact) -> None:
        provider = make_pass(facts.PROVIDERS[fact])
        for needed in sorted(provider.requires - known):
            establish(needed)
        schedule.append((provider, True))
        known.difference_update(provider.invalidates)
        known.update(provider.ensures)

    for pass_ in passes:
        for fact in sorted(pass_.requires - known, key=list(Fact).index):
            if fact in known:
                continue
            if fact not in facts.PROVIDERS:
                raise UsageError(
                    "pipeline-requirement", f'"{pass_.name}" requires {fact}, which no pass before it ensures'
                )
            establish(fact)
        schedule.append((pass_, False))
        known = (known - pass_.invalidates) | pass_.ensures
    return schedule


def _undo(rewriter: Rewriter, order: Sequence[Any]) -> None:
    """Leave the graph as the pass found it: files and texts list constants in the order of the nodes."""
    rewriter.rollback()
    nodes = rewriter.graph._node
    for node in order:
        nodes[node] = nodes.pop(node)


class _Census:
    """What a graph holds, counted anew only when a pass has changed it: most passes change nothing."""

    def __init__(self, g: Graph) -> None:
        self.order = list(g)
        self.ops = sum(type(node) is int for node in self.order)
        self.keys = frozenset(op.key for op in g.all_ops())

