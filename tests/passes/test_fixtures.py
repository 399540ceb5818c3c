"""Every before/after fixture: ``tests/passes/**/<pass_name>.txt``, any number of cases in each.

A case::

    == what it shows
    pipeline: fuse-batch-norm{…}         # default: the pass that the file is named after
    target: iOS17 mlprogram              # default: any
    events: inserted=1 removed=2         # optional: what the rewriter must have counted
    declines: part of a reason           # instead of "-- after": nothing may change, for this reason
    -- before
    x: …
    -- after
    …

``pytest tests/passes/test_fixtures.py --update-fixtures`` rewrites the "after" texts. Large constants stand there
as digests, so a change of a folded weight shows. Every case runs in checked mode: structure, facts, and numbers
by the declared equivalence; running the pipeline once more must change nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager
from coregraft.rewriter.onnx_io.text import parse, to_text
from coregraft.rewriter.target import Target

HERE = Path(__file__).parent


@dataclass
class Case:
    path: Path
    title: str
    options: dict[str, str] = field(default_factory=dict)
    before: str = ""
    after: str | None = None

    @property
    def pipeline(self) -> str:
        return self.options.get("pipeline", self.path.stem.replace("_", "-"))

    @property
    def target(self) -> Target:
        if "target" not in self.options:
            return Target.any()
        from coregraft.lowering import targets

        return targets.get(*self.options["target"].split())


def read(path: Path) -> list[Case]:
    cases: list[Case] = []
    for chunk in re.split(r"^== ", path.read_text(), flags=re.M)[1:]:
        head, _, rest = chunk.partition("-- before\n")
        title, *options = head.strip().splitlines()
        before, _, after = rest.partition("-- after\n")
        pairs = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in options) if text}
        cases.append(Case(path, title.strip(), pairs, before, after or None))
    return cases


def write(path: Path, results: dict[str, str]) -> None:
    chunks = re.split(r"(?=^== )", path.read_text(), flags=re.M)
    for i, chunk in enumerate(chunks):
        title = chunk[3:].splitlines()[0].strip() if chunk.startswith("== ") else None
        if title in results:
            chunks[i] = chunk.partition("-- after\n")[0].rstrip("\n") + "\n-- after\n" + results[title] + "\n"
    path.write_text("".join(chunks).rstrip("\n") + "\n")


CASES = [case for path in sorted(HERE.rglob("*.txt")) for case in read(path)]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.path.stem}: {c.title}")
def test_fixture(case: Case, request: pytest.FixtureRequest) -> None:
    before = prepared(case.before)
    manager = PassManager(case.pipeline, target=case.target, checked=True)
    result = manager.run(before)
    asked = [r for r in result.reports if not r.automatic]
    notes = [note for r in asked for note in r.notes if note.startswith("numbers not checked")]
    assert [note for note in notes if not note.endswith("declared lossy")] == []
    text = to_text(result.graph, exact=False)
    if "declines" in case.options:
        assert text == to_text(before, exact=False), "a negative case was rewritten"
        reasons = [reason for r in asked for reason in r.declined]
        wanted = case.options["declines"]
        assert wanted == "no match" or any(wanted in reason for reason in reasons), reasons
        return
    assert any(r.changed for r in asked), [dict(r.declined) for r in asked]
    if request.config.getoption("--update-fixtures"):
        write(case.path, {case.title: text})
    else:
        assert case.after is not None, "no '-- after': run with --update-fixtures and review the result"
        assert text == case.after.rstrip("\n") + "\n"
    if "events" in case.options:
        wanted_events = dict(pair.split("=") for pair in case.options["events"].split())
        counted = asked[0].events
        assert {k: counted.get(k, 0) for k in wanted_events} == {k: int(v) for k, v in wanted_events.items()}
    again = PassManager(case.pipeline, target=case.target).run(result.graph)
    assert not [r.spec for r in again.reports if r.changed], "a second run changes the graph again"


def prepared(text: str) -> Graph:
    """The graph of a text, upgraded and typed, so that the pass under test is the only one to change it."""
    return PassManager("upgrade-opset,infer-shapes").run(parse(text)).graph
